import { concat, equalBytes } from '../../bytes.ts';
import { decodeCertificateChain, encodeCertificateChain } from '../certChain.ts';
import { capability, headerBytes, maxChainBytes, requestCode, responseCode, spdmError } from '../constants.ts';
import { certificateHeadBytes, decodeCertificate, encodeGetCertificate } from '../messages/certificate.ts';
import { decodeDigests, encodeGetDigests } from '../messages/digests.ts';
import {
  decodeDeliverResponse,
  type Encapsulated,
  type EncapsulatedAck,
  encodeEncapsulatedAck,
  encodeEncapsulatedRequest,
} from '../messages/encapsulated.ts';
import { decodeKeyUpdateAck, encodeKeyUpdate, keyUpdateOperation } from '../messages/keyUpdate.ts';
import { decodeHeadOnly } from '../messages/sessionControl.ts';
import { hashOf } from '../signature.ts';
import {
  bothHave,
  type Exchange,
  handshakeFailed,
  type LiveSession,
  negotiated,
  ownCapabilities,
  type Peer,
  type Questions,
  Refusal,
  type Reply,
} from './state.ts';

/** ENCAPSULATED_REQUEST and ENCAPSULATED_RESPONSE_ACK (DSP0274 §10.18): the responder asks the requester for its DIGESTS and CERTIFICATE before
 *  FINISH, or announces a new sending key in a session. */

/** @param implied whether GET_DIGESTS counts as asked, with id 0 */
export function openQuestions(slot: number, implied: boolean): Questions {
  const first = implied ? { asked: 'digests' as const } : {};
  return { purpose: 'identity', ...first, requestId: 0, slot, tag: 0, chain: new Uint8Array() };
}

/** New keys for what the responder sends, from the next GET_ENCAPSULATED_REQUEST on. */
export function openKeyUpdate(tag: number): Questions {
  return { purpose: 'keyUpdate', requestId: 0, slot: 0, tag, chain: new Uint8Array() };
}

/** The requester's certificates that were known before (MutAuthRequested 1). */
export async function knownPeer({ settings, state }: Exchange): Promise<Peer> {
  const { certificates = [], trust } = settings.mutualAuthentication!;
  const { hash } = negotiated(state);
  const chain = encodeCertificateChain(state.version, hash, certificates);
  return { certificates, leafKey: await trust(certificates), chainDigest: hashOf(hash, chain) };
}

export function handleGetEncapsulatedRequest(exchange: Exchange): Reply {
  decodeHeadOnly(exchange.request, requestCode.getEncapsulatedRequest, 'GET_ENCAPSULATED_REQUEST');
  const questions = askedHere(exchange);
  if (questions.asked) throw noQuestion(exchange);
  const next = ask(exchange, questions, questions.purpose === 'identity' ? 'digests' : 'newKey');
  return { message: encodeEncapsulatedRequest(exchange.state.version, next) };
}

/** An answer that cannot be used ends the handshake, or the update of keys. */
export async function handleDeliverEncapsulatedResponse(exchange: Exchange): Promise<Reply> {
  const { state, request } = exchange;
  const { requestId, message } = decodeDeliverResponse(request);
  const questions = askedHere(exchange);
  if (!questions.asked) throw noQuestion(exchange);
  if (requestId !== questions.requestId) throw new Refusal(spdmError.invalidRequest);
  try {
    const ack = await accept(exchange, questions, message);
    return { message: encodeEncapsulatedAck(state.version, { acknowledgedId: requestId, ...ack }) };
  } catch {
    if (questions.purpose === 'identity') throw handshakeFailed(spdmError.invalidResponseCode);
    state.session!.questions = undefined;
    throw new Refusal(spdmError.invalidResponseCode);
  }
}

/** Questions of a handshake are asked where the rest of it runs: in the clear or in the session. */
function askedHere(exchange: Exchange): Questions {
  const open = exchange.state.session;
  const inSession = exchange.session !== undefined;
  const fits = open?.phase === 'established' ? inSession : open && open.clearHandshake !== inSession;
  if (!open?.questions || !fits) throw noQuestion(exchange);
  return open.questions;
}

function noQuestion({ state }: Exchange): Refusal {
  return new Refusal(state.version >= 0x13 ? spdmError.noPendingRequests : spdmError.unexpectedRequest);
}

function ask(exchange: Exchange, questions: Questions, what: NonNullable<Questions['asked']>): Encapsulated {
  questions.asked = what;
  questions.requestId = (questions.requestId + 1) & 0xff;
  return { requestId: questions.requestId, message: questionOf(exchange, questions, what) };
}

function questionOf(exchange: Exchange, { slot, tag, chain }: Questions, what: NonNullable<Questions['asked']>): Uint8Array {
  const { version } = exchange.state;
  switch (what) {
    case 'digests':
      return encodeGetDigests(version);
    case 'certificate':
      return encodeGetCertificate(version, { slot, offset: chain.length, ...portion(exchange) });
    case 'newKey':
      return encodeKeyUpdate(version, { operation: keyUpdateOperation.updateKey, tag });
    case 'newKeyProof':
      return encodeKeyUpdate(version, { operation: keyUpdateOperation.verifyNewKey, tag });
  }
}

/** As much as one message of ours may have, or without chunks (1.2+) one transfer: the response comes inside DELIVER_ENCAPSULATED_RESPONSE. */
function portion(exchange: Exchange): { readonly length: number; readonly large: boolean } {
  const { maxMessageBytes, dataTransferBytes } = ownCapabilities(exchange);
  const { version } = exchange.state;
  const large = version >= 0x14 && bothHave(exchange, capability.largeResponse);
  const longest = version < 0x12 || bothHave(exchange, capability.chunk) ? maxMessageBytes : dataTransferBytes;
  const room = longest - headerBytes - (large ? certificateHeadBytes.large : certificateHeadBytes.short);
  return { large, length: large ? room : Math.min(room, 0xffff) };
}

async function accept(exchange: Exchange, questions: Questions, response: Uint8Array): Promise<Omit<EncapsulatedAck, 'acknowledgedId'>> {
  const session = exchange.state.session!;
  if (response[0] !== exchange.state.version) throw new Refusal(spdmError.invalidResponseCode);
  switch (questions.asked!) {
    case 'digests':
      acceptDigests(exchange, questions, response);
      return { next: ask(exchange, questions, 'certificate') };
    case 'certificate':
      return (await acceptCertificate(exchange, session, questions, response))
        ? identified(session, questions)
        : again(exchange, questions);
    case 'newKey':
      acceptKeyUpdate(questions, keyUpdateOperation.updateKey, response);
      session.keys.rotate('response');
      return { next: ask(exchange, questions, 'newKeyProof') };
    case 'newKeyProof':
      acceptKeyUpdate(questions, keyUpdateOperation.verifyNewKey, response);
      session.questions = undefined;
      return {};
  }
}

const again = (exchange: Exchange, questions: Questions) => ({ next: ask(exchange, questions, 'certificate') });

function identified(session: LiveSession, { slot }: Questions): { readonly slot: number } {
  session.questions = undefined;
  return { slot };
}

function acceptDigests({ state }: Exchange, questions: Questions, response: Uint8Array): void {
  const { hash, requesterMultiKey } = negotiated(state);
  const found = decodeDigests(response, hash.hashBytes, requesterMultiKey).find(({ slot }) => slot === questions.slot);
  if (!found) throw new Refusal(spdmError.invalidResponseCode);
  questions.digest = found.digest;
  questions.digests = response;
}

/** @returns whether the chain is whole; it has been judged by `trust` then */
async function acceptCertificate({ settings, state }: Exchange, session: LiveSession, questions: Questions, response: Uint8Array) {
  const part = decodeCertificate(response);
  const chain = concat(questions.chain, part.portion);
  const fits = part.portion.length > 0 && chain.length + part.remainder <= maxChainBytes;
  if (part.slot !== questions.slot || !fits) throw new Refusal(spdmError.invalidResponseCode);
  questions.chain = chain;
  if (part.remainder > 0) return false;
  const { hash } = negotiated(state);
  const chainDigest = hashOf(hash, chain);
  if (!equalBytes(chainDigest, questions.digest!)) throw new Refusal(spdmError.invalidResponseCode);
  const { certificates } = decodeCertificateChain(state.version, hash, chain);
  const leafKey = await settings.mutualAuthentication!.trust(certificates);
  session.peer = { certificates, leafKey, chainDigest, digests: questions.digests! };
  return true;
}

function acceptKeyUpdate({ tag }: Questions, operation: number, response: Uint8Array): void {
  const ack = decodeKeyUpdateAck(response);
  if (response[1] !== responseCode.keyUpdateAck || ack.operation !== operation || ack.tag !== tag)
    throw new Refusal(spdmError.invalidResponseCode);
}
