import { encodeMessage, openMessage, type Reader, u16 } from '../codec.ts';
import { requestCode, responseCode } from '../constants.ts';
import { checkedOpaque } from '../opaque.ts';

/** FINISH and FINISH_RSP (DSP0274 §10.17). The signature is there with mutual authentication only; FINISH_RSP carries verify data
 *  only when the handshake runs in the clear. Since 1.4 both have opaque data, which we send empty. */

export type Finish = {
  readonly slot: number;
  readonly signed: boolean;
  readonly signature: Uint8Array;
  readonly verifyData: Uint8Array;
};

const signatureIncluded = 0x01;

/** Up to the signature, which is made over this. */
export function encodeFinishHead(version: number, signed: boolean, slot: number): Uint8Array {
  return encodeMessage(version, requestCode.finish, signed ? signatureIncluded : 0, slot, emptyOpaque(version));
}

/** @param signatureBytes of the requester's algorithm, used when the request says that a signature is there  @throws SPDM_MALFORMED */
export function decodeFinish(bytes: Uint8Array, hashBytes: number, signatureBytes: number): Finish {
  const { version, param1, param2, body } = openMessage(bytes, requestCode.finish, 'FINISH');
  readOpaque(version, body, 'FINISH');
  const signed = (param1 & signatureIncluded) !== 0;
  const signature = body.take(signed ? signatureBytes : 0);
  const verifyData = body.take(hashBytes);
  body.end();
  return { slot: param2, signed, signature, verifyData };
}

export function encodeFinishRsp(version: number, verifyData: Uint8Array): Uint8Array {
  return encodeMessage(version, responseCode.finishRsp, 0, 0, emptyOpaque(version), verifyData);
}

/** @returns the verify data, empty when the handshake is encrypted  @throws SPDM_MALFORMED */
export function decodeFinishRsp(bytes: Uint8Array, verifyDataBytes: number): Uint8Array {
  const { version, body } = openMessage(bytes, responseCode.finishRsp, 'FINISH_RSP');
  readOpaque(version, body, 'FINISH_RSP');
  const verifyData = body.take(verifyDataBytes);
  body.end();
  return verifyData;
}

/** OpaqueDataLength and nothing, since 1.4; also in PSK_FINISH and its response. */
export const emptyOpaque = (version: number): Uint8Array => (version >= 0x14 ? u16(0) : new Uint8Array());

export function readOpaque(version: number, body: Reader, what: string): void {
  if (version >= 0x14) checkedOpaque(body.take(body.u16()), what);
}
