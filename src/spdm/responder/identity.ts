import { concat } from '../../bytes.ts';
import { type CertSlot, certificatePortion, slotDigests, slotMask } from '../certSlot.ts';
import { capability, nonceBytes, requestCode, spdmError } from '../constants.ts';
import { decodeGetCertificate, encodeCertificate, type GetCertificate } from '../messages/certificate.ts';
import { decodeChallenge, encodeChallengeAuth } from '../messages/challenge.ts';
import { decodeGetDigests, encodeDigests, keyUse } from '../messages/digests.ts';
import { signingInput } from '../signature.ts';
import { challengeTranscript, maxTranscriptBytes, transcriptBytes, withDigests, withIdentity } from '../transcript.ts';
import { openBasicQuestions } from './encapsulated.ts';
import { kept } from './kept.ts';
import { measurementSummary } from './measurements.ts';
import { asksBack } from './requesterProof.ts';
import { chainContext, signerOf, slotOf, slotsOf } from './slots.ts';
import { type Exchange, invalidRequest, longestResponse, negotiated, ownCapabilities, Refusal, type Reply } from './state.ts';

/** DIGESTS, CERTIFICATE, CHALLENGE_AUTH (DSP0274 §10.6–10.8). */

export function handleGetDigests(exchange: Exchange): Reply {
  decodeGetDigests(exchange.request);
  const slots = slotsOf(exchange);
  const { multiKey } = negotiated(exchange.state);
  const message = encodeDigests(exchange.state.version, slotDigests(chainContext(exchange), multiKey, slots));
  remember(exchange, message, withDigests);
  return { message };
}

/** Sends what was asked for: all of it where it can go out in chunks, else at most what fits into the requester's DataTransferSize. */
export function handleGetCertificate(exchange: Exchange): Reply {
  const { state, request } = exchange;
  const asked = decodeGetCertificate(request);
  if (asked.large && !(ownCapabilities(exchange).flags & capability.largeResponse))
    throw new Refusal(spdmError.unsupportedRequest, requestCode.getCertificate);
  const cert = slotOf(exchange, asked.slot);
  const message = kept(cert, negotiated(state), request, () => portionOf(exchange, cert, asked));
  remember(exchange, message, withIdentity);
  return { message };
}

/** Follows from the request and what was negotiated: `negotiated` is a record of its own for each kind of requester, its transfer size included. */
function portionOf(exchange: Exchange, cert: CertSlot, asked: GetCertificate): Uint8Array {
  const { state } = exchange;
  const part = certificatePortion(chainContext(exchange), negotiated(state).multiKey, cert, asked, longestResponse(exchange));
  if (!part) throw invalidRequest();
  return encodeCertificate(state.version, part);
}

const noSummary = new Uint8Array();

/** Signs M1/M2, which empties B and C. */
export async function handleChallenge(exchange: Exchange): Promise<Reply> {
  const { settings, state, request } = exchange;
  const { slot, summaryType, context } = decodeChallenge(request);
  const signer = signerOf(exchange, slot, keyUse.challenge);
  const { hash } = negotiated(state);
  const basicMutualAuthentication = asksBack(exchange);
  const unsigned = encodeChallengeAuth(state.version, {
    slot: signer.slot,
    basicMutualAuthentication,
    slotMask: signer.isSlot ? slotMask(slotsOf(exchange)) : 0,
    chainHash: signer.digest,
    nonce: settings.randomBytes(nonceBytes),
    summary: summaryType === 0 ? noSummary : await measurementSummary(exchange, summaryType),
    opaque: new Uint8Array(),
    context,
  });
  const transcript = challengeTranscript(state.transcript, request, unsigned);
  const signature = await signer.sign(signingInput(state.version, hash, 'responder-challenge_auth signing', transcript), hash.name);
  state.transcript = { ...state.transcript, identity: [] };
  state.provedPeer = undefined;
  state.questions = basicMutualAuthentication ? openBasicQuestions(settings.mutualAuthentication!.slot) : undefined;
  return { message: concat(unsigned, signature) };
}

/** Messages inside a session are in no M1/M2. */
function remember({ state, request, session }: Exchange, response: Uint8Array, add: typeof withIdentity): void {
  if (session) return;
  const transcript = add(state.transcript, request, response);
  if (transcriptBytes(transcript.identity) > maxTranscriptBytes) throw invalidRequest();
  state.transcript = transcript;
}
