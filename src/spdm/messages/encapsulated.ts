import { encodeMessage, malformed, openMessage, u8 } from '../codec.ts';
import { requestCode, responseCode } from '../constants.ts';

/** GET_ENCAPSULATED_REQUEST / ENCAPSULATED_REQUEST and DELIVER_ENCAPSULATED_RESPONSE / ENCAPSULATED_RESPONSE_ACK (DSP0274 §10.18):
 *  how a responder asks something of the requester. */

/** A message inside one of them, with the id that ties request and response together. */
export type Encapsulated = { readonly requestId: number; readonly message: Uint8Array };

/** What the acknowledgement carries: nothing (done), the next request, or the number of the slot the requester shall use (done too). */
export type EncapsulatedAck = {
  /** Id of the response that is acknowledged; on the wire since 1.2. */
  readonly acknowledgedId: number;
  readonly next?: Encapsulated;
  readonly slot?: number;
};

const payload = { absent: 0, request: 1, slot: 2 } as const;

export const encodeGetEncapsulatedRequest = (version: number): Uint8Array =>
  encodeMessage(version, requestCode.getEncapsulatedRequest, 0, 0);

export const encodeEncapsulatedRequest = (version: number, { requestId, message }: Encapsulated): Uint8Array =>
  encodeMessage(version, responseCode.encapsulatedRequest, requestId, 0, message);
export const encodeDeliverResponse = (version: number, { requestId, message }: Encapsulated): Uint8Array =>
  encodeMessage(version, requestCode.deliverEncapsulatedResponse, requestId, 0, message);
/** @throws SPDM_MALFORMED */
export const decodeEncapsulatedRequest = (bytes: Uint8Array): Encapsulated =>
  decode(bytes, responseCode.encapsulatedRequest, 'ENCAPSULATED_REQUEST');
/** @throws SPDM_MALFORMED */
export const decodeDeliverResponse = (bytes: Uint8Array): Encapsulated =>
  decode(bytes, requestCode.deliverEncapsulatedResponse, 'DELIVER_ENCAPSULATED_RESPONSE');

function decode(bytes: Uint8Array, code: number, what: string): Encapsulated {
  const { param1, body } = openMessage(bytes, code, what);
  const message = body.take(body.left());
  if (message.length === 0) throw malformed(`${what}: empty`);
  return { requestId: param1, message };
}

export function encodeEncapsulatedAck(version: number, { acknowledgedId, next, slot }: EncapsulatedAck): Uint8Array {
  const head = version >= 0x12 ? Uint8Array.of(acknowledgedId, 0, 0, 0) : new Uint8Array();
  const code = responseCode.encapsulatedResponseAck;
  if (next) return encodeMessage(version, code, next.requestId, payload.request, head, next.message);
  if (slot) return encodeMessage(version, code, 0, payload.slot, head, u8(slot));
  return encodeMessage(version, code, 0, payload.absent, head);
}

/** @throws SPDM_MALFORMED */
export function decodeEncapsulatedAck(bytes: Uint8Array): EncapsulatedAck {
  const { version, param1, param2, body } = openMessage(bytes, responseCode.encapsulatedResponseAck, 'ENCAPSULATED_RESPONSE_ACK');
  const acknowledgedId = version >= 0x12 ? body.u8() : 0;
  if (version >= 0x12) body.take(3);
  const rest = body.take(body.left());
  if (param2 === payload.request && rest.length > 0) return { acknowledgedId, next: { requestId: param1, message: rest } };
  if (param2 === payload.slot && rest.length === 1) return { acknowledgedId, slot: rest[0]! };
  if (param2 !== payload.absent || rest.length > 0) throw malformed('ENCAPSULATED_RESPONSE_ACK: payload');
  return { acknowledgedId };
}
