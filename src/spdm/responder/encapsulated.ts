import { capability, headerBytes, nonceBytes, requestCode, responseCode, spdmError } from '../constants.ts';
import { acknowledged } from '../eventQueue.ts';
import { certificateHeadBytes, encodeGetCertificate } from '../messages/certificate.ts';
import { encodeChallenge } from '../messages/challenge.ts';
import { encodeGetDigests } from '../messages/digests.ts';
import {
  decodeDeliverResponse,
  type Encapsulated,
  type EncapsulatedAck,
  encodeEncapsulatedAck,
  encodeEncapsulatedRequest,
} from '../messages/encapsulated.ts';
import { encodeGetSupportedEventTypes, encodeSendEvent, encodeSubscribeEventTypes } from '../messages/events.ts';
import { decodeKeyUpdateAck, encodeKeyUpdate, keyUpdateOperation } from '../messages/keyUpdate.ts';
import { decodeHeadOnly } from '../messages/sessionControl.ts';
import { eventsToSend, hearsOf, openInbox, wantedEvents } from './events.ts';
import { acceptEndpoint, endpointAsked, endpointQuestion } from './requesterEndpoint.ts';
import { acceptCertificate, acceptChallengeAuth, acceptDigests } from './requesterProof.ts';
import {
  bothHave,
  type Exchange,
  handshakeFailed,
  type LiveSession,
  ownCapabilities,
  type Peer,
  type Questions,
  Refusal,
  type Reply,
} from './state.ts';

/** ENCAPSULATED_REQUEST and ENCAPSULATED_RESPONSE_ACK (DSP0274 §10.18): the responder asks the requester who it is (before FINISH, or in 1.1 after
 *  CHALLENGE_AUTH), or in a session announces a new sending key, asks what kind of device the requester is, subscribes to its events, or tells its own. */

/** After a CHALLENGE_AUTH that asks for basic mutual authentication (1.1): all of it in the clear. */
export function openBasicQuestions(slot: number): Questions {
  return { purpose: 'challenge', requestId: 0, slot, tag: 0, chain: new Uint8Array(), messages: [] };
}

/** @param implied whether GET_DIGESTS counts as asked, with id 0 */
export function openQuestions(slot: number, implied: boolean): Questions {
  const first = implied ? { asked: 'digests' as const } : {};
  return { purpose: 'identity', ...first, requestId: 0, slot, tag: 0, chain: new Uint8Array() };
}

/** What there is to ask or tell in an established session: new keys for what the responder sends, which events the requester has, then our events. */
function openInSession(exchange: Exchange, session: LiveSession): Questions | undefined {
  const tag = session.newKeyTag;
  session.newKeyTag = undefined;
  const blank = { requestId: 0, slot: 0, tag: tag ?? 0, chain: new Uint8Array() };
  if (tag !== undefined) return { purpose: 'keyUpdate', ...blank };
  if (!session.isAskedForEndpoint && endpointAsked(exchange)) return { purpose: 'endpoint', ...blank };
  if (!session.isAskedForEvents && hearsOf(exchange)) return { purpose: 'subscription', ...blank };
  return hasEvents(exchange, session) ? { purpose: 'events', ...blank } : undefined;
}

const hasEvents = (exchange: Exchange, { events }: LiveSession): boolean =>
  events !== undefined && eventsToSend(exchange, events).length > 0;

const firstQuestion = {
  identity: 'digests',
  challenge: 'digests',
  keyUpdate: 'newKey',
  endpoint: 'endpoint',
  subscription: 'eventTypes',
  events: 'events',
} as const satisfies Record<Questions['purpose'], Questions['asked']>;

export function handleGetEncapsulatedRequest(exchange: Exchange): Reply {
  decodeHeadOnly(exchange.request, requestCode.getEncapsulatedRequest, 'GET_ENCAPSULATED_REQUEST');
  const { session } = exchange;
  if (session?.phase === 'established') session.questions ??= openInSession(exchange, session);
  const questions = askedHere(exchange);
  if (questions.asked) throw noQuestion(exchange);
  const next = ask(exchange, questions, firstQuestion[questions.purpose]);
  return { message: encodeEncapsulatedRequest(exchange.state.version, next) };
}

/** An answer that cannot be used ends the handshake, or what was asked. */
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
    close(exchange);
    throw new Refusal(spdmError.invalidResponseCode);
  }
}

/** Questions of a handshake are asked where the rest of it runs: in the clear or in the session. */
function askedHere(exchange: Exchange): Questions {
  if (exchange.state.questions && !exchange.session) return exchange.state.questions;
  const open = exchange.state.session;
  const inSession = exchange.session !== undefined;
  const fits = open?.phase === 'established' ? inSession : open && open.clearHandshake !== inSession;
  if (!open?.questions || !fits) throw noQuestion(exchange);
  return open.questions;
}

/** Nothing more is asked where these were. */
function close({ state, session }: Exchange): void {
  if (session) session.questions = undefined;
  else state.questions = undefined;
}

function noQuestion({ state }: Exchange): Refusal {
  return new Refusal(state.version >= 0x13 ? spdmError.noPendingRequests : spdmError.unexpectedRequest);
}

function ask(exchange: Exchange, questions: Questions, what: NonNullable<Questions['asked']>): Encapsulated {
  questions.asked = what;
  questions.requestId = (questions.requestId + 1) & 0xff;
  const message = questionOf(exchange, questions, what);
  questions.messages?.push(message);
  questions.message = message;
  return { requestId: questions.requestId, message };
}

function questionOf(exchange: Exchange, questions: Questions, what: NonNullable<Questions['asked']>): Uint8Array {
  const { version, session } = exchange.state;
  const { slot, tag, chain } = questions;
  switch (what) {
    case 'digests':
      return encodeGetDigests(version);
    case 'certificate':
      return encodeGetCertificate(version, { slot, offset: chain.length, ...portion(exchange) });
    case 'challenge':
      return encodeChallenge(version, {
        slot,
        summaryType: 0,
        nonce: exchange.settings.randomBytes(nonceBytes),
        context: new Uint8Array(),
      });
    case 'newKey':
      return encodeKeyUpdate(version, { operation: keyUpdateOperation.updateKey, tag });
    case 'newKeyProof':
      return encodeKeyUpdate(version, { operation: keyUpdateOperation.verifyNewKey, tag });
    case 'endpoint':
      session!.isAskedForEndpoint = true;
      return endpointQuestion(exchange, session!);
    case 'eventTypes':
      session!.isAskedForEvents = true;
      return encodeGetSupportedEventTypes(version);
    case 'subscription':
      return encodeSubscribeEventTypes(version, questions.wanted!);
    case 'events':
      questions.sent = eventsToSend(exchange, session!.events!);
      return encodeSendEvent(version, questions.sent);
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
  if (response[0] !== exchange.state.version) throw new Refusal(spdmError.invalidResponseCode);
  switch (questions.asked!) {
    case 'digests':
      acceptDigests(exchange, questions, response);
      return { next: ask(exchange, questions, 'certificate') };
    case 'certificate': {
      const peer = await acceptCertificate(exchange, questions, response);
      return peer === undefined ? { next: ask(exchange, questions, 'certificate') } : identified(exchange, questions, peer);
    }
    case 'challenge':
      exchange.state.provedPeer = await acceptChallengeAuth(exchange, questions, response);
      close(exchange);
      return {};
    default:
      return acceptInSession(exchange, exchange.session!, questions, response);
  }
}

function identified(exchange: Exchange, questions: Questions, peer: Peer): Omit<EncapsulatedAck, 'acknowledgedId'> {
  if (questions.purpose === 'challenge') {
    questions.peer = peer;
    return { next: ask(exchange, questions, 'challenge') };
  }
  const open = exchange.state.session!;
  open.peer = peer;
  open.questions = undefined;
  return { slot: questions.slot };
}

async function acceptInSession(exchange: Exchange, session: LiveSession, questions: Questions, response: Uint8Array) {
  switch (questions.asked) {
    case 'newKey':
      acceptKeyUpdate(questions, keyUpdateOperation.updateKey, response);
      session.keys.rotate('response');
      return { next: ask(exchange, questions, 'newKeyProof') };
    case 'newKeyProof':
      acceptKeyUpdate(questions, keyUpdateOperation.verifyNewKey, response);
      close(exchange);
      return {};
    case 'endpoint':
      await acceptEndpoint(exchange, session, questions.message!, response);
      if (hearsOf(exchange) && !session.isAskedForEvents) return { next: ask(exchange, questions, 'eventTypes') };
      break;
    case 'eventTypes':
      questions.wanted = wantedEvents(response);
      if (questions.wanted.length > 0) return { next: ask(exchange, questions, 'subscription') };
      break;
    case 'subscription':
      decodeHeadOnly(response, responseCode.subscribeEventTypesAck, 'SUBSCRIBE_EVENT_TYPES_ACK');
      openInbox(exchange, session);
      break;
    default:
      decodeHeadOnly(response, responseCode.eventAck, 'EVENT_ACK');
      session.events = acknowledged(session.events!, questions.sent!);
  }
  if (hasEvents(exchange, session)) return { next: ask(exchange, questions, 'events') };
  close(exchange);
  return {};
}

function acceptKeyUpdate({ tag }: Questions, operation: number, response: Uint8Array): void {
  const ack = decodeKeyUpdateAck(response);
  if (response[1] !== responseCode.keyUpdateAck || ack.operation !== operation || ack.tag !== tag)
    throw new Refusal(spdmError.invalidResponseCode);
}
