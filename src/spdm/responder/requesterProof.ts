import { concat, equalBytes } from '../../bytes.ts';
import { decodeCertificateChain, encodeCertificateChain } from '../certChain.ts';
import { capability, maxChainBytes, spdmError } from '../constants.ts';
import { decodeCertificate } from '../messages/certificate.ts';
import { decodeChallenge, decodeChallengeAuth, requireAnswer } from '../messages/challenge.ts';
import { decodeDigests } from '../messages/digests.ts';
import { hashOf, signingInput, verifySignature } from '../signature.ts';
import { bothHave, type Exchange, negotiated, type Peer, type Questions, Refusal } from './state.ts';

/** Who a requester is: its certificates, known before or asked for in encapsulated requests, and in 1.1 its CHALLENGE_AUTH. */

const refused = (): Refusal => new Refusal(spdmError.invalidResponseCode);

/** The requester's certificates that were known before (MutAuthRequested 1). */
export async function knownPeer({ settings, state }: Exchange): Promise<Peer> {
  const { certificates = [], trust } = settings.mutualAuthentication!;
  const { hash } = negotiated(state);
  const chain = encodeCertificateChain(state.version, hash, certificates);
  return { certificates, leafKey: await trust(certificates), chainDigest: hashOf(hash, chain) };
}

/** Whether CHALLENGE_AUTH asks the requester to prove itself too (BasicMutAuthReq). It is deprecated since 1.2, where mutual authentication has a session
 *  to bind it to. */
export function asksBack(exchange: Exchange): boolean {
  const { settings, state } = exchange;
  return (
    settings.mutualAuthentication?.inChallenge === true &&
    state.version === 0x11 &&
    bothHave(exchange, capability.mutualAuthentication) &&
    bothHave(exchange, capability.encapsulated) &&
    ((state.requester?.flags ?? 0) & capability.challenge) !== 0 &&
    negotiated(state).requesterSignature !== undefined
  );
}

export function acceptDigests({ state }: Exchange, questions: Questions, response: Uint8Array): void {
  const { hash, requesterMultiKey } = negotiated(state);
  const found = decodeDigests(response, hash.hashBytes, requesterMultiKey).find(({ slot }) => slot === questions.slot);
  if (!found) throw refused();
  questions.digest = found.digest;
  questions.digests = response;
  questions.messages?.push(response);
}

/** @returns the requester once its chain is whole and judged by `trust` */
export async function acceptCertificate(
  { settings, state }: Exchange,
  questions: Questions,
  response: Uint8Array,
): Promise<Peer | undefined> {
  const part = decodeCertificate(response);
  const chain = concat(questions.chain, part.portion);
  const fits = part.portion.length > 0 && chain.length + part.remainder <= maxChainBytes;
  if (part.slot !== questions.slot || !fits) throw refused();
  questions.chain = chain;
  questions.messages?.push(response);
  if (part.remainder > 0) return undefined;
  const { hash } = negotiated(state);
  const chainDigest = hashOf(hash, chain);
  if (!equalBytes(chainDigest, questions.digest!)) throw refused();
  const { certificates } = decodeCertificateChain(state.version, hash, chain);
  const leafKey = await settings.mutualAuthentication!.trust(certificates);
  return { certificates, leafKey, chainDigest, digests: questions.digests! };
}

/** The requester's M1/M2 before 1.2: all encapsulated messages, without A (DSP0274 1.1 §"M1 and M2 message transcript"). @throws for a wrong signature */
export async function acceptChallengeAuth({ state }: Exchange, questions: Questions, response: Uint8Array): Promise<Peer> {
  const algorithms = negotiated(state);
  const { hash } = algorithms;
  const signature = algorithms.requesterSignature!;
  const { peer, messages = [] } = questions;
  const answer = decodeChallengeAuth(response, { ...algorithms, signature }, 0);
  requireAnswer(decodeChallenge(messages.at(-1)!), answer);
  if (!peer || !equalBytes(answer.chainHash, peer.chainDigest)) throw refused();
  const signed = concat(...messages, response.subarray(0, response.length - answer.signature.length));
  const input = signingInput(state.version, hash, 'requester-challenge_auth signing', signed);
  await verifySignature({ hash, signature }, peer.leafKey, input, answer.signature, 'CHALLENGE_AUTH');
  return peer;
}
