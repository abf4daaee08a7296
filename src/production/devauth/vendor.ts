import { concat, equalBytes } from '../../bytes.ts';
import { devAuthMalformed } from './error.ts';

/** The MCTP message that carries DevAuth: vendor-defined with an IANA enterprise number (DSP0236; type 0x7F of DSP0239).
 *
 *      IC bit and type u8 | enterprise number u32 BE | DevAuth message | CRC-32C u32 LE (only with the IC bit)
 *
 *  In the open the integrity-check bit is set and a CRC-32C trailer follows. Inside an SPDM session the same message is the application
 *  data of a secured message: no bit, no trailer, the AEAD does more. */

const vendorIana = 0x7f;
const integrityCheck = 0x80;

/** Documentation number of RFC 5612, until the owner of a deployment puts its own here. */
const enterpriseNumber = 32473;

const crcBytes = 4;
const prefixBytes = 5;

/** Reflected Castagnoli polynomial (RFC 3720 §12.1). */
const polynomial = 0x82f6_3b78;

export function encodeVendorMessage(message: Uint8Array, options: { readonly integrityCheck: boolean }): Uint8Array {
  const plain = concat(prefix(options.integrityCheck), message);
  return options.integrityCheck ? concat(plain, crcTrailer(plain)) : plain;
}

/** @throws NusecError DEVAUTH_MALFORMED for another type or vendor, and for a CRC that does not fit */
export function decodeVendorMessage(bytes: Uint8Array): { readonly message: Uint8Array; readonly integrityCheck: boolean } {
  const isChecked = ((bytes[0] ?? 0) & integrityCheck) !== 0;
  const end = bytes.length - (isChecked ? crcBytes : 0);
  if (end < prefixBytes) throw devAuthMalformed('vendor message too short');
  if (!equalBytes(bytes.subarray(0, prefixBytes), prefix(isChecked))) throw devAuthMalformed('another message type or vendor');
  if (isChecked && !equalBytes(bytes.subarray(end), crcTrailer(bytes.subarray(0, end)))) throw devAuthMalformed('CRC');
  return { message: bytes.slice(prefixBytes, end), integrityCheck: isChecked };
}

function prefix(isChecked: boolean): Uint8Array {
  const out = new Uint8Array(prefixBytes);
  out[0] = vendorIana | (isChecked ? integrityCheck : 0);
  new DataView(out.buffer).setUint32(1, enterpriseNumber);
  return out;
}

/** Over everything from the type byte on, least significant byte first. */
function crcTrailer(bytes: Uint8Array): Uint8Array {
  const out = new Uint8Array(crcBytes);
  new DataView(out.buffer).setUint32(0, crc32c(bytes), true);
  return out;
}

const table = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit += 1) crc = crc & 1 ? (crc >>> 1) ^ polynomial : crc >>> 1;
  return crc;
});

/** CRC-32C (RFC 3720 §12.1, check value of "123456789" = 0xe3069283). */
export function crc32c(bytes: Uint8Array): number {
  let crc = 0xffff_ffff;
  for (const byte of bytes) crc = (crc >>> 8) ^ (table[(crc ^ byte) & 0xff] ?? 0);
  return (crc ^ 0xffff_ffff) >>> 0;
}
