import { encodeMessage, openMessage, u16, u32 } from '../codec.ts';
import { requestCode, responseCode } from '../constants.ts';

/** GET_CERTIFICATE and CERTIFICATE (DSP0274 §10.7): one portion of a certificate chain. Since 1.4 both have a large form
 *  (param1 bit 7, short fields 0, then u32 offset and length), for responders with LARGE_RESP_CAP; we ask so when both sides have it. */

export type GetCertificate = {
  readonly slot: number;
  readonly offset: number;
  readonly length: number;
  readonly large: boolean;
  /** Since 1.3: only the length of the chain is asked for, as the remainder behind an empty portion. */
  readonly sizeOnly?: boolean;
};
export type CertificatePortion = {
  readonly slot: number;
  readonly large: boolean;
  /** Certificate model, 1.3+ (1 device certificate, 2 alias, 3 generic); 0 before. */
  readonly certificateInfo: number;
  readonly portion: Uint8Array;
  readonly remainder: number;
};

const largeFlag = 0x80;
const slotMask = 0x0f;
/** Bytes before the portion. */
export const certificateHeadBytes = { short: 8, large: 16 } as const;
const sizeOnlyFlag = 0x01;

export function encodeGetCertificate(version: number, request: GetCertificate): Uint8Array {
  const { slot, offset, length, large, sizeOnly } = request;
  const param2 = sizeOnly ? sizeOnlyFlag : 0;
  return large
    ? encodeMessage(version, requestCode.getCertificate, slot | largeFlag, param2, u16(0), u16(0), u32(offset), u32(length))
    : encodeMessage(version, requestCode.getCertificate, slot, param2, u16(offset), u16(length));
}

/** @throws SPDM_MALFORMED */
export function decodeGetCertificate(bytes: Uint8Array): GetCertificate {
  const { version, param1, param2, body } = openMessage(bytes, requestCode.getCertificate, 'GET_CERTIFICATE');
  const large = version >= 0x14 && (param1 & largeFlag) !== 0;
  const short = { offset: body.u16(), length: body.u16() };
  const { offset, length } = large ? { offset: body.u32(), length: body.u32() } : short;
  body.end();
  const sizeOnly = version >= 0x13 && (param2 & sizeOnlyFlag) !== 0;
  return { slot: param1 & slotMask, offset, length, large, sizeOnly };
}

export function encodeCertificate(version: number, response: CertificatePortion): Uint8Array {
  const { slot, large, certificateInfo, portion, remainder } = response;
  return large
    ? encodeMessage(
        version,
        responseCode.certificate,
        slot | largeFlag,
        certificateInfo,
        u32(0),
        u32(portion.length),
        u32(remainder),
        portion,
      )
    : encodeMessage(version, responseCode.certificate, slot, certificateInfo, u16(portion.length), u16(remainder), portion);
}

/** @throws SPDM_MALFORMED */
export function decodeCertificate(bytes: Uint8Array): CertificatePortion {
  const { version, param1, param2, body } = openMessage(bytes, responseCode.certificate, 'CERTIFICATE');
  const large = version >= 0x14 && (param1 & largeFlag) !== 0;
  const short = { length: body.u16(), remainder: body.u16() };
  const { length, remainder } = large ? { length: body.u32(), remainder: body.u32() } : short;
  const portion = body.take(length);
  body.end();
  return { slot: param1 & slotMask, large, certificateInfo: version >= 0x13 ? param2 & 0x7 : 0, portion, remainder };
}
