import { timingSafeEqual } from 'node:crypto';
import { concat } from '../../bytes.ts';
import { capability, nonceBytes, requestCode, spdmError } from '../constants.ts';
import { dataSecrets, handshakeSecrets, verifyData } from '../keyschedule.ts';
import { decodeFinish, encodeFinishRsp } from '../messages/finish.ts';
import { decodeKeyExchange, encodeKeyExchangeRsp, type KeyExchange } from '../messages/key-exchange.ts';
import { decodeKeyUpdate, encodeKeyUpdateAck, keyUpdateOperation } from '../messages/key-update.ts';
import { decodeHeadOnly, encodeEndSessionAck, encodeHeartbeatAck } from '../messages/session-control.ts';
import { decodeSupportedVersions, encodeSelectedVersion, securedMessageVersions } from '../opaque.ts';
import { createSession } from '../session.ts';
import { hashOf, signingInput } from '../signature.ts';
import { sessionTranscriptHead } from '../transcript.ts';
import { measurementSummary } from './measurements.ts';
import { chainHash, slotOf } from './slots.ts';
import {
  type Exchange,
  endSession,
  invalidRequest,
  type LiveSession,
  negotiated,
  Refusal,
  type Reply,
  unexpectedRequest,
} from './state.ts';

/** KEY_EXCHANGE_RSP, FINISH_RSP, HEARTBEAT_ACK, KEY_UPDATE_ACK, END_SESSION_ACK (DSP0274 §10.16–10.22). The requester is not authenticated here:
 *  MutAuthRequested is 0, and FINISH carries no signature. One session at a time. */

export async function handleKeyExchange(exchange: Exchange): Promise<Reply> {
  const { settings, state, request } = exchange;
  const algorithms = negotiated(state);
  const { dhe, aead, hash, opaqueFormat1: general } = algorithms;
  if (!dhe || !aead) throw new Refusal(spdmError.unsupportedRequest, requestCode.keyExchange);
  if (state.session?.phase === 'established') throw new Refusal(spdmError.sessionLimitExceeded);
  const asked = decodeKeyExchange(request, dhe);
  const cert = slotOf(exchange, asked.slot);
  const securedVersion = selectSecuredVersion(decodeSupportedVersions(general, asked.opaque));
  const random = settings.randomBytes(nonceBytes);
  const ephemeral = settings.ecdh(dhe);
  const shared = ephemeral.derive(asked.exchange);
  const sessionId = settings.nextSessionId();
  const unsigned = encodeKeyExchangeRsp(state.version, {
    heartbeatSeconds: bothHave(exchange, capability.heartbeat) ? settings.heartbeatSeconds : 0,
    sessionId,
    mutualAuthentication: 0,
    slot: 0,
    random,
    exchange: ephemeral.exchange,
    summary: await measurementSummary(exchange, asked.summaryType),
    opaque: encodeSelectedVersion(general, securedVersion),
  });
  const head = sessionTranscriptHead(state.transcript, algorithms.multiKey, chainHash(exchange, cert));
  const toSign = concat(head, request, unsigned);
  const signature = await cert.sign(signingInput(state.version, hash, 'responder-key_exchange_rsp signing', toSign));
  return openHandshake(exchange, asked, sessionId, shared, concat(toSign, signature), concat(unsigned, signature));
}

function openHandshake(
  { settings, state }: Exchange,
  asked: KeyExchange,
  sessionId: number,
  shared: Uint8Array,
  signed: Uint8Array,
  response: Uint8Array,
): Reply {
  const { hash, aead } = negotiated(state);
  const context = { version: state.version, hash };
  const th1 = hashOf(hash, signed);
  const handshake = handshakeSecrets(context, shared, th1);
  const clearHandshake = (state.requester!.flags & settings.capabilities.flags & capability.handshakeInTheClear) !== 0;
  const proof = clearHandshake ? new Uint8Array() : verifyData(context, handshake.response, th1);
  const { binding, randomBytes } = settings;
  const id = (asked.sessionId | (sessionId << 16)) >>> 0;
  const keys = createSession({ ...context, aead: aead!, binding, role: 'responder', sessionId: id, randomBytes }, handshake);
  endSession(state);
  state.session = {
    keys,
    handshake,
    clearHandshake,
    phase: 'handshake',
    updating: false,
    transcript: concat(signed, proof),
    measurements: [],
  };
  return { message: concat(response, proof) };
}

/** Runs in the clear when both sides have HANDSHAKE_IN_THE_CLEAR, else inside the session under the handshake keys. */
export function handleFinish(exchange: Exchange): Reply {
  const { state, request } = exchange;
  const session = finishingSession(exchange);
  const { hash, requesterSignature } = negotiated(state);
  const context = { version: state.version, hash };
  const { verifyData: proof, signature } = decodeFinish(request, hash.hashBytes, requesterSignature?.signatureBytes ?? 0);
  if (signature.length > 0) throw invalidRequest();
  const beforeProof = concat(session.transcript, request.subarray(0, request.length - hash.hashBytes));
  if (!timingSafeEqual(verifyData(context, session.handshake.request, hashOf(hash, beforeProof)), proof)) {
    endSession(state);
    throw new Refusal(spdmError.decryptError);
  }
  const message = finishResponse(exchange, session);
  const secrets = dataSecrets(context, session.handshake.handshake, hashOf(hash, concat(session.transcript, request, message)));
  return {
    message,
    afterwards: () => {
      session.keys.useKeys(secrets, secrets.exportMaster);
      session.phase = 'established';
    },
  };
}

/** @throws Refusal UnexpectedRequest when no handshake is open, or FINISH came on the wrong side of the session's border */
function finishingSession({ state, session }: Exchange): LiveSession {
  const open = state.session;
  if (open?.phase !== 'handshake' || open.clearHandshake !== (session === undefined)) throw unexpectedRequest();
  return open;
}

function finishResponse({ state, request }: Exchange, session: LiveSession): Uint8Array {
  const { hash } = negotiated(state);
  const bare = encodeFinishRsp(state.version, new Uint8Array());
  if (!session.clearHandshake) return bare;
  const transcriptHash = hashOf(hash, concat(session.transcript, request, bare));
  return encodeFinishRsp(state.version, verifyData({ version: state.version, hash }, session.handshake.response, transcriptHash));
}

export function handleHeartbeat({ state, request }: Exchange): Reply {
  decodeHeadOnly(request, requestCode.heartbeat, 'HEARTBEAT');
  return { message: encodeHeartbeatAck(state.version) };
}

/** New keys take effect at once, so the acknowledgement of UpdateAllKeys already uses the new response key. */
export function handleKeyUpdate({ state, request, session }: Exchange): Reply {
  const update = decodeKeyUpdate(request);
  const proof = update.operation === keyUpdateOperation.verifyNewKey;
  if (!session || session.updating !== proof) throw invalidRequest();
  if (!proof) session.keys.rotate(update.operation === keyUpdateOperation.updateKey ? 'request' : 'both');
  session.updating = !proof;
  return { message: encodeKeyUpdateAck(state.version, update) };
}

export function handleEndSession({ state, request }: Exchange): Reply {
  decodeHeadOnly(request, requestCode.endSession, 'END_SESSION');
  return { message: encodeEndSessionAck(state.version), afterwards: () => endSession(state) };
}

/** PSK is not offered. After KEY_EXCHANGE, PSK_FINISH would be a way round the proof in FINISH (CVE-2023-31127, T35): it ends the handshake. */
export function refusePskFinish({ state }: Exchange): never {
  if (state.session?.phase === 'handshake') endSession(state);
  throw unexpectedRequest();
}

/** The highest version of secured messages that both know. */
function selectSecuredVersion(offered: readonly number[]): number {
  const version = securedMessageVersions.findLast(known => offered.includes(known));
  if (!version) throw invalidRequest();
  return version;
}

function bothHave({ settings, state }: Exchange, flag: number): boolean {
  return (state.requester!.flags & settings.capabilities.flags & flag) !== 0;
}
