import { describe, expect, it } from 'vitest';
import { concat, toHex } from '../../src/bytes.ts';
import type { SpdmVersion, Wire } from '../../src/spdm/constants.ts';
import { type Evidence, verifyEvidence } from '../../src/spdm/evidence.ts';
import { dataSecrets, finishedKey, handshakeSecrets, trafficKey } from '../../src/spdm/keyschedule.ts';
import { decodeNegotiateAlgorithms } from '../../src/spdm/messages/algorithms.ts';
import { decodeGetCapabilities } from '../../src/spdm/messages/capabilities.ts';
import { decodeChallenge } from '../../src/spdm/messages/challenge.ts';
import { decodeKeyExchange } from '../../src/spdm/messages/key-exchange.ts';
import { decodeGetMeasurements } from '../../src/spdm/messages/measurements.ts';
import {
  acceptAlgorithms,
  acceptCapabilities,
  acceptCertificate,
  acceptChallengeAuth,
  acceptDigests,
  acceptMeasurements,
  acceptVersion,
  type Connection,
  newConnection,
  takeMeasurements,
} from '../../src/spdm/requester/connection.ts';
import { createSessionSetup } from '../../src/spdm/requester/session-setup.ts';
import { hashOf } from '../../src/spdm/signature.ts';
import { challengeTranscript, measurementTranscript, sessionTranscriptHead } from '../../src/spdm/transcript.ts';
import { countingRandom, trustLeaf } from './fixtures.ts';
import { loadRecording, named, openedExchanges, type Recording, secretsOf } from './recording.ts';

const attestations = [
  'a-spdm11-p256-challenge',
  'a-spdm12-p256-challenge',
  'a-spdm12-p256-challenge-mctp',
  'a-spdm13-p256-challenge',
  'a-spdm14-p256-challenge',
  'b-spdm12-p384-challenge',
  'b-spdm13-p384-challenge',
  'c-spdm11-p256-measurements',
  'c-spdm12-p256-measurements',
  'c-spdm12-p256-measurements-onebyone-raw',
  'c-spdm13-p256-measurements',
  'c-spdm14-p256-measurements',
];
const sessions = [
  'd-spdm12-p256-session-hs-encrypted-nomut',
  'e-spdm12-p256-session-nomut-tcp',
  'e-spdm13-p256-session-nomut-tcp',
  'h-spdm12-p256-measurements-in-session',
];

const allVersions: readonly SpdmVersion[] = [0x11, 0x12, 0x13, 0x14];
const signatureBytesOf = (connection: Connection): number => connection.algorithms!.signature.signatureBytes;
const unsigned = (connection: Connection, message: Uint8Array): Uint8Array =>
  message.subarray(0, message.length - signatureBytesOf(connection));

/** Runs the recorded messages in the clear through our requester's checks. */
function replay(recording: Recording) {
  const hashes: [string, Uint8Array][] = [];
  const evidences: { evidence: Evidence; nonce: Uint8Array }[] = [];
  const offer = decodeNegotiateAlgorithms(named(recording, 'NEGOTIATE_ALGORITHMS')[0]!.request.message);
  let connection = newConnection(decodeGetCapabilities(named(recording, 'GET_CAPABILITIES')[0]!.request.message), offer);
  const chains = new Map<number, Uint8Array>();
  let challenged: Evidence | undefined;
  const take = (name: string, request: Uint8Array, response: Uint8Array): void => {
    if (response[1] === 0x7f) {
      expect(() => acceptMeasurements(connection, request, response)).toThrow(expect.objectContaining({ code: 'SPDM_UNEXPECTED' }));
      [connection] = takeMeasurements(connection);
      return;
    }
    switch (name) {
      case 'GET_VERSION':
        connection = acceptVersion(connection, allVersions, request, response);
        return;
      case 'GET_CAPABILITIES':
        connection = acceptCapabilities(connection, request, response);
        return;
      case 'NEGOTIATE_ALGORITHMS':
        connection = acceptAlgorithms(connection, request, response);
        return;
      case 'GET_DIGESTS':
        [connection] = acceptDigests(connection, request, response);
        return;
      case 'GET_CERTIFICATE': {
        const [next, part] = acceptCertificate(connection, request, response);
        connection = next;
        expect(part.remainder).toBe(0);
        chains.set(part.slot, part.portion);
        return;
      }
      case 'CHALLENGE': {
        const { transcript } = connection;
        hashes.push([
          'm1m2 hash',
          hashOf(connection.algorithms!.hash, challengeTranscript(transcript, request, unsigned(connection, response))),
        ]);
        challenged = {
          kind: 'attestation',
          vca: transcript.vca,
          identity: transcript.identity,
          exchange: [request, response],
          measurements: [],
          chain: chains.get(0)!,
        };
        evidences.push({ evidence: challenged, nonce: decodeChallenge(request).nonce });
        connection = acceptChallengeAuth(connection, request, response);
        return;
      }
      case 'GET_MEASUREMENTS': {
        connection = acceptMeasurements(connection, request, response);
        const asked = decodeGetMeasurements(request);
        if (!asked.signed) return;
        const [next, messages] = takeMeasurements(connection);
        connection = next;
        const signed = [...messages.slice(0, -1), unsigned(connection, response)];
        hashes.push([
          'l1l2 hash',
          hashOf(connection.algorithms!.hash, measurementTranscript(connection.version, connection.transcript.vca, signed)),
        ]);
        return;
      }
    }
  };
  return { take, hashes, evidences, chains, connection: () => connection };
}

describe('our requester with recorded responses of another implementation (R84)', () => {
  it.each(attestations)('%s: accepts them, computes the recorded M1/M2 and L1/L2, and the evidence verifies', async name => {
    const recording = loadRecording(name);
    const run = replay(recording);
    for (const exchange of recording.exchanges) run.take(exchange.name, exchange.request.message, exchange.response.message);
    const recorded = recording.secrets.filter(([label]) => label.endsWith('hash'));
    expect(run.hashes.map(([label, hash]) => [label, toHex(hash)])).toEqual(recorded.map(([label, hash]) => [label, toHex(hash)]));
    expect(recorded.length).toBeGreaterThan(0);
    for (const { evidence, nonce } of run.evidences) {
      const verified = await verifyEvidence(evidence, { trust: trustLeaf, nonce, versions: allVersions });
      expect(verified.slot).toBe(0);
    }
  });

  it.each(sessions)('%s: sets up the session, computes the recorded hashes and keys, opens every record (R51)', async name => {
    const recording = loadRecording(name);
    const opened = openedExchanges(recording);
    const run = replay(recording);
    for (const [number, keyExchange] of named(recording, 'KEY_EXCHANGE').entries()) {
      const expected = recordedSchedule(recording, number);
      const asked = decodeKeyExchange(keyExchange.request.message, { bit: 8, curve: 'prime256v1', exchangeBytes: 64, privateBytes: 32 });
      const at = opened.findIndex(({ request }) => request === keyExchange.request);
      const end = opened.findIndex(({ name: next }, i) => i > at && next === 'KEY_EXCHANGE');
      const rest = opened.slice(at + 1, end < 0 ? undefined : end);
      for (const exchange of opened.slice(0, at))
        if (number === 0) run.take(exchange.name, exchange.request.message, exchange.response.message);
      const connection = run.connection();
      const { hash, aead } = connection.algorithms!;
      const context = { version: connection.version, hash };
      const clearHandshake = rest[0]!.name === 'FINISH';
      const chain = run.chains.get(asked.slot)!;

      // Key schedule and transcript hashes, in the order in which the other implementation printed them.
      const [finish, finishRsp] = clearHandshake
        ? rest[0]!.inner
        : (rest[0]!.inner.map(inner => inner.subarray(4)) as [Uint8Array, Uint8Array]);
      const proofBytes = clearHandshake ? 0 : hash.hashBytes;
      const response = keyExchange.response.message;
      const head = sessionTranscriptHead(connection.transcript, connection.algorithms!.multiKey, hashOf(hash, chain));
      const signed = concat(head, keyExchange.request.message, response.subarray(0, response.length - proofBytes));
      const thCurr = hashOf(hash, signed.subarray(0, signed.length - 64));
      const th1 = hashOf(hash, signed);
      const hs = handshakeSecrets(context, expected[2]!, th1);
      const th2 = hashOf(hash, concat(head, keyExchange.request.message, response, finish, finishRsp));
      const data = dataSecrets(context, hs.handshake, th2);
      const keys = [hs.request, hs.response, data.request, data.response].map(secret => trafficKey(context, aead!, secret));
      const flat = (from: number): Uint8Array[] => keys.slice(from, from + 2).flatMap(({ key, iv }) => [key, iv]);
      const ours = [
        thCurr,
        th1,
        expected[2]!,
        hs.handshake,
        hs.request,
        hs.response,
        finishedKey(context, hs.request),
        finishedKey(context, hs.response),
      ];
      const later = [th2, data.master, data.request, data.response, data.exportMaster];
      expect([...ours, ...flat(0), ...later, ...flat(2)].map(toHex)).toEqual(expected.map(toHex));

      // The same through the flow: its requests are the recorded ones, byte for byte.
      const setup = createSessionSetup({
        nonce: asked.random,
        trust: trustLeaf,
        randomBytes: countingRandom(),
        versions: [connection.version as SpdmVersion],
        capabilities: connection.own,
        algorithms: connection.offer,
        slot: asked.slot,
        portionBytes: clearHandshake ? 0xffff : 0x11f8,
        binding: 'tcp',
        sessionId: asked.sessionId,
        summaryType: asked.summaryType,
        policy: asked.policy,
        ecdh: () => ({ exchange: asked.exchange, derive: () => expected[2]! }),
      });
      let step = setup.start();
      while ('send' in step) step = await setup.receive(answerOf(recording, step.send, number));
      const { session, evidence } = step;
      await expect(verifyEvidence(evidence, { trust: trustLeaf, nonce: asked.random })).resolves.toMatchObject({ slot: asked.slot });
      expect(toHex(session.exporterSecret().secret)).toBe(toHex(data.exportMaster));
      for (const record of rest.slice(1)) {
        const plain = record.inner[0].subarray(4);
        expect(toHex(session.sealSpdm(plain))).toBe(toHex(record.request.message));
        expect(toHex(session.openSpdm(record.response.message))).toBe(toHex(record.inner[1].subarray(4)));
      }
    }
  });
});

/** The 20 values printed for one session, without L1/L2. */
function recordedSchedule(recording: Recording, number: number): readonly Uint8Array[] {
  const values = recording.secrets.filter(([label]) => label !== 'l1l2 hash').map(([, value]) => value);
  const perSession = values.length / secretsOf(recording, 'th1 hash').length;
  return values.slice(number * perSession, (number + 1) * perSession);
}

function answerOf(recording: Recording, send: Wire, number: number): Wire {
  const same = recording.exchanges.filter(({ request }) => request.kind === send.kind && toHex(request.message) === toHex(send.message));
  const found = same[Math.min(number, same.length - 1)];
  if (!found) throw new Error(`the other requester never sent ${toHex(send.message)}`);
  return found.response;
}
