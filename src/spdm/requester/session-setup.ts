import { timingSafeEqual } from 'node:crypto';
import { concat } from '../../bytes.ts';
import { NusecError } from '../../errors.ts';
import { malformed } from '../codec.ts';
import { capability, nonceBytes, responseCode, type Wire } from '../constants.ts';
import { type EcdhProvider, type EphemeralKey, ecdhFromRandom, type RandomSource } from '../ecdh.ts';
import { type Evidence, type VerifyOptions, verifyEvidence } from '../evidence.ts';
import { dataSecrets, type HandshakeSecrets, handshakeSecrets, verifyData } from '../keyschedule.ts';
import { decodeFinishRsp, encodeFinish } from '../messages/finish.ts';
import { decodeKeyExchangeRsp, encodeKeyExchange } from '../messages/key-exchange.ts';
import { decodeSelectedVersion, encodeSupportedVersions, securedMessageVersions } from '../opaque.ts';
import type { Binding } from '../record.ts';
import { createSession, type SessionEnd, type SpdmSession } from '../session.ts';
import { hashOf } from '../signature.ts';
import type { Aead, Algorithms, DheGroup } from '../suite.ts';
import { sessionTranscriptHead } from '../transcript.ts';
import { algorithmsOf, type Connection, checkHead, requirePeer, unexpected } from './connection.ts';
import {
  continueIdentification,
  defaultIdentifyOptions,
  type Identification,
  type IdentifyOptions,
  startIdentification,
} from './identify.ts';

/** Setting up a session as a requester: VERSION … CERTIFICATE, KEY_EXCHANGE, FINISH. The responder is authenticated before anything of ours goes out:
 *  chain (`trust`), signature of KEY_EXCHANGE_RSP, verify data. Not mutual: a responder that asks for it is refused. */

export type SessionSetupOptions = IdentifyOptions & {
  /** RandomData of KEY_EXCHANGE, 32 bytes. A nonce chosen by the server makes the resulting evidence fresh for the server. */
  readonly nonce: Uint8Array;
  readonly trust: VerifyOptions['trust'];
  readonly uidHex?: string;
  readonly randomBytes: RandomSource;
  readonly binding: Binding;
  readonly ecdh: EcdhProvider;
  /** ReqSessionID, 16 bits. */
  readonly sessionId: number;
  /** Measurement summary in KEY_EXCHANGE_RSP: 0 none, 1 trusted computing base, 0xFF all. */
  readonly summaryType: number;
  readonly policy: number;
};

export type SessionSetupStep = { readonly send: Wire } | EstablishedSession;

export type EstablishedSession = {
  readonly session: SpdmSession;
  /** Proves that the holder of the certified key took part, with our `nonce`; its kind is 'session'. */
  readonly evidence: Evidence;
  /** The responder may end the session when nothing comes for twice as long; 0 = it does not look. */
  readonly heartbeatSeconds: number;
};

export type SessionSetup = {
  start(): SessionSetupStep;
  /** @throws SPDM_MALFORMED, SPDM_UNEXPECTED, SPDM_UNSUPPORTED, SPDM_SIGNATURE, SPDM_RECORD, and what `trust` throws; there is no session then */
  receive(wire: Wire): Promise<SessionSetupStep>;
};

type Needed = 'nonce' | 'trust' | 'randomBytes';

export function createSessionSetup(given: Pick<SessionSetupOptions, Needed> & Partial<SessionSetupOptions>): SessionSetup {
  const options: SessionSetupOptions = {
    ...defaultIdentifyOptions,
    binding: 'mctp',
    ecdh: ecdhFromRandom(given.randomBytes),
    sessionId: 0xffff,
    summaryType: 0,
    policy: 0,
    ...given,
  };
  if (options.nonce.length !== nonceBytes) throw malformed('nonce is not 32 bytes long');
  let identification = startIdentification(options);
  let exchange: OpenExchange | undefined;
  let handshake: OpenHandshake | undefined;
  return {
    start: () => clear(identification.request),
    receive: async wire => {
      if (handshake) return finish(handshake, wire);
      const response = clearMessage(wire);
      if (exchange) {
        handshake = await acceptKeyExchange(options, identification, exchange, response);
        return { send: handshake.send };
      }
      identification = continueIdentification(options, identification, response);
      if (identification.step !== 'done') return clear(identification.request);
      exchange = openExchange(options, identification.connection);
      return clear(exchange.request);
    },
  };
}

/** KEY_EXCHANGE sent. */
type OpenExchange = { readonly request: Uint8Array; readonly ephemeral: EphemeralKey };
/** FINISH sent. */
type OpenHandshake = {
  readonly send: Wire;
  readonly connection: Connection;
  readonly evidence: Evidence;
  readonly heartbeatSeconds: number;
  readonly keys: SessionEnd;
  readonly secrets: HandshakeSecrets;
  /** TH up to and with FINISH. */
  readonly transcript: Uint8Array;
};

function openExchange(options: SessionSetupOptions, connection: Connection): OpenExchange {
  requirePeer(connection, capability.keyExchange | capability.encrypt | capability.mac, 'encrypted sessions');
  const { dhe, opaqueFormat1 } = sessionAlgorithms(connection);
  const { summaryType, slot, sessionId, policy, nonce } = options;
  const ephemeral = options.ecdh(dhe);
  const opaque = encodeSupportedVersions(opaqueFormat1, securedMessageVersions);
  const body = { summaryType, slot, sessionId, policy, random: nonce, exchange: ephemeral.exchange, opaque };
  return { request: encodeKeyExchange(connection.version, body), ephemeral };
}

async function acceptKeyExchange(
  options: SessionSetupOptions,
  identification: Identification,
  { request, ephemeral }: OpenExchange,
  response: Uint8Array,
): Promise<OpenHandshake> {
  const { connection, chain } = identification;
  const algorithms = sessionAlgorithms(connection);
  checkHead(connection, response, responseCode.keyExchangeRsp);
  const proofBytes = clearHandshake(connection) ? 0 : algorithms.hash.hashBytes;
  const answer = decodeKeyExchangeRsp(response, algorithms, algorithms.dhe, options.summaryType, proofBytes);
  if (answer.mutualAuthentication !== 0) throw new NusecError('SPDM_UNSUPPORTED', 'responder asks for mutual authentication');
  const securedVersion = decodeSelectedVersion(algorithms.opaqueFormat1, answer.opaque);
  if (!securedMessageVersions.some(known => known === securedVersion)) throw unexpected('secured message version');
  const evidence = sessionEvidence(connection, chain, request, response);
  const { chainDigest } = await verifyEvidence(evidence, { ...options, versions: options.versions });

  const head = sessionTranscriptHead(connection.transcript, algorithms.multiKey, chainDigest);
  const signed = concat(head, request, response.subarray(0, response.length - proofBytes));
  const context = { version: connection.version, hash: algorithms.hash };
  const th1 = hashOf(algorithms.hash, signed);
  const secrets = handshakeSecrets(context, ephemeral.derive(answer.exchange), th1);
  if (proofBytes > 0) checkProof(verifyData(context, secrets.response, th1), answer.verifyData, 'KEY_EXCHANGE_RSP');
  const { binding, randomBytes } = options;
  const sessionId = (options.sessionId | (answer.sessionId << 16)) >>> 0;
  const keys = createSession({ ...context, aead: algorithms.aead, binding, role: 'requester', sessionId, randomBytes }, secrets);

  const transcript = concat(head, request, response);
  const bare = encodeFinish(connection.version, 0, new Uint8Array());
  const finishMessage = concat(bare, verifyData(context, secrets.request, hashOf(algorithms.hash, concat(transcript, bare))));
  const send: Wire =
    proofBytes > 0 ? { kind: 'secured', message: keys.sealSpdm(finishMessage) } : { kind: 'clear', message: finishMessage };
  return {
    send,
    connection,
    evidence,
    heartbeatSeconds: answer.heartbeatSeconds,
    keys,
    secrets,
    transcript: concat(transcript, finishMessage),
  };
}

function finish({ connection, evidence, heartbeatSeconds, keys, secrets, transcript }: OpenHandshake, wire: Wire): SessionSetupStep {
  const { hash } = algorithmsOf(connection);
  const context = { version: connection.version, hash };
  const inTheClear = clearHandshake(connection);
  const response = inTheClear || wire.kind === 'clear' ? clearMessage(wire) : keys.openSpdm(wire.message);
  checkHead(connection, response, responseCode.finishRsp);
  if (!inTheClear && wire.kind === 'clear') throw unexpected('FINISH_RSP is not encrypted');
  const proof = decodeFinishRsp(response, inTheClear ? hash.hashBytes : 0);
  const bare = response.subarray(0, response.length - proof.length);
  if (inTheClear) checkProof(verifyData(context, secrets.response, hashOf(hash, concat(transcript, bare))), proof, 'FINISH_RSP');
  const data = dataSecrets(context, secrets.handshake, hashOf(hash, concat(transcript, response)));
  keys.useKeys(data, data.exportMaster);
  return { session: keys, evidence, heartbeatSeconds };
}

function sessionEvidence(connection: Connection, chain: Uint8Array, request: Uint8Array, response: Uint8Array): Evidence {
  const { vca, identity } = connection.transcript;
  const digestsPair = identity.slice(0, 2);
  return { kind: 'session', vca, identity: digestsPair, exchange: [request, response], measurements: [], chain };
}

/** @throws SPDM_UNSUPPORTED */
function sessionAlgorithms(connection: Connection): Algorithms & { readonly dhe: DheGroup; readonly aead: Aead } {
  const { dhe, aead, ...rest } = algorithmsOf(connection);
  if (!dhe || !aead) throw new NusecError('SPDM_UNSUPPORTED', 'no algorithms for a session');
  return { ...rest, dhe, aead };
}

function clearHandshake({ own, peer }: Connection): boolean {
  return (own.flags & (peer?.flags ?? 0) & capability.handshakeInTheClear) !== 0;
}

function checkProof(expected: Uint8Array, given: Uint8Array, what: string): void {
  if (!timingSafeEqual(expected, given)) throw new NusecError('SPDM_SIGNATURE', `${what}: verify data`);
}

function clearMessage(wire: Wire): Uint8Array {
  if (wire.kind !== 'clear') throw unexpected('a secured record without a session');
  return wire.message;
}

const clear = (message: Uint8Array): SessionSetupStep => ({ send: { kind: 'clear', message } });
