import { encodeMessage, openMessage } from '../codec.ts';
import { responseCode, type SpdmErrorCode } from '../constants.ts';

/** ERROR (DSP0274 §10.10): param1 = code, param2 = data of one byte, e.g. the request code for UnsupportedRequest. */

export function encodeError(version: number, code: SpdmErrorCode, data = 0): Uint8Array {
  return encodeMessage(version, responseCode.error, code, data);
}

/** @returns code and data; extended data is not needed by any code we act on  @throws SPDM_MALFORMED */
export function decodeError(bytes: Uint8Array): { readonly code: number; readonly data: number } {
  const { param1, param2 } = openMessage(bytes, responseCode.error, 'ERROR');
  return { code: param1, data: param2 };
}
