import type { Seconds } from '../../times.ts';
import { encodeMessage, openMessage, u8, u16 } from '../codec.ts';
import { nonceBytes, requestCode, responseCode } from '../constants.ts';
import { checkedOpaque } from '../opaque.ts';
import { type Algorithms, type KeyAgreement, responseExchangeBytes } from '../suite.ts';

/** KEY_EXCHANGE and KEY_EXCHANGE_RSP (DSP0274 §10.16). */

export type KeyExchange = {
  readonly summaryType: number;
  readonly slot: number;
  readonly sessionId: number;
  /** Bit 0: the session ends when the responder's firmware is updated (1.2+). */
  readonly policy: number;
  readonly random: Uint8Array;
  readonly exchange: Uint8Array;
  readonly opaque: Uint8Array;
};
export type KeyExchangeRsp = {
  readonly heartbeatSeconds: Seconds;
  readonly sessionId: number;
  /** See `mutualAuthentication` below. */
  readonly mutualAuthentication: number;
  readonly slot: number;
  readonly random: Uint8Array;
  readonly exchange: Uint8Array;
  readonly summary: Uint8Array;
  readonly opaque: Uint8Array;
  readonly signature: Uint8Array;
  /** Empty when both sides have HANDSHAKE_IN_THE_CLEAR. */
  readonly verifyData: Uint8Array;
};

/** Bit of SessionPolicy: subscribes to all events (1.3+, with EVENT_CAP only). */
export const allEventsPolicy = 0x02;

/** MutAuthRequested: with a certificate the responder has already, with encapsulated requests, with an encapsulated GET_DIGESTS implied. */
export const mutualAuthentication = { none: 0, known: 1, encapsulated: 2, digests: 4 } as const;
/** Low half of ReqSlotIDParam. */
export const requesterSlotMask = 0x0f;

export function encodeKeyExchange(version: number, request: KeyExchange): Uint8Array {
  const { summaryType, slot, sessionId, policy, random, exchange, opaque } = request;
  const body = [u16(sessionId), u8(policy), u8(0), random, exchange, u16(opaque.length), opaque];
  return encodeMessage(version, requestCode.keyExchange, summaryType, slot, ...body);
}

/** @throws SPDM_MALFORMED */
export function decodeKeyExchange(bytes: Uint8Array, dhe: KeyAgreement): KeyExchange {
  const { param1, param2, body } = openMessage(bytes, requestCode.keyExchange, 'KEY_EXCHANGE');
  const sessionId = body.u16();
  const policy = body.u8();
  body.u8();
  const random = body.take(nonceBytes);
  const exchange = body.take(dhe.exchangeBytes);
  const opaque = checkedOpaque(body.take(body.u16()), 'KEY_EXCHANGE');
  body.end();
  return { summaryType: param1, slot: param2, sessionId, policy, random, exchange, opaque };
}

/** Without signature and verify data, which are made over this. */
export function encodeKeyExchangeRsp(version: number, response: Omit<KeyExchangeRsp, 'signature' | 'verifyData'>): Uint8Array {
  const { heartbeatSeconds, sessionId, mutualAuthentication, slot, random, exchange, summary, opaque } = response;
  const body = [u16(sessionId), u8(mutualAuthentication), u8(slot), random, exchange, summary, u16(opaque.length), opaque];
  return encodeMessage(version, responseCode.keyExchangeRsp, heartbeatSeconds, 0, ...body);
}

/** @param verifyDataBytes 0 when both sides have HANDSHAKE_IN_THE_CLEAR  @throws SPDM_MALFORMED */
export function decodeKeyExchangeRsp(
  bytes: Uint8Array,
  algorithms: Algorithms,
  dhe: KeyAgreement,
  summaryType: number,
  verifyDataBytes: number,
): KeyExchangeRsp {
  const { param1, body } = openMessage(bytes, responseCode.keyExchangeRsp, 'KEY_EXCHANGE_RSP');
  const sessionId = body.u16();
  const mutualAuthentication = body.u8();
  const slot = body.u8();
  const random = body.take(nonceBytes);
  const exchange = body.take(responseExchangeBytes(dhe));
  const summary = body.take(summaryType === 0 ? 0 : algorithms.hash.hashBytes);
  const opaque = checkedOpaque(body.take(body.u16()), 'KEY_EXCHANGE_RSP');
  const signature = body.take(algorithms.signature.signatureBytes);
  const verifyData = body.take(verifyDataBytes);
  body.end();
  return { heartbeatSeconds: param1, sessionId, mutualAuthentication, slot, random, exchange, summary, opaque, signature, verifyData };
}
