import { encodeMessage, openMessage } from '../codec.ts';
import { requestCode } from '../constants.ts';

/** RESPOND_IF_READY (DSP0274 §10.12): asks for the response that ERROR ResponseNotReady announced. */

export type RespondIfReady = { readonly originalCode: number; readonly token: number };

export function encodeRespondIfReady(version: number, { originalCode, token }: RespondIfReady): Uint8Array {
  return encodeMessage(version, requestCode.respondIfReady, originalCode, token);
}

/** @throws SPDM_MALFORMED */
export function decodeRespondIfReady(bytes: Uint8Array): RespondIfReady {
  const { param1, param2, body } = openMessage(bytes, requestCode.respondIfReady, 'RESPOND_IF_READY');
  body.end();
  return { originalCode: param1, token: param2 };
}
