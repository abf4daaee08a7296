import { encodeMessage, malformed, openMessage, u16 } from '../codec.ts';
import { requestCode, responseCode } from '../constants.ts';
import { checkedOpaque } from '../opaque.ts';

/** GET_CSR and CSR (DSP0274 §10.24, since 1.2): a certification request (PKCS#10, DER) made by the responder. */

export type GetCsr = {
  /** CertificationRequestInfo of RFC 2986 with the values the requester wants, DER; may be empty. */
  readonly requesterInfo: Uint8Array;
  readonly opaque: Uint8Array;
  /** Since 1.3, on multi-key connections: which key, which certificate model (1 device, 2 alias, 3 generic); 0 otherwise. */
  readonly keyPairId: number;
  readonly certificateModel: number;
  /** Since 1.3: 1–7 continues a request that was answered with ResetRequired; 0 for a new one. */
  readonly trackingTag: number;
  readonly overwrite: boolean;
};

const modelMask = 0x07;
const tagShift = 3;
const tagMask = 0x07;
const overwriteFlag = 0x80;
const maxRequesterInfoBytes = 4096;

export function encodeGetCsr(version: number, request: GetCsr): Uint8Array {
  const { requesterInfo, opaque, keyPairId, certificateModel, trackingTag, overwrite } = request;
  const attributes = version >= 0x13 ? certificateModel | (trackingTag << tagShift) | (overwrite ? overwriteFlag : 0) : 0;
  const lengths = [u16(requesterInfo.length), u16(opaque.length)];
  return encodeMessage(version, requestCode.getCsr, version >= 0x13 ? keyPairId : 0, attributes, ...lengths, requesterInfo, opaque);
}

/** @throws SPDM_MALFORMED */
export function decodeGetCsr(bytes: Uint8Array): GetCsr {
  const { version, param1, param2, body } = openMessage(bytes, requestCode.getCsr, 'GET_CSR');
  const [infoBytes, opaqueBytes] = [body.u16(), body.u16()];
  if (infoBytes > maxRequesterInfoBytes) throw malformed('GET_CSR: requester info too long');
  const requesterInfo = body.take(infoBytes);
  const opaque = checkedOpaque(body.take(opaqueBytes), 'GET_CSR');
  body.end();
  const attributes = version >= 0x13 ? param2 : 0;
  return {
    requesterInfo,
    opaque,
    keyPairId: version >= 0x13 ? param1 : 0,
    certificateModel: attributes & modelMask,
    trackingTag: (attributes >> tagShift) & tagMask,
    overwrite: (attributes & overwriteFlag) !== 0,
  };
}

export function encodeCsr(version: number, csr: Uint8Array): Uint8Array {
  return encodeMessage(version, responseCode.csr, 0, 0, u16(csr.length), u16(0), csr);
}

/** @returns the certification request, DER, unverified  @throws SPDM_MALFORMED */
export function decodeCsr(bytes: Uint8Array): Uint8Array {
  const { body } = openMessage(bytes, responseCode.csr, 'CSR');
  const length = body.u16();
  body.u16();
  const csr = body.take(length);
  body.end();
  if (length === 0) throw malformed('CSR: empty');
  return csr;
}
