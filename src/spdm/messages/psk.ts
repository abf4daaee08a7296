import type { Seconds } from '../../times.ts';
import { encodeMessage, malformed, openMessage, u16 } from '../codec.ts';
import { requestCode, responseCode } from '../constants.ts';
import { checkedOpaque } from '../opaque.ts';
import { emptyOpaque, readOpaque } from './finish.ts';

/** PSK_EXCHANGE / PSK_EXCHANGE_RSP and PSK_FINISH / PSK_FINISH_RSP (DSP0274 §10.18, §10.19). */

export type PskExchange = {
  readonly summaryType: number;
  readonly policy: number;
  readonly sessionId: number;
  /** Says which key. */
  readonly hint: Uint8Array;
  /** The requester's nonce, at least 32 bytes. */
  readonly context: Uint8Array;
  readonly opaque: Uint8Array;
};
export type PskExchangeRsp = {
  readonly heartbeatSeconds: Seconds;
  readonly sessionId: number;
  readonly summary: Uint8Array;
  /** The responder's nonce; empty for a responder without context: there is no PSK_FINISH then. */
  readonly context: Uint8Array;
  readonly opaque: Uint8Array;
  readonly verifyData: Uint8Array;
};

/** Shortest context: as long as a nonce. Longest context and hint of ours. */
const minContextBytes = 32;
/** Length of our own contexts: at least that of any hash. */
export const pskContextBytes = 64;
const maxPskFieldBytes = 256;

export function encodePskExchange(version: number, request: PskExchange): Uint8Array {
  const { summaryType, policy, sessionId, hint, context, opaque } = request;
  const lengths = [u16(sessionId), u16(hint.length), u16(context.length), u16(opaque.length)];
  return encodeMessage(version, requestCode.pskExchange, summaryType, version >= 0x12 ? policy : 0, ...lengths, hint, context, opaque);
}

/** @throws SPDM_MALFORMED */
export function decodePskExchange(bytes: Uint8Array): PskExchange {
  const { param1, param2, body } = openMessage(bytes, requestCode.pskExchange, 'PSK_EXCHANGE');
  const sessionId = body.u16();
  const [hintBytes, contextBytes, opaqueBytes] = [body.u16(), body.u16(), body.u16()];
  if (contextBytes < minContextBytes || contextBytes > maxPskFieldBytes || hintBytes > maxPskFieldBytes)
    throw malformed('PSK_EXCHANGE: length');
  const hint = body.take(hintBytes);
  const context = body.take(contextBytes);
  const opaque = checkedOpaque(body.take(opaqueBytes), 'PSK_EXCHANGE');
  body.end();
  return { summaryType: param1, policy: param2, sessionId, hint, context, opaque };
}

/** Without verify data, which is made over this. */
export function encodePskExchangeRsp(version: number, response: Omit<PskExchangeRsp, 'verifyData'>): Uint8Array {
  const { heartbeatSeconds, sessionId, summary, context, opaque } = response;
  const lengths = [u16(sessionId), u16(0), u16(context.length), u16(opaque.length)];
  return encodeMessage(version, responseCode.pskExchangeRsp, heartbeatSeconds, 0, ...lengths, summary, context, opaque);
}

/** @throws SPDM_MALFORMED */
export function decodePskExchangeRsp(bytes: Uint8Array, hashBytes: number, summaryType: number): PskExchangeRsp {
  const { param1, body } = openMessage(bytes, responseCode.pskExchangeRsp, 'PSK_EXCHANGE_RSP');
  const sessionId = body.u16();
  body.u16();
  const [contextBytes, opaqueBytes] = [body.u16(), body.u16()];
  if (contextBytes > maxPskFieldBytes) throw malformed('PSK_EXCHANGE_RSP: context');
  const summary = body.take(summaryType === 0 ? 0 : hashBytes);
  const context = body.take(contextBytes);
  const opaque = checkedOpaque(body.take(opaqueBytes), 'PSK_EXCHANGE_RSP');
  const verifyData = body.take(hashBytes);
  body.end();
  return { heartbeatSeconds: param1, sessionId, summary, context, opaque, verifyData };
}

/** Up to the verify data, which is made over this. */
export const encodePskFinishHead = (version: number): Uint8Array =>
  encodeMessage(version, requestCode.pskFinish, 0, 0, emptyOpaque(version));

/** @returns the verify data  @throws SPDM_MALFORMED */
export function decodePskFinish(bytes: Uint8Array, hashBytes: number): Uint8Array {
  const { version, body } = openMessage(bytes, requestCode.pskFinish, 'PSK_FINISH');
  readOpaque(version, body, 'PSK_FINISH');
  const verifyData = body.take(hashBytes);
  body.end();
  return verifyData;
}

export const encodePskFinishRsp = (version: number): Uint8Array =>
  encodeMessage(version, responseCode.pskFinishRsp, 0, 0, emptyOpaque(version));

/** @throws SPDM_MALFORMED */
export function decodePskFinishRsp(bytes: Uint8Array): void {
  const { version, body } = openMessage(bytes, responseCode.pskFinishRsp, 'PSK_FINISH_RSP');
  readOpaque(version, body, 'PSK_FINISH_RSP');
  body.end();
}
