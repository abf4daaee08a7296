import { equalBytes } from '../../bytes.ts';
import { NusecError } from '../../errors.ts';
import { encodeMessage, openMessage, u16 } from '../codec.ts';
import { nonceBytes, provisionedSlot, provisionedSlotInAnswer, requestCode, requesterContextBytes, responseCode } from '../constants.ts';
import { checkedOpaque } from '../opaque.ts';
import type { Algorithms } from '../suite.ts';

/** CHALLENGE and CHALLENGE_AUTH (DSP0274 §10.8). */

export type Challenge = {
  /** 0xFF: no certificate, the key is known. The answer then has 0xF and no slots, and the hash of that key. */
  readonly slot: number;
  /** 0 none, 1 trusted computing base, 0xFF all. */
  readonly summaryType: number;
  readonly nonce: Uint8Array;
  /** 8 bytes since 1.3, empty before. */
  readonly context: Uint8Array;
};
export type ChallengeAuth = {
  readonly slot: number;
  /** Bit 7 of param1: the responder wants us to prove ourselves in the clear too (BasicMutAuthReq, deprecated since 1.2). */
  readonly basicMutualAuthentication: boolean;
  readonly slotMask: number;
  readonly chainHash: Uint8Array;
  readonly nonce: Uint8Array;
  readonly summary: Uint8Array;
  readonly opaque: Uint8Array;
  readonly context: Uint8Array;
  readonly signature: Uint8Array;
};

const slotBits = 0x0f;
const basicMutualAuthenticationFlag = 0x80;

export function contextBytes(version: number): number {
  return version >= 0x13 ? requesterContextBytes : 0;
}

export function encodeChallenge(version: number, request: Challenge): Uint8Array {
  return encodeMessage(version, requestCode.challenge, request.slot, request.summaryType, request.nonce, request.context);
}

/** @throws SPDM_MALFORMED */
export function decodeChallenge(bytes: Uint8Array): Challenge {
  const { version, param1, param2, body } = openMessage(bytes, requestCode.challenge, 'CHALLENGE');
  const decoded = { slot: param1, summaryType: param2, nonce: body.take(nonceBytes), context: body.take(contextBytes(version)) };
  body.end();
  return decoded;
}

/** Without the signature, which is made over this. */
export function encodeChallengeAuth(version: number, response: Omit<ChallengeAuth, 'signature'>): Uint8Array {
  const { slot, basicMutualAuthentication, slotMask, chainHash, nonce, summary, opaque, context } = response;
  const attributes = slot | (basicMutualAuthentication ? basicMutualAuthenticationFlag : 0);
  return encodeMessage(
    version,
    responseCode.challengeAuth,
    attributes,
    slotMask,
    chainHash,
    nonce,
    summary,
    u16(opaque.length),
    opaque,
    context,
  );
}

/** @param summaryType of the request: 0 means that no summary follows  @throws SPDM_MALFORMED */
export function decodeChallengeAuth(bytes: Uint8Array, algorithms: Algorithms, summaryType: number): ChallengeAuth {
  const { version, param1, param2, body } = openMessage(bytes, responseCode.challengeAuth, 'CHALLENGE_AUTH');
  const chainHash = body.take(algorithms.hash.hashBytes);
  const nonce = body.take(nonceBytes);
  const summary = body.take(summaryType === 0 ? 0 : algorithms.hash.hashBytes);
  const opaque = checkedOpaque(body.take(body.u16()), 'CHALLENGE_AUTH');
  const context = body.take(contextBytes(version));
  const signature = body.take(algorithms.signature.signatureBytes);
  body.end();
  const basicMutualAuthentication = (param1 & basicMutualAuthenticationFlag) !== 0;
  return { slot: param1 & slotBits, basicMutualAuthentication, slotMask: param2, chainHash, nonce, summary, opaque, context, signature };
}

/** @throws SPDM_UNEXPECTED for another slot or context, or a slot that the responder itself says is empty; SPDM_UNSUPPORTED for basic mutual
 *  authentication, which we do not speak */
export function requireAnswer(asked: Challenge, { slot, slotMask, context, basicMutualAuthentication }: ChallengeAuth): void {
  if (slot !== slotInAnswer(asked.slot) || !equalBytes(context, asked.context))
    throw unexpected('CHALLENGE_AUTH is not for this CHALLENGE');
  if (asked.slot !== provisionedSlot && (slotMask & (1 << slot)) === 0) throw unexpected('CHALLENGE_AUTH says that its slot is empty');
  if (basicMutualAuthentication) throw new NusecError('SPDM_UNSUPPORTED', 'responder asks for basic mutual authentication');
}

/** How answers, and GET_MEASUREMENTS, name a slot. */
export const slotInAnswer = (slot: number): number => (slot === provisionedSlot ? provisionedSlotInAnswer : slot);

const unexpected = (detail: string): NusecError => new NusecError('SPDM_UNEXPECTED', detail);
