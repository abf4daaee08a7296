import { encodeMessage, malformed, openMessage, u8, u32 } from '../codec.ts';
import { responseCode, type SpdmErrorCode, spdmError } from '../constants.ts';

/** ERROR (DSP0274 §10.10): param1 = code, param2 = data of one byte, e.g. the request code for UnsupportedRequest; four codes have more. */

/** @param extended data of ResponseTooLarge: see below; the other codes with such data have functions of their own */
export function encodeError(version: number, code: SpdmErrorCode, data = 0, extended: Uint8Array = new Uint8Array()): Uint8Array {
  return encodeMessage(version, responseCode.error, code, data, extended);
}

/** ExtendedErrorData of ResponseTooLarge: how long the response would be. */
export const tooLargeData = (messageBytes: number): Uint8Array => u32(messageBytes);

/** @returns code and data; extended data has a function of its own per code  @throws SPDM_MALFORMED */
export function decodeError(bytes: Uint8Array): { readonly code: number; readonly data: number } {
  const { param1, param2 } = openMessage(bytes, responseCode.error, 'ERROR');
  return { code: param1, data: param2 };
}

/** ResponseNotReady: ask again for request `requestCode` with `token` after 2^rdtExponent µs, at most `rdtMultiplier` times as long. */
export type NotReady = {
  readonly rdtExponent: number;
  readonly requestCode: number;
  readonly token: number;
  readonly rdtMultiplier: number;
};

export function encodeNotReady(version: number, { rdtExponent, requestCode, token, rdtMultiplier }: NotReady): Uint8Array {
  const data = Uint8Array.of(rdtExponent, requestCode, token, rdtMultiplier);
  return encodeMessage(version, responseCode.error, spdmError.responseNotReady, 0, data);
}

/** @throws SPDM_MALFORMED */
export function decodeNotReady(bytes: Uint8Array): NotReady {
  const { param1, body } = openMessage(bytes, responseCode.error, 'ERROR');
  if (param1 !== spdmError.responseNotReady) throw malformed('ERROR: not ResponseNotReady');
  const decoded = { rdtExponent: body.u8(), requestCode: body.u8(), token: body.u8(), rdtMultiplier: body.u8() };
  body.end();
  return decoded;
}

/** LargeResponse: the response is to be fetched with CHUNK_GET under `handle`. */
export function encodeLargeResponse(version: number, handle: number): Uint8Array {
  return encodeMessage(version, responseCode.error, spdmError.largeResponse, 0, u8(handle));
}

/** @returns the handle  @throws SPDM_MALFORMED */
export function decodeLargeResponse(bytes: Uint8Array): number {
  const { param1, body } = openMessage(bytes, responseCode.error, 'ERROR');
  if (param1 !== spdmError.largeResponse) throw malformed('ERROR: not LargeResponse');
  const handle = body.u8();
  body.end();
  return handle;
}
