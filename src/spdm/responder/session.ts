import { timingSafeEqual } from 'node:crypto';
import { concat } from '../../bytes.ts';
import { answerAgreement } from '../agreement.ts';
import { capability, nonceBytes, requestCode, spdmError } from '../constants.ts';
import { dataSecrets, handshakeSecrets, verifyData } from '../keySchedule.ts';
import { keyUse } from '../messages/digests.ts';
import { decodeFinish, encodeFinishRsp, type Finish } from '../messages/finish.ts';
import {
  allEventsPolicy,
  decodeKeyExchange,
  encodeKeyExchangeRsp,
  type KeyExchange,
  mutualAuthentication,
} from '../messages/keyExchange.ts';
import { decodeRecordLimit, decodeSupportedVersions, encodeSelectedVersion, securedMessageVersions } from '../opaque.ts';
import { createSession } from '../session.ts';
import { hashOf, signingInput, verifySignature } from '../signature.ts';
import { sessionTranscriptHead } from '../transcript.ts';
import { openQuestions } from './encapsulated.ts';
import { subscribedToAll } from './events.ts';
import { measurementSummary } from './measurements.ts';
import { knownPeer } from './requesterProof.ts';
import { signerOf } from './slots.ts';
import {
  bothHave,
  type Exchange,
  endSession,
  handshakeFailed,
  invalidRequest,
  type LiveSession,
  negotiated,
  Refusal,
  type Reply,
  unexpectedRequest,
} from './state.ts';

/** KEY_EXCHANGE_RSP and FINISH_RSP (DSP0274 §10.16, §10.17), with the requester authenticated when `mutualAuthentication` says so. One session at a time. */

export async function handleKeyExchange(exchange: Exchange): Promise<Reply> {
  const { settings, state, request } = exchange;
  const algorithms = negotiated(state);
  const { dhe, aead, hash, opaqueFormat1: general } = algorithms;
  if (!dhe || !aead) throw new Refusal(spdmError.unsupportedRequest, requestCode.keyExchange);
  if (state.session?.phase === 'established') throw new Refusal(spdmError.sessionLimitExceeded);
  const asked = decodeKeyExchange(request, dhe);
  const signer = signerOf(exchange, asked.slot, keyUse.keyExchange);
  const secured = selectSecured(exchange, asked.opaque);
  const events = state.version >= 0x13 && asked.policy & allEventsPolicy ? { events: subscribedToAll(exchange) } : {};
  const mutual = mutualRequest(exchange);
  const random = settings.randomBytes(nonceBytes);
  const { exchange: own, secret } = answerAgreement(settings, dhe, asked.exchange);
  const sessionId = settings.nextSessionId();
  const unsigned = encodeKeyExchangeRsp(state.version, {
    heartbeatSeconds: bothHave(exchange, capability.heartbeat) ? settings.heartbeatSeconds : 0,
    sessionId,
    mutualAuthentication: mutual,
    slot: mutual === mutualAuthentication.known ? (settings.mutualAuthentication?.slot ?? 0) : 0,
    random,
    exchange: own,
    summary: await measurementSummary(exchange, asked.summaryType),
    opaque: encodeSelectedVersion(general, secured.version),
  });
  const head = sessionTranscriptHead(state.transcript, algorithms.multiKey, signer.digest);
  const toSign = concat(head, request, unsigned);
  const signature = await signer.sign(signingInput(state.version, hash, 'responder-key_exchange_rsp signing', toSign), hash.name);
  return openHandshake(
    exchange,
    { asked, sessionId, secret, mutual, events, ...secured },
    concat(toSign, signature),
    concat(unsigned, signature),
  );
}

/** MutAuthRequested. @throws Refusal InvalidRequest when the requester must authenticate and cannot */
function mutualRequest(exchange: Exchange): number {
  const wanted = exchange.settings.mutualAuthentication;
  if (!wanted) return mutualAuthentication.none;
  const asks = wanted.how !== 'known';
  const able =
    bothHave(exchange, capability.mutualAuthentication) &&
    negotiated(exchange.state).requesterSignature !== undefined &&
    (!asks || bothHave(exchange, capability.encapsulated));
  if (!able && wanted.required) throw new Refusal(spdmError.invalidRequest);
  return able ? mutualAuthentication[wanted.how] : mutualAuthentication.none;
}

type Opened = {
  readonly asked: KeyExchange;
  readonly sessionId: number;
  readonly secret: Uint8Array;
  readonly mutual: number;
  readonly events: Pick<LiveSession, 'events'>;
  readonly maxRecords: number;
};

async function openHandshake(exchange: Exchange, opened: Opened, signed: Uint8Array, response: Uint8Array): Promise<Reply> {
  const { settings, state } = exchange;
  const { hash, aead } = negotiated(state);
  const context = { version: state.version, hash };
  const th1 = hashOf(hash, signed);
  const handshake = handshakeSecrets(context, opened.secret, th1);
  const clearHandshake = bothHave(exchange, capability.handshakeInTheClear);
  const proof = clearHandshake ? new Uint8Array() : verifyData(context, handshake.response, th1);
  const { binding, randomBytes } = settings;
  const id = (opened.asked.sessionId | (opened.sessionId << 16)) >>> 0;
  const { mutual, maxRecords } = opened;
  const keys = createSession({ ...context, aead: aead!, binding, role: 'responder', sessionId: id, randomBytes, maxRecords }, handshake);
  const peer = mutual === mutualAuthentication.known ? await knownPeer(exchange) : undefined;
  const asks = mutual === mutualAuthentication.encapsulated || mutual === mutualAuthentication.digests;
  endSession(state);
  state.session = {
    kind: 'exchange',
    keys,
    handshake,
    clearHandshake,
    phase: 'handshake',
    updating: false,
    mutual: mutual !== mutualAuthentication.none,
    ...opened.events,
    ...(peer ? { peer } : {}),
    ...(asks ? { questions: openQuestions(settings.mutualAuthentication!.slot, mutual === mutualAuthentication.digests) } : {}),
    transcript: concat(signed, proof),
    measurements: [],
  };
  return { message: concat(response, proof) };
}

/** Runs in the clear when both sides have HANDSHAKE_IN_THE_CLEAR, else inside the session under the handshake keys. */
export async function handleFinish(exchange: Exchange): Promise<Reply> {
  const { state, request } = exchange;
  const session = finishingSession(exchange);
  const { hash, requesterSignature } = negotiated(state);
  const context = { version: state.version, hash };
  const finish = decodeFinish(request, hash.hashBytes, requesterSignature?.signatureBytes ?? 0);
  const before = await checkPeer(exchange, session, finish);
  const beforeProof = concat(before, request.subarray(0, request.length - hash.hashBytes));
  if (!timingSafeEqual(verifyData(context, session.handshake.request, hashOf(hash, beforeProof)), finish.verifyData)) {
    throw handshakeFailed(spdmError.decryptError);
  }
  const message = finishResponse(exchange, session, before);
  const secrets = dataSecrets(context, session.handshake.handshake, hashOf(hash, concat(before, request, message)));
  return {
    message,
    afterwards: () => {
      session.keys.useKeys(secrets, secrets.exportMaster);
      session.phase = 'established';
    },
  };
}

/** The requester's signature over TH and FINISH, when it was asked who it is.
 *  @returns TH up to FINISH  @throws Refusal InvalidRequest for a signature too many or missing, DecryptError for a wrong one (the handshake is over) */
async function checkPeer(exchange: Exchange, session: LiveSession, { signed, signature, slot }: Finish): Promise<Uint8Array> {
  const { hash, requesterSignature, requesterMultiKey } = negotiated(exchange.state);
  const { peer } = session;
  if (signed !== session.mutual) throw invalidRequest();
  if (!signed) return session.transcript;
  if (!peer || !requesterSignature || slot !== exchange.settings.mutualAuthentication?.slot) throw invalidRequest();
  const { version } = exchange.state;
  const digests = requesterMultiKey && peer.digests ? peer.digests : new Uint8Array();
  const before = concat(session.transcript, digests, peer.chainDigest);
  const head = exchange.request.subarray(0, exchange.request.length - hash.hashBytes - signature.length);
  const input = signingInput(version, hash, 'requester-finish signing', concat(before, head));
  try {
    await verifySignature({ hash, signature: requesterSignature }, peer.leafKey, input, signature, 'FINISH');
  } catch {
    throw handshakeFailed(spdmError.decryptError);
  }
  return before;
}

/** @throws Refusal UnexpectedRequest when no such handshake is open; SessionRequired (1.2+) when FINISH came in the clear of an encrypted one */
function finishingSession({ state, session }: Exchange): LiveSession {
  const open = state.session;
  if (open?.kind !== 'exchange' || open.phase !== 'handshake') throw unexpectedRequest();
  if (!open.clearHandshake && !session && state.version >= 0x12) throw new Refusal(spdmError.sessionRequired);
  if (open.clearHandshake !== (session === undefined) || open.questions) throw unexpectedRequest();
  return open;
}

function finishResponse({ state, request }: Exchange, session: LiveSession, before: Uint8Array): Uint8Array {
  const { hash } = negotiated(state);
  const bare = encodeFinishRsp(state.version, new Uint8Array());
  if (!session.clearHandshake) return bare;
  const transcriptHash = hashOf(hash, concat(before, request, bare));
  return encodeFinishRsp(state.version, verifyData({ version: state.version, hash }, session.handshake.response, transcriptHash));
}

/** The highest version of secured messages that both know, and how many records there may be under one key.
 *  @param opaque of the request, in the general format since 1.2  @throws Refusal InvalidRequest */
export function selectSecured({ state }: Exchange, opaque: Uint8Array): { readonly version: number; readonly maxRecords: number } {
  const { opaqueFormat1: general } = negotiated(state);
  if (state.version >= 0x12 && !general) throw invalidRequest();
  const offered = decodeSupportedVersions(general, opaque);
  const version = securedMessageVersions.findLast(known => offered.includes(known));
  if (!version) throw invalidRequest();
  return { version, maxRecords: decodeRecordLimit(general, opaque, version) };
}
