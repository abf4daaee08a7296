import { NusecError } from '../../errors.ts';
import { capability, discoveryVersion, maxMessageBytes, requestCode, type SpdmErrorCode, spdmError, type Wire } from '../constants.ts';
import { ecdhFromRandom } from '../ecdh.ts';
import type { ExporterSecret } from '../keySchedule.ts';
import { encodeError } from '../messages/error.ts';
import type { DmtfEvent } from '../messages/events.ts';
import { p256Algorithms } from '../negotiation.ts';
import { recordSessionId } from '../record.ts';
import { beforeRequest, emptyTranscript, measurementsBefore } from '../transcript.ts';
import { admit } from './admission.ts';
import { fitted, handleChunkSend } from './chunks.ts';
import { defer, resume, resumes } from './deferred.ts';
import { noteEvent } from './events.ts';
import { dropMeasurements } from './measurements.ts';
import type { Rule } from './rules.ts';
import {
  type Exchange,
  endSession,
  type Handler,
  type LiveSession,
  Refusal,
  type Reply,
  type ResponderSettings,
  type ResponderState,
} from './state.ts';

/** The responder: one request in, one response out. It never throws on what a peer sends; every refusal is an ERROR response. */

export type Responder = {
  /** Answers a message. One at a time: a request that comes while another is worked on is answered with ERROR Busy and changes nothing.
   *  @returns undefined only when `onApplicationData` has nothing to send back */
  handle(wire: Wire): Promise<Wire | undefined>;
  /** Secrets of the established session. @throws SPDM_UNEXPECTED without one */
  exporterSecret(): ExporterSecret;
  /** Id of the established session, if there is one. */
  sessionId(): number | undefined;
  /** The requester's certificates (DER, root first, leaf last), when the established session was opened with mutual authentication, or it has proved
   *  itself after CHALLENGE_AUTH (1.1). */
  peerCertificates(): readonly Uint8Array[] | undefined;
  /** New keys for what we send, at the requester's next GET_ENCAPSULATED_REQUEST. @throws SPDM_UNEXPECTED without a session */
  updateSendingKey(): void;
  /** Something has happened (DSP0274, events of DMTF): the requester of the established session learns it at its next GET_ENCAPSULATED_REQUEST.
   *  @returns false when there is no session, it does not want to know, or too much has happened since it asked */
  notify(event: DmtfEvent): boolean;
};

/** What must be given; everything else has the defaults below. */
export type ResponderOptions = Pick<ResponderSettings, 'slots' | 'randomBytes' | 'measurements'> & Partial<ResponderSettings>;

/** Capabilities of our devices: certificates, challenge, signed measurements, encrypted sessions with heartbeat and new keys. */
export const deviceFlags =
  capability.certificate |
  capability.challenge |
  capability.measurementsSigned |
  capability.measurementsFresh |
  capability.encrypt |
  capability.mac |
  capability.keyExchange |
  capability.heartbeat |
  capability.keyUpdate;

const defaultTransferBytes = 4096;
/** 2^16 µs, about 65 ms. */
const defaultRdtExponent = 16;

export function createResponder(options: ResponderOptions): Responder {
  const settings = withDefaults(options);
  const state: ResponderState = { phase: 'start', version: discoveryVersion, transcript: emptyTranscript, nextHandle: 0 };
  let busy = false;
  return {
    handle: async wire => {
      if (busy) return { kind: 'clear', message: encodeError(state.version, spdmError.busy) };
      busy = true;
      try {
        if (wire.kind === 'secured') return await answerSecured(settings, state, wire.message);
        const answered = answer({ settings, state, request: wire.message });
        const { message, afterwards } = answered instanceof Promise ? await answered : answered;
        afterwards?.();
        return { kind: 'clear', message };
      } finally {
        busy = false;
      }
    },
    exporterSecret: () => established(state).keys.exporterSecret(),
    peerCertificates: () => (state.session?.phase === 'established' ? state.session.peer : state.provedPeer)?.certificates,
    updateSendingKey: () => {
      const session = established(state);
      session.newKeyTag = settings.randomBytes(1)[0]!;
    },
    notify: event => state.session?.phase === 'established' && noteEvent(state.session, event),
    sessionId: () => (state.session?.phase === 'established' ? state.session.keys.sessionId : undefined),
  };
}

function withDefaults(options: ResponderOptions): ResponderSettings {
  let sessionNumber = 0x10000;
  return {
    versions: [0x12],
    capabilities: { flags: deviceFlags, ctExponent: 0, dataTransferBytes: defaultTransferBytes, maxMessageBytes: defaultTransferBytes },
    algorithms: p256Algorithms,
    binding: 'mctp',
    heartbeatSeconds: 0,
    rdtExponent: defaultRdtExponent,
    ecdh: ecdhFromRandom(options.randomBytes),
    nextSessionId: () => {
      sessionNumber = sessionNumber > 1 ? sessionNumber - 1 : 0xffff;
      return sessionNumber;
    },
    ...options,
    ...(options.capabilities && { capabilities: { ...options.capabilities, flags: answered(options) } }),
  };
}

/** No capability whose requests cannot be answered. */
function answered({ capabilities, keyPairs, onSetKeyPairInfo, endpointInfo, measurementLog, eventTypes }: ResponderOptions): number {
  const flags = capabilities?.flags ?? 0;
  const unanswered =
    (keyPairs ? 0 : capability.keyPairInfo) |
    (keyPairs && onSetKeyPairInfo ? 0 : capability.setKeyPairInfo) |
    (endpointInfo ? 0 : capability.endpointInfo) |
    (measurementLog ? 0 : capability.measurementExtensionLog) |
    (eventTypes && flags & capability.encapsulated ? 0 : capability.event);
  return (flags & ~unanswered) >>> 0;
}

function established(state: ResponderState): LiveSession {
  if (state.session?.phase !== 'established') throw new NusecError('SPDM_UNEXPECTED', 'no session is established');
  return state.session;
}

/** A record that is not exactly the next one ends the session; the answer to that is in the clear (DSP0277 §7). */
async function answerSecured(settings: ResponderSettings, state: ResponderState, record: Uint8Array): Promise<Wire | undefined> {
  const session = state.session;
  if (!session || record.length < 4 || recordSessionId(record) !== session.keys.sessionId)
    return clearError(state, spdmError.invalidSession);
  try {
    const inner = session.keys.openAny(record);
    if (inner.kind === 'application') return await answerApplication(settings, state, session, inner.data);
    const reply = await answer({ settings, state, request: inner.data, session });
    if (session.keys.ended()) return { kind: 'clear', message: reply.message };
    const message = session.keys.sealSpdm(reply.message);
    reply.afterwards?.();
    return { kind: 'secured', message };
  } catch (error) {
    endSession(state);
    if (!(error instanceof NusecError)) settings.onFault?.(error);
    return clearError(state, spdmError.decryptError);
  }
}

async function answerApplication(
  settings: ResponderSettings,
  state: ResponderState,
  session: LiveSession,
  data: Uint8Array,
): Promise<Wire | undefined> {
  const { onApplicationData } = settings;
  const refused = (code: SpdmErrorCode): Wire => ({ kind: 'secured', message: session.keys.sealSpdm(encodeError(state.version, code)) });
  if (!onApplicationData || session.phase !== 'established' || session.updating) return refused(spdmError.unexpectedRequest);
  try {
    const response = await onApplicationData(session.keys.sessionId, data);
    return response && { kind: 'secured', message: session.keys.seal(response) };
  } catch (error) {
    settings.onFault?.(error);
    return refused(spdmError.unspecified);
  }
}

function clearError(state: ResponderState, code: SpdmErrorCode): Wire {
  return { kind: 'clear', message: encodeError(state.version, code) };
}

/** Whatever a handler throws becomes ERROR. A response that is too long goes out in chunks where both sides have them. */
function answer(exchange: Exchange): Reply | Promise<Reply> {
  try {
    const reply = resumes(exchange) ? resumedOrWorked(exchange) : admitted(exchange);
    return reply instanceof Promise ? settled(exchange, reply) : fitted(exchange, reply, transferLimit(exchange.state));
  } catch (error) {
    return refused(exchange, error);
  }
}

async function settled(exchange: Exchange, pending: Promise<Reply>): Promise<Reply> {
  try {
    return fitted(exchange, await pending, transferLimit(exchange.state));
  } catch (error) {
    return refused(exchange, error);
  }
}

async function resumedOrWorked(exchange: Exchange): Promise<Reply> {
  return (await resume(exchange)) ?? admitted(exchange);
}

function admitted(exchange: Exchange): Reply | Promise<Reply> {
  return work(exchange, admit(exchange));
}

/** Most handlers finish immediately, so nothing waits for them. */
function work(exchange: Exchange, { handler }: Rule): Reply | Promise<Reply> {
  const { settings, state, request } = exchange;
  if (handler === 'chunks') return handleChunkSend(exchange, answerAssembled, transferLimit(state));
  if (settings.defers?.(request[1]!)) return defer(exchange, () => runDeferred(exchange, handler));
  return run(exchange, handler);
}

async function runDeferred(exchange: Exchange, handler: Handler): Promise<Reply> {
  try {
    return await run(exchange, handler);
  } catch (error) {
    return refused(exchange, error);
  }
}

/** A request put together from chunks is admitted like any other, but for its length. */
async function answerAssembled(whole: Exchange): Promise<Reply> {
  try {
    const { handler } = admit(whole);
    if (handler === 'chunks' || whole.request[1] === requestCode.chunkGet) throw new Refusal(spdmError.invalidRequest);
    return await run(whole, handler);
  } catch (error) {
    return refused(whole, error);
  }
}

function run(exchange: Exchange, handler: Handler): Reply | Promise<Reply> {
  const { state, request, session } = exchange;
  if (session) session.measurements = measurementsBefore(session.measurements, request[1]!);
  else state.transcript = beforeRequest(state.transcript, request[1]!);
  return handler(exchange);
}

function refused(exchange: Exchange, error: unknown): Reply {
  if (exchange.request[1] === requestCode.getMeasurements) dropMeasurements(exchange);
  const message = refusal(exchange, error);
  const ends = error instanceof Refusal && error.endsSession;
  return ends ? { message, afterwards: () => endSession(exchange.state) } : { message };
}

/** Without CHUNK_GET a response must fit into the requester's DataTransferSize (since 1.2). */
function transferLimit({ version, requester }: ResponderState): number {
  return version >= 0x12 && requester ? requester.dataTransferBytes : maxMessageBytes;
}

/** What decoding a request, and negotiating, may refuse. */
const refusals: readonly string[] = ['SPDM_MALFORMED', 'SPDM_UNSUPPORTED'];

/** What is wrong with GET_VERSION is said in 1.0, whatever was negotiated. */
function refusal({ settings, state, request, session }: Exchange, error: unknown): Uint8Array {
  const version = request[1] === requestCode.getVersion && !session ? discoveryVersion : state.version;
  if (error instanceof Refusal) return encodeError(version, error.errorCode, error.data, error.extended);
  if (error instanceof NusecError && refusals.includes(error.code)) return encodeError(version, spdmError.invalidRequest);
  settings.onFault?.(error);
  return encodeError(version, spdmError.unspecified);
}
