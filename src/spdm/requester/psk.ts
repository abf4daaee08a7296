import { concat } from '../../bytes.ts';
import { NusecError } from '../../errors.ts';
import type { Seconds } from '../../times.ts';
import { malformed } from '../codec.ts';
import { capability, responseCode, type Wire } from '../constants.ts';
import type { RandomSource } from '../ecdh.ts';
import { dataSecrets, type HandshakeSecrets, pskHandshakeSecrets, verifyData } from '../keySchedule.ts';
import { decodePskExchangeRsp, decodePskFinishRsp, encodePskExchange, encodePskFinishHead, pskContextBytes } from '../messages/psk.ts';
import { encodeSupportedVersions, securedMessageVersions } from '../opaque.ts';
import type { Binding } from '../record.ts';
import { createSession, type SessionEnd, type SpdmSession } from '../session.ts';
import { hashOf } from '../signature.ts';
import { algorithmsOf, type Connection, checkHead, requirePeer, unexpected } from './connection.ts';
import { openChunks, type SentChunks } from './delivery.ts';
import { continueIdentification, defaultIdentifyOptions, type IdentifyOptions, startIdentification } from './identify.ts';
import { agreedRecords, checkProof } from './keyExchange.ts';

/** Setting up a session from a key that both sides have already: VERSION … ALGORITHMS, PSK_EXCHANGE, PSK_FINISH (DSP0274 §10.18, §10.19).
 *  Both sides have proved that they know the key; there is no evidence for anybody else. */

export type PskSetupOptions = IdentifyOptions & {
  readonly psk: Uint8Array;
  /** Names the key for the responder. */
  readonly hint: Uint8Array;
  readonly randomBytes: RandomSource;
  readonly binding: Binding;
  readonly sessionId: number;
  readonly summaryType: number;
  readonly policy: number;
  /** Of secured messages, offered to the responder. */
  readonly securedVersions: readonly number[];
};

export type EstablishedPskSession = {
  readonly session: SpdmSession;
  readonly heartbeatSeconds: Seconds;
  readonly connection: Connection;
};
export type PskSetupStep = { readonly send: Wire } | EstablishedPskSession;
export type PskSetup = {
  start(): PskSetupStep;
  /** @throws SPDM_MALFORMED, SPDM_UNEXPECTED, SPDM_UNSUPPORTED, SPDM_SIGNATURE (another key), SPDM_RECORD */
  receive(wire: Wire): PskSetupStep;
  connection(): Connection;
};

type Open =
  | { readonly step: 'identify' }
  | { readonly step: 'exchange'; readonly request: Uint8Array }
  | { readonly step: 'finish'; readonly handshake: PskHandshake; readonly request: Uint8Array; readonly chunks: SentChunks | undefined };
type PskHandshake = {
  readonly keys: SessionEnd;
  readonly secrets: HandshakeSecrets;
  readonly heartbeatSeconds: Seconds;
  /** TH up to and with PSK_EXCHANGE_RSP. */
  readonly transcript: Uint8Array;
};

export function createPskSetup(given: Pick<PskSetupOptions, 'psk' | 'hint' | 'randomBytes'> & Partial<PskSetupOptions>): PskSetup {
  const flags = defaultIdentifyOptions.capabilities.flags | capability.pskSupported;
  const capabilities = { ...defaultIdentifyOptions.capabilities, flags };
  const defaults = { ...defaultIdentifyOptions, capabilities, binding: 'mctp', sessionId: 0xffff, summaryType: 0, policy: 0 } as const;
  const options: PskSetupOptions = { ...defaults, securedVersions: securedMessageVersions, ...given, vcaOnly: true };
  let identification = startIdentification(options);
  let open: Open = { step: 'identify' };
  const receive = (wire: Wire): PskSetupStep => {
    const { connection } = identification;
    switch (open.step) {
      case 'identify': {
        identification = continueIdentification(options, identification, clearMessage(wire));
        if (identification.step !== 'done') return clear(identification.request);
        open = { step: 'exchange', request: exchangeRequest(options, identification.connection) };
        return clear(open.request);
      }
      case 'exchange': {
        const [handshake, confirms] = acceptExchange(options, connection, open.request, clearMessage(wire));
        if (!confirms) return established(connection, handshake, handshake.transcript);
        const request = finishRequest(connection, handshake);
        const chunks = openChunks(connection, request);
        open = { step: 'finish', handshake, request, chunks };
        return secured(handshake, chunks?.next() ?? request);
      }
      case 'finish': {
        const { handshake, request, chunks } = open;
        const answer = wire.kind === 'secured' ? handshake.keys.openSpdm(wire.message) : clearMessage(wire);
        const response = chunks ? chunks.accept(answer) : answer;
        if (!response) return secured(handshake, chunks!.next());
        checkHead(connection, response, responseCode.pskFinishRsp);
        if (wire.kind === 'clear') throw unexpected('PSK_FINISH_RSP is not encrypted');
        decodePskFinishRsp(response);
        return established(connection, handshake, concat(handshake.transcript, request, response));
      }
    }
  };
  return { start: () => clear(identification.request), receive, connection: () => identification.connection };
}

/** @throws SPDM_UNSUPPORTED when the responder has no PSK */
function exchangeRequest(options: PskSetupOptions, connection: Connection): Uint8Array {
  const { hint, summaryType, policy, sessionId, randomBytes, securedVersions } = options;
  requirePeer(connection, capability.encrypt | capability.mac, 'encrypted sessions');
  if (((connection.peer?.flags ?? 0) & capability.psk) === 0) throw new NusecError('SPDM_UNSUPPORTED', 'responder has no PSK');
  const opaque = encodeSupportedVersions(algorithmsOf(connection).opaqueFormat1, securedVersions);
  const context = randomBytes(pskContextBytes);
  return encodePskExchange(connection.version, { summaryType, policy, sessionId, hint, context, opaque });
}

function acceptExchange(
  options: PskSetupOptions,
  connection: Connection,
  request: Uint8Array,
  response: Uint8Array,
): [PskHandshake, confirms: boolean] {
  const { version, transcript: before } = connection;
  const algorithms = algorithmsOf(connection);
  const { hash, aead } = algorithms;
  if (!aead) throw new NusecError('SPDM_UNSUPPORTED', 'no algorithms for a session');
  checkHead(connection, response, responseCode.pskExchangeRsp);
  const answer = decodePskExchangeRsp(response, hash.hashBytes, options.summaryType);
  const confirms = ((connection.peer?.flags ?? 0) & capability.pskWithContext) !== 0;
  if (confirms !== answer.context.length > 0) throw malformed('PSK_EXCHANGE_RSP: context');
  const maxRecords = agreedRecords(options, algorithms, answer.opaque);
  const context = { version, hash };
  const transcript = concat(...before.vca, request, response);
  const th1 = hashOf(hash, transcript.subarray(0, transcript.length - hash.hashBytes));
  const secrets = pskHandshakeSecrets(context, options.psk, th1);
  checkProof(verifyData(context, secrets.response, th1), answer.verifyData, 'PSK_EXCHANGE_RSP');
  const { binding, randomBytes } = options;
  const sessionId = (options.sessionId | (answer.sessionId << 16)) >>> 0;
  const keys = createSession({ ...context, aead, binding, role: 'requester', sessionId, randomBytes, maxRecords }, secrets);
  return [{ keys, secrets, heartbeatSeconds: answer.heartbeatSeconds, transcript }, confirms];
}

function finishRequest({ version, algorithms }: Connection, { secrets, transcript }: PskHandshake): Uint8Array {
  const { hash } = algorithms!;
  const head = encodePskFinishHead(version);
  return concat(head, verifyData({ version, hash }, secrets.request, hashOf(hash, concat(transcript, head))));
}

function established(
  connection: Connection,
  { keys, secrets, heartbeatSeconds }: PskHandshake,
  transcript: Uint8Array,
): EstablishedPskSession {
  const { hash } = algorithmsOf(connection);
  const data = dataSecrets({ version: connection.version, hash }, secrets.handshake, hashOf(hash, transcript));
  keys.useKeys(data, data.exportMaster);
  return { session: keys, heartbeatSeconds, connection };
}

function clearMessage(wire: Wire): Uint8Array {
  if (wire.kind !== 'clear') throw unexpected('a secured record without a session');
  return wire.message;
}

const clear = (message: Uint8Array): { readonly send: Wire } => ({ send: { kind: 'clear', message } });
const secured = ({ keys }: PskHandshake, message: Uint8Array): { readonly send: Wire } => ({
  send: { kind: 'secured', message: keys.sealSpdm(message) },
});
