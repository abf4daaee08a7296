import { toHex } from '../bytes.ts';
import { formatVersion } from '../domain/version.ts';
import { NusecError } from '../errors.ts';
import { isEncrypted } from '../ota/decrypt.ts';
import { readHeader, readImageTlvs, securityCounterOf, slotReader } from '../ota/image.ts';
import { type Tlv, tlvName } from '../ota/tlv.ts';
import { verifyImage } from '../ota/verify.ts';

/** What an MCUboot image says of itself, for people and scripts; nothing of it is judged but whether it is one. */

export type ImageView = {
  readonly version: string;
  readonly securityCounter: number | null;
  readonly headerBytes: number;
  readonly payloadBytes: number;
  readonly flags: string;
  readonly encrypted: boolean;
  /** SHA-256 of header, payload and protected TLVs; null for a payload that cannot be read here. */
  readonly imageHash: string | null;
  readonly tlvs: readonly { readonly type: string; readonly protected: boolean; readonly bytes: number; readonly value: string }[];
};

/** @throws NusecError IMAGE_MALFORMED with the bootloader's reason */
export function viewOf(bytes: Uint8Array): ImageView {
  const slot = slotReader(bytes, bytes.length);
  const header = readHeader(slot);
  if (typeof header === 'string') throw new NusecError('IMAGE_MALFORMED', header);
  const tlvs = readImageTlvs(slot, header);
  if (typeof tlvs === 'string') throw new NusecError('IMAGE_MALFORMED', tlvs);
  const show = (isProtected: boolean) => (tlv: Tlv) => ({
    type: tlvName(tlv.type),
    protected: isProtected,
    bytes: tlv.value.length,
    value: toHex(tlv.value),
  });
  const opened = verifyImage(bytes, { signature: { algorithm: 'none' }, slotBytes: bytes.length });
  return {
    version: formatVersion(header.version),
    securityCounter: securityCounterOf(tlvs) ?? null,
    headerBytes: header.headerBytes,
    payloadBytes: header.payloadBytes,
    flags: `0x${header.flags.toString(16)}`,
    encrypted: isEncrypted(header),
    imageHash: opened.ok ? toHex(opened.info.imageHash) : null,
    tlvs: [...tlvs.protectedTlvs.map(show(true)), ...tlvs.tlvs.map(show(false))],
  };
}

export type Difference = { readonly what: string; readonly first: string; readonly second: string };

/** Where two images differ, field by field and TLV by TLV. */
export function differencesOf(first: ImageView, second: ImageView): readonly Difference[] {
  const [one, other] = [flat(first), flat(second)];
  return [...new Set([...one.keys(), ...other.keys()])]
    .map(what => ({ what, first: one.get(what) ?? '–', second: other.get(what) ?? '–' }))
    .filter(difference => difference.first !== difference.second);
}

function flat({ tlvs, ...facts }: ImageView): ReadonlyMap<string, string> {
  const seen = new Map<string, number>();
  const entries = tlvs.map(({ type, value }) => {
    const count = (seen.get(type) ?? 0) + 1;
    seen.set(type, count);
    return [`TLV ${type}${count > 1 ? ` ${count}` : ''}`, value] as const;
  });
  return new Map([...Object.entries(facts).map(([name, value]) => [name, String(value ?? '–')] as const), ...entries]);
}
