import { timingSafeEqual } from 'node:crypto';
import { concat } from '../../bytes.ts';
import { NusecError } from '../../errors.ts';
import { openAgreement } from '../agreement.ts';
import { capability, responseCode } from '../constants.ts';
import type { EphemeralKey } from '../ecdh.ts';
import { type Evidence, verifyEvidence } from '../evidence.ts';
import { type HandshakeSecrets, handshakeSecrets, verifyData } from '../keySchedule.ts';
import { decodeKeyExchangeRsp, encodeKeyExchange, type KeyExchangeRsp } from '../messages/keyExchange.ts';
import { decodeRecordLimit, decodeSelectedVersion, encodeSupportedVersions } from '../opaque.ts';
import { createSession, type SessionEnd } from '../session.ts';
import { hashOf } from '../signature.ts';
import type { Aead, Algorithms, KeyAgreement } from '../suite.ts';
import { sessionTranscriptHead } from '../transcript.ts';
import { algorithmsOf, bothHave, type Connection, checkHead, requirePeer, unexpected } from './connection.ts';
import type { Identification } from './identify.ts';
import type { SessionSetupOptions } from './sessionOptions.ts';

/** KEY_EXCHANGE as a requester (DSP0274 §10.16). The responder is authenticated here, before anything of ours goes out: chain (`trust`),
 *  signature of KEY_EXCHANGE_RSP, verify data. */

/** KEY_EXCHANGE sent. */
export type OpenExchange = { readonly request: Uint8Array; readonly ephemeral: EphemeralKey };

/** KEY_EXCHANGE_RSP accepted: the session has its handshake keys. */
export type Handshake = {
  readonly connection: Connection;
  readonly evidence: Evidence;
  readonly answer: KeyExchangeRsp;
  readonly keys: SessionEnd;
  readonly secrets: HandshakeSecrets;
  /** Whether the rest of the handshake runs in the clear. */
  readonly inTheClear: boolean;
  /** TH up to and with KEY_EXCHANGE_RSP. */
  readonly transcript: Uint8Array;
};

/** @throws SPDM_UNSUPPORTED */
export function openExchange(options: SessionSetupOptions, { connection, slot }: Identification): OpenExchange {
  requirePeer(connection, capability.keyExchange | capability.encrypt | capability.mac, 'encrypted sessions');
  const { dhe, opaqueFormat1 } = sessionAlgorithms(connection);
  const { summaryType, sessionId, nonce } = options;
  const ephemeral = openAgreement(options, dhe);
  const policy = connection.version >= 0x12 ? options.policy : 0;
  const opaque = encodeSupportedVersions(opaqueFormat1, options.securedVersions);
  const body = { summaryType, slot, sessionId, policy, random: nonce, exchange: ephemeral.exchange, opaque };
  return { request: encodeKeyExchange(connection.version, body), ephemeral };
}

/** @throws SPDM_MALFORMED, SPDM_UNEXPECTED, SPDM_SIGNATURE, and what `trust` throws */
export async function acceptKeyExchange(
  options: SessionSetupOptions,
  { connection, chain }: Identification,
  { request, ephemeral }: OpenExchange,
  response: Uint8Array,
): Promise<Handshake> {
  const algorithms = sessionAlgorithms(connection);
  checkHead(connection, response, responseCode.keyExchangeRsp);
  const inTheClear = bothHave(connection, capability.handshakeInTheClear);
  const proofBytes = inTheClear ? 0 : algorithms.hash.hashBytes;
  const answer = decodeKeyExchangeRsp(response, algorithms, algorithms.dhe, options.summaryType, proofBytes);
  const maxRecords = agreedRecords(options, algorithms, answer.opaque);
  const evidence = sessionEvidence(connection, chain, request, response);
  const { chainDigest } = await verifyEvidence(evidence, { ...options, versions: options.versions });

  const head = sessionTranscriptHead(connection.transcript, algorithms.multiKey, chainDigest);
  const context = { version: connection.version, hash: algorithms.hash };
  const transcript = concat(head, request, response);
  const th1 = hashOf(algorithms.hash, transcript.subarray(0, transcript.length - proofBytes));
  const secrets = handshakeSecrets(context, ephemeral.derive(answer.exchange), th1);
  if (!inTheClear) checkProof(verifyData(context, secrets.response, th1), answer.verifyData, 'KEY_EXCHANGE_RSP');
  const keys = createSession(
    {
      ...context,
      aead: algorithms.aead,
      binding: options.binding,
      role: 'requester',
      sessionId: (options.sessionId | (answer.sessionId << 16)) >>> 0,
      randomBytes: options.randomBytes,
      maxRecords,
    },
    secrets,
  );
  return { connection, evidence, answer, keys, secrets, inTheClear, transcript };
}

/** @returns how many records there may be under one key
 *  @throws SPDM_UNEXPECTED when the responder chose a version of secured messages that it was not offered, or none; SPDM_MALFORMED */
export function agreedRecords(
  { securedVersions }: Pick<SessionSetupOptions, 'securedVersions'>,
  { opaqueFormat1 }: Algorithms,
  opaque: Uint8Array,
): number {
  const version = decodeSelectedVersion(opaqueFormat1, opaque);
  if (version === undefined || !securedVersions.includes(version)) throw unexpected('secured message version');
  return decodeRecordLimit(opaqueFormat1, opaque, version);
}

function sessionEvidence(connection: Connection, chain: Uint8Array, request: Uint8Array, response: Uint8Array): Evidence {
  const { vca, identity } = connection.transcript;
  const digestsPair = identity.slice(0, 2);
  return { kind: 'session', vca, identity: digestsPair, exchange: [request, response], measurements: [], chain };
}

/** @throws SPDM_UNSUPPORTED */
function sessionAlgorithms(connection: Connection): Algorithms & { readonly dhe: KeyAgreement; readonly aead: Aead } {
  const { dhe, aead, ...rest } = algorithmsOf(connection);
  if (!dhe || !aead) throw new NusecError('SPDM_UNSUPPORTED', 'no algorithms for a session');
  return { ...rest, dhe, aead };
}

export function checkProof(expected: Uint8Array, given: Uint8Array, what: string): void {
  if (!timingSafeEqual(expected, given)) throw new NusecError('SPDM_SIGNATURE', `${what}: verify data`);
}
