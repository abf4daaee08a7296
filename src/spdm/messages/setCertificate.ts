import { encodeMessage, malformed, openMessage } from '../codec.ts';
import { maxChainBytes, requestCode, responseCode } from '../constants.ts';

/** SET_CERTIFICATE and SET_CERTIFICATE_RSP (DSP0274 §10.25, since 1.2). */

export type SetCertificate = {
  readonly slot: number;
  /** The certificate chain structure; empty when the slot is erased. */
  readonly chain: Uint8Array;
  /** Since 1.3, on multi-key connections; 0 otherwise. */
  readonly keyPairId: number;
  readonly certificateModel: number;
  /** Since 1.3. */
  readonly erase: boolean;
};

const slotMask = 0x0f;
const modelShift = 4;
const modelMask = 0x07;
const eraseFlag = 0x80;

export function encodeSetCertificate(version: number, request: SetCertificate): Uint8Array {
  const { slot, chain, keyPairId, certificateModel, erase } = request;
  const attributes = version >= 0x13 ? (certificateModel << modelShift) | (erase ? eraseFlag : 0) : 0;
  return encodeMessage(version, requestCode.setCertificate, slot | attributes, version >= 0x13 ? keyPairId : 0, chain);
}

/** @throws SPDM_MALFORMED */
export function decodeSetCertificate(bytes: Uint8Array): SetCertificate {
  const { version, param1, param2, body } = openMessage(bytes, requestCode.setCertificate, 'SET_CERTIFICATE');
  const attributes = version >= 0x13 ? param1 : param1 & slotMask;
  const erase = (attributes & eraseFlag) !== 0;
  const chain = body.take(body.left());
  if (chain.length > maxChainBytes || erase !== (chain.length === 0)) throw malformed('SET_CERTIFICATE: chain');
  return {
    slot: param1 & slotMask,
    chain,
    keyPairId: version >= 0x13 ? param2 : 0,
    certificateModel: (attributes >> modelShift) & modelMask,
    erase,
  };
}

export const encodeSetCertificateRsp = (version: number, slot: number): Uint8Array =>
  encodeMessage(version, responseCode.setCertificateRsp, slot, 0);

/** @returns the slot  @throws SPDM_MALFORMED */
export function decodeSetCertificateRsp(bytes: Uint8Array): number {
  const { param1, body } = openMessage(bytes, responseCode.setCertificateRsp, 'SET_CERTIFICATE_RSP');
  body.end();
  return param1 & slotMask;
}
