import { encodeMessage, malformed, openMessage } from '../codec.ts';
import { requestCode, responseCode } from '../constants.ts';

/** KEY_UPDATE and KEY_UPDATE_ACK (DSP0274 §10.21): the same two parameters both ways. */

/** param1: new request key; new keys both ways (the acknowledgement already uses the new response key); proof of the new request key. */
export const keyUpdateOperation = { updateKey: 1, updateAllKeys: 2, verifyNewKey: 3 } as const;
export type KeyUpdateOperation = (typeof keyUpdateOperation)[keyof typeof keyUpdateOperation];

/** `tag` is chosen by the requester to distinguish one update from another. */
export type KeyUpdate = { readonly operation: KeyUpdateOperation; readonly tag: number };

export const encodeKeyUpdate = (version: number, { operation, tag }: KeyUpdate): Uint8Array =>
  encodeMessage(version, requestCode.keyUpdate, operation, tag);
export const encodeKeyUpdateAck = (version: number, { operation, tag }: KeyUpdate): Uint8Array =>
  encodeMessage(version, responseCode.keyUpdateAck, operation, tag);
/** @throws SPDM_MALFORMED */
export const decodeKeyUpdate = (bytes: Uint8Array): KeyUpdate => decode(bytes, requestCode.keyUpdate, 'KEY_UPDATE');
/** @throws SPDM_MALFORMED */
export const decodeKeyUpdateAck = (bytes: Uint8Array): KeyUpdate => decode(bytes, responseCode.keyUpdateAck, 'KEY_UPDATE_ACK');

function decode(bytes: Uint8Array, code: number, what: string): KeyUpdate {
  const { param1, param2, body } = openMessage(bytes, code, what);
  body.end();
  const operation = Object.values(keyUpdateOperation).find(known => known === param1);
  if (!operation) throw malformed(`${what}: operation`);
  return { operation, tag: param2 };
}
