import { encodeMessage, openMessage } from '../codec.ts';
import { requestCode, responseCode } from '../constants.ts';

/** FINISH and FINISH_RSP (DSP0274 §10.17). The signature is there with mutual authentication only; FINISH_RSP carries verify data
 *  only when the handshake runs in the clear. */

export type Finish = { readonly slot: number; readonly signature: Uint8Array; readonly verifyData: Uint8Array };

const signatureIncluded = 0x01;

/** Up to the verify data, which is made over this. */
export function encodeFinish(version: number, slot: number, signature: Uint8Array): Uint8Array {
  return encodeMessage(version, requestCode.finish, signature.length > 0 ? signatureIncluded : 0, slot, signature);
}

/** @param signatureBytes of the requester's algorithm, used when the request says that a signature is there  @throws SPDM_MALFORMED */
export function decodeFinish(bytes: Uint8Array, hashBytes: number, signatureBytes: number): Finish {
  const { param1, param2, body } = openMessage(bytes, requestCode.finish, 'FINISH');
  const signature = body.take(param1 & signatureIncluded ? signatureBytes : 0);
  const verifyData = body.take(hashBytes);
  body.end();
  return { slot: param2, signature, verifyData };
}

export function encodeFinishRsp(version: number, verifyData: Uint8Array): Uint8Array {
  return encodeMessage(version, responseCode.finishRsp, 0, 0, verifyData);
}

/** @returns the verify data, empty when the handshake is encrypted  @throws SPDM_MALFORMED */
export function decodeFinishRsp(bytes: Uint8Array, verifyDataBytes: number): Uint8Array {
  const { body } = openMessage(bytes, responseCode.finishRsp, 'FINISH_RSP');
  const verifyData = body.take(verifyDataBytes);
  body.end();
  return verifyData;
}
