import { NusecError } from '../../errors.ts';
import type { Seconds } from '../../times.ts';
import { type CertSlots, slotsFor } from '../certSlot.ts';
import { malformed } from '../codec.ts';
import { capability, nonceBytes, responseCode, type Wire } from '../constants.ts';
import { ecdhFromRandom } from '../ecdh.ts';
import type { Evidence } from '../evidence.ts';
import { encodeGetDigests, keyUse } from '../messages/digests.ts';
import {
  decodeEncapsulatedAck,
  decodeEncapsulatedRequest,
  type Encapsulated,
  encodeDeliverResponse,
  encodeGetEncapsulatedRequest,
} from '../messages/encapsulated.ts';
import { mutualAuthentication, requesterSlotMask } from '../messages/keyExchange.ts';
import { securedMessageVersions } from '../opaque.ts';
import type { SpdmSession } from '../session.ts';
import { algorithmsOf, bothHave, type Connection, checkHead, unexpected } from './connection.ts';
import { openChunks, type SentChunks } from './delivery.ts';
import { answerEncapsulated } from './encapsulated.ts';
import { acceptFinish, type OpenFinish, openFinish } from './finish.ts';
import { continueIdentification, defaultIdentifyOptions, type Identification, startIdentification } from './identify.ts';
import { acceptKeyExchange, type Handshake, type OpenExchange, openExchange } from './keyExchange.ts';
import type { SessionSetupOptions } from './sessionOptions.ts';

/** Setting up a session as a requester: VERSION … CERTIFICATE, KEY_EXCHANGE, the responder's questions about us, FINISH. */

export type SessionSetupStep = { readonly send: Wire } | EstablishedSession;

export type EstablishedSession = {
  readonly session: SpdmSession;
  /** Proves that the holder of the certified key took part, with our `nonce`; its kind is 'session'. */
  readonly evidence: Evidence;
  /** The responder may end the session when nothing comes for twice as long; 0 = it does not look. */
  readonly heartbeatSeconds: Seconds;
  readonly connection: Connection;
  /** Whether the responder has verified who we are. */
  readonly mutual: boolean;
};

export type SessionSetup = {
  start(): SessionSetupStep;
  /** @throws SPDM_MALFORMED, SPDM_UNEXPECTED, SPDM_UNSUPPORTED, SPDM_BUSY, SPDM_SIGNATURE, SPDM_RECORD, and what `trust` throws; there is no session then */
  receive(wire: Wire): Promise<SessionSetupStep>;
  /** As far as it is known. */
  connection(): Connection;
};

type Needed = 'nonce' | 'trust' | 'randomBytes';

/** What has been sent and waits for its response. */
type Open =
  | { readonly step: 'identify' }
  | { readonly step: 'exchange'; readonly exchange: OpenExchange }
  | { readonly step: 'encapsulated'; readonly handshake: Handshake; readonly digests?: Uint8Array }
  | { readonly step: 'finish'; readonly handshake: Handshake; readonly finish: OpenFinish; readonly mutual: boolean }
  | { readonly step: 'chunks'; readonly chunks: SentChunks; readonly whole: InHandshake };
type InHandshake = Extract<Open, { readonly step: 'encapsulated' | 'finish' }>;

export function createSessionSetup(given: Pick<SessionSetupOptions, Needed> & Partial<SessionSetupOptions>): SessionSetup {
  const options = withDefaults(given);
  let identification = startIdentification(options);
  let open: Open = { step: 'identify' };
  const advance = async (wire: Wire): Promise<{ readonly step: SessionSetupStep; readonly open?: Open }> => {
    switch (open.step) {
      case 'identify':
        identification = continueIdentification(options, identification, clearMessage(wire));
        return identification.step === 'done' ? exchangeKeys(options, identification) : { step: clear(identification.request) };
      case 'exchange':
        return firstQuestion(options, await acceptKeyExchange(options, identification, open.exchange, clearMessage(wire)));
      case 'encapsulated':
      case 'finish':
        return answered(options, open, inHandshake(open.handshake, wire));
      case 'chunks': {
        const { handshake } = open.whole;
        const response = open.chunks.accept(inHandshake(handshake, wire));
        return response ? answered(options, open.whole, response) : { step: { send: outHandshake(handshake, open.chunks.next()) }, open };
      }
    }
  };
  return {
    start: () => clear(identification.request),
    receive: async wire => {
      const next = await advance(wire);
      open = next.open ?? open;
      return next.step;
    },
    connection: () => identification.connection,
  };
}

function withDefaults(given: Pick<SessionSetupOptions, Needed> & Partial<SessionSetupOptions>): SessionSetupOptions {
  if (given.nonce.length !== nonceBytes) throw malformed('nonce is not 32 bytes long');
  return {
    ...defaultIdentifyOptions,
    uses: [keyUse.keyExchange],
    binding: 'mctp',
    ecdh: ecdhFromRandom(given.randomBytes),
    sessionId: 0xffff,
    summaryType: 0,
    policy: 0,
    securedVersions: securedMessageVersions,
    ownSlots: [],
    ...given,
  };
}

type Next = { readonly step: SessionSetupStep; readonly open: Open };

async function answered(options: SessionSetupOptions, open: InHandshake, response: Uint8Array): Promise<Next> {
  if (open.step === 'encapsulated') return nextQuestion(options, open, response);
  acceptFinish(open.handshake, open.finish, response);
  return { step: established(open.handshake, open.mutual), open };
}

function exchangeKeys(options: SessionSetupOptions, identification: Identification): Next {
  const exchange = openExchange(options, identification);
  return { step: clear(exchange.request), open: { step: 'exchange', exchange } };
}

/** What the responder wants to know of us (MutAuthRequested) decides what comes before FINISH. @throws SPDM_UNSUPPORTED */
async function firstQuestion({ ownSlots }: SessionSetupOptions, handshake: Handshake): Promise<Next> {
  const slots = slotsFor(ownSlots, algorithmsOf(handshake.connection));
  const { connection, answer } = handshake;
  const wanted = answer.mutualAuthentication;
  if (wanted === mutualAuthentication.none) return sendFinish(handshake);
  if (slots.length === 0 || !bothHave(connection, capability.mutualAuthentication))
    throw new NusecError('SPDM_UNSUPPORTED', 'responder asks for mutual authentication');
  switch (wanted) {
    case mutualAuthentication.known:
      return sendFinish(handshake, { slots, slot: answer.slot & requesterSlotMask });
    case mutualAuthentication.encapsulated:
      return question(handshake, encodeGetEncapsulatedRequest(connection.version));
    case mutualAuthentication.digests:
      return deliver(slots, { handshake }, { requestId: 0, message: encodeGetDigests(connection.version) });
    default:
      throw unexpected('MutAuthRequested');
  }
}

type Asked = { readonly handshake: Handshake; readonly digests?: Uint8Array };

async function nextQuestion({ ownSlots }: SessionSetupOptions, asked: Asked, response: Uint8Array): Promise<Next> {
  const slots = slotsFor(ownSlots, algorithmsOf(asked.handshake.connection));
  const { connection } = asked.handshake;
  if (response[1] === responseCode.encapsulatedRequest) {
    checkHead(connection, response, responseCode.encapsulatedRequest);
    return deliver(slots, asked, decodeEncapsulatedRequest(response));
  }
  checkHead(connection, response, responseCode.encapsulatedResponseAck);
  const { next, slot } = decodeEncapsulatedAck(response);
  return next ? deliver(slots, asked, next) : sendFinish(asked.handshake, { slots, slot: slot ?? 0, ...digestsOf(asked) });
}

/** Answers one encapsulated request. Our DIGESTS are part of the transcript when they are the first answer (§17, ordering rules). */
async function deliver(slots: CertSlots, asked: Asked, { requestId, message }: Encapsulated): Promise<Next> {
  const { handshake } = asked;
  const { connection } = handshake;
  const answer = await answerEncapsulated({ connection, slots }, message);
  const digests = asked.digests ?? (answer[1] === responseCode.digests ? answer : new Uint8Array());
  return question(handshake, encodeDeliverResponse(connection.version, { requestId, message: answer }), { digests });
}

const digestsOf = ({ digests }: Asked): { readonly digests?: Uint8Array } => (digests ? { digests } : {});

function question(handshake: Handshake, message: Uint8Array, digests: { readonly digests?: Uint8Array } = {}): Next {
  return send(message, { step: 'encapsulated', handshake, ...digests });
}

async function sendFinish(handshake: Handshake, own?: Parameters<typeof openFinish>[1]): Promise<Next> {
  const finish = await openFinish(handshake, own);
  return send(finish.message, { step: 'finish', handshake, finish, mutual: own !== undefined });
}

/** In chunks when it is too long for one transfer. In the clear the delivery does that. */
function send(message: Uint8Array, open: InHandshake): Next {
  const { handshake } = open;
  const chunks = handshake.inTheClear ? undefined : openChunks(handshake.connection, message);
  if (!chunks) return { step: { send: outHandshake(handshake, message) }, open };
  return { step: { send: outHandshake(handshake, chunks.next()) }, open: { step: 'chunks', chunks, whole: open } };
}

function established({ keys, evidence, answer, connection }: Handshake, mutual: boolean): EstablishedSession {
  return { session: keys, evidence, heartbeatSeconds: answer.heartbeatSeconds, connection, mutual };
}

function outHandshake({ inTheClear, keys }: Handshake, message: Uint8Array): Wire {
  return inTheClear ? { kind: 'clear', message } : { kind: 'secured', message: keys.sealSpdm(message) };
}

/** In an encrypted handshake only an ERROR may come in the clear. */
function inHandshake({ inTheClear, keys }: Handshake, wire: Wire): Uint8Array {
  if (inTheClear) return clearMessage(wire);
  if (wire.kind === 'secured') return keys.openSpdm(wire.message);
  if (wire.message[1] !== responseCode.error) throw unexpected('the handshake is not encrypted');
  return wire.message;
}

function clearMessage(wire: Wire): Uint8Array {
  if (wire.kind !== 'clear') throw unexpected('a secured record without a session');
  return wire.message;
}

const clear = (message: Uint8Array): SessionSetupStep => ({ send: { kind: 'clear', message } });
