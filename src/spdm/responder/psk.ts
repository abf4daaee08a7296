import { timingSafeEqual } from 'node:crypto';
import { concat } from '../../bytes.ts';
import { capability, requestCode, spdmError } from '../constants.ts';
import { dataSecrets, pskHandshakeSecrets, verifyData } from '../keySchedule.ts';
import { allEventsPolicy } from '../messages/keyExchange.ts';
import { decodePskExchange, decodePskFinish, encodePskExchangeRsp, encodePskFinishRsp, pskContextBytes } from '../messages/psk.ts';
import { encodeSelectedVersion } from '../opaque.ts';
import { createSession } from '../session.ts';
import { hashOf } from '../signature.ts';
import { subscribedToAll } from './events.ts';
import { measurementSummary } from './measurements.ts';
import { selectSecured } from './session.ts';
import {
  bothHave,
  type Exchange,
  endSession,
  handshakeFailed,
  type LiveSession,
  negotiated,
  Refusal,
  type Reply,
  unexpectedRequest,
} from './state.ts';

/** PSK_EXCHANGE_RSP and PSK_FINISH_RSP (DSP0274 §10.18, §10.19): a session from a key that both have already. Nothing is asked of certificates.
 *  A responder without a context of its own (PSK_CAP 1) has nothing to confirm: its session is open immediately. */

export async function handlePskExchange(exchange: Exchange): Promise<Reply> {
  const { settings, state, request } = exchange;
  const { aead, hash, opaqueFormat1: general } = negotiated(state);
  const supported = (state.requester!.flags & capability.psk) !== 0 && settings.psk && aead;
  if (!supported) throw new Refusal(spdmError.unsupportedRequest, requestCode.pskExchange);
  if (state.session?.phase === 'established') throw new Refusal(spdmError.sessionLimitExceeded);
  const asked = decodePskExchange(request);
  const { version: securedVersion, maxRecords } = selectSecured(exchange, asked.opaque);
  const events = state.version >= 0x13 && asked.policy & allEventsPolicy ? { events: subscribedToAll(exchange) } : {};
  const key = settings.psk!(asked.hint);
  if (!key) throw new Refusal(spdmError.invalidRequest);
  const confirms = (settings.capabilities.flags & capability.pskWithContext) !== 0;
  const ownId = settings.nextSessionId();
  const unproved = encodePskExchangeRsp(state.version, {
    heartbeatSeconds: bothHave(exchange, capability.heartbeat) ? settings.heartbeatSeconds : 0,
    sessionId: ownId,
    summary: await measurementSummary(exchange, asked.summaryType),
    context: confirms ? settings.randomBytes(pskContextBytes) : new Uint8Array(),
    opaque: encodeSelectedVersion(general, securedVersion),
  });
  const context = { version: state.version, hash };
  const transcript = concat(...state.transcript.vca, request, unproved);
  const th1 = hashOf(hash, transcript);
  const handshake = pskHandshakeSecrets(context, key, th1);
  const proof = verifyData(context, handshake.response, th1);
  const { binding, randomBytes } = settings;
  const sessionId = (asked.sessionId | (ownId << 16)) >>> 0;
  const keys = createSession({ ...context, aead, binding, role: 'responder', sessionId, randomBytes, maxRecords }, handshake);
  endSession(state);
  const session: LiveSession = {
    kind: 'psk',
    keys,
    handshake,
    clearHandshake: false,
    phase: 'handshake',
    updating: false,
    mutual: false,
    ...events,
    transcript: concat(transcript, proof),
    measurements: [],
  };
  state.session = session;
  if (!confirms) establish(exchange, session, session.transcript);
  return { message: concat(unproved, proof) };
}

export function handlePskFinish(exchange: Exchange): Reply {
  const { state, request } = exchange;
  const session = finishingSession(exchange);
  const { hash } = negotiated(state);
  const proof = decodePskFinish(request, hash.hashBytes);
  const beforeProof = concat(session.transcript, request.subarray(0, request.length - hash.hashBytes));
  const expected = verifyData({ version: state.version, hash }, session.handshake.request, hashOf(hash, beforeProof));
  if (!timingSafeEqual(expected, proof)) throw handshakeFailed(spdmError.decryptError);
  const message = encodePskFinishRsp(state.version);
  return { message, afterwards: () => establish(exchange, session, concat(session.transcript, request, message)) };
}

/** After KEY_EXCHANGE, PSK_FINISH would be a way round the proof in FINISH (CVE-2023-31127, T35): it ends that handshake.
 *  @throws Refusal UnexpectedRequest */
function finishingSession({ state, session }: Exchange): LiveSession {
  const open = state.session;
  if (open?.kind === 'psk' && open.phase === 'handshake' && session) return open;
  throw open?.phase === 'handshake' ? handshakeFailed(spdmError.unexpectedRequest) : unexpectedRequest();
}

function establish({ state }: Exchange, session: LiveSession, transcript: Uint8Array): void {
  const { hash } = negotiated(state);
  const secrets = dataSecrets({ version: state.version, hash }, session.handshake.handshake, hashOf(hash, transcript));
  session.keys.useKeys(secrets, secrets.exportMaster);
  session.phase = 'established';
}
