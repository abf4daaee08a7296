import { describe, expect, it } from 'vitest';
import { concat, toHex } from '../../src/bytes.ts';
import type { CertSlot } from '../../src/spdm/certSlot.ts';
import type { SpdmVersion, Wire } from '../../src/spdm/constants.ts';
import { type Evidence, verifyEvidence } from '../../src/spdm/evidence.ts';
import { dataSecrets, finishedKey, handshakeSecrets, trafficKey } from '../../src/spdm/keySchedule.ts';
import { decodeNegotiateAlgorithms } from '../../src/spdm/messages/algorithms.ts';
import { decodeGetCapabilities } from '../../src/spdm/messages/capabilities.ts';
import { decodeCertificate, decodeGetCertificate } from '../../src/spdm/messages/certificate.ts';
import { decodeChallenge } from '../../src/spdm/messages/challenge.ts';
import { decodeKeyExchange } from '../../src/spdm/messages/keyExchange.ts';
import { decodeKeyUpdate } from '../../src/spdm/messages/keyUpdate.ts';
import { decodeGetMeasurements } from '../../src/spdm/messages/measurements.ts';
import { decodePskExchange } from '../../src/spdm/messages/psk.ts';
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
import { keyUpdateRecord } from '../../src/spdm/requester/keyUpdate.ts';
import { createPskSetup } from '../../src/spdm/requester/psk.ts';
import { createSessionSetup } from '../../src/spdm/requester/sessionSetup.ts';
import type { SpdmSession } from '../../src/spdm/session.ts';
import { hashOf } from '../../src/spdm/signature.ts';
import { type Algorithms, dheGroups } from '../../src/spdm/suite.ts';
import { challengeTranscript, measurementTranscript, sessionTranscriptHead } from '../../src/spdm/transcript.ts';
import { covers } from '../support/covers.ts';
import { trustLeaf } from './fixtures.ts';
import { isP384, type OpenedExchange, openRecords, recordedPsk } from './recordedRecords.ts';
import { attestations, decodeCertificates, loadRecording, named, type Recording, secretsOf, sessions, vectorKey } from './recording.ts';

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
      expect(() => acceptMeasurements(connection, request, response)).toThrow(expect.objectContaining({ code: 'SPDM_UNSUPPORTED' }));
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

/** Of secured messages, offered by whoever was recorded. */
const recordedVersions = [0x1000, 0x1100, 0x1200];

describe('our requester with recorded responses of another implementation (R84)', () => {
  it.each(attestations)('%s: accepts them, computes the recorded M1/M2 and L1/L2, and the evidence verifies', async name => {
    covers('R84');
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

  it.each(sessions)('%s: sets up the session, computes the recorded hashes and keys, sends and opens every record (R51)', async name => {
    covers('R51');
    const recording = loadRecording(name);
    const opened = openRecords(recording);
    const run = replay(recording);
    for (const { name: step, request, response, session } of opened) if (session < 0) run.take(step, request.message, response.message);
    for (const [number, keyExchange] of named(recording, 'KEY_EXCHANGE').entries()) {
      const here = opened.filter(({ session }) => session === number);
      const schedule = recordedSchedule(recording, number);
      const connection = run.connection();
      const ours = computedSchedule(connection, run.chains, here);
      expect(ours.map(toHex)).toEqual(schedule.slice(0, ours.length).map(toHex));

      // The same through the flow: its requests are the recorded ones, byte for byte.
      const { version, algorithms } = connection;
      const { curve } = { curve: isP384(recording) ? 'ecp384' : 'ecp256' } as const;
      const dhe = dheGroups[isP384(recording) ? 1 : 0]!;
      const asked = decodeKeyExchange(keyExchange.request.message, dhe);
      const certificateRequest = decodeGetCertificate(named(recording, 'GET_CERTIFICATE')[0]!.request.message);
      const padding = here.flatMap(({ padding: [own] }) => (own.length > 0 ? [Uint8Array.of(own.length - 1), own] : []));
      const setup = createSessionSetup({
        nonce: asked.random,
        trust: trustLeaf,
        randomBytes: () => padding.shift()!,
        versions: [version as SpdmVersion],
        capabilities: connection.own,
        algorithms: connection.offer,
        slot: asked.slot,
        portionBytes: certificateRequest.length,
        binding: recording.transport === 'TCP' ? 'tcp' : 'mctp',
        sessionId: asked.sessionId,
        summaryType: asked.summaryType,
        policy: asked.policy,
        securedVersions: recordedVersions,
        ecdh: () => ({ exchange: asked.exchange, derive: () => schedule[2]! }),
        ownSlots: recordedRequester(curve, finishSignature(here, algorithms!)),
      });
      let step = setup.start();
      while ('send' in step) step = await setup.receive(answerOf(opened, step.send, number));
      const { session, evidence, mutual } = step;
      expect(mutual).toBe(name.includes('-mutauth'));
      const options = { trust: trustLeaf, nonce: asked.random, versions: allVersions };
      await expect(verifyEvidence(evidence, options)).resolves.toMatchObject({ slot: asked.slot });
      expect(toHex(session.exporterSecret().secret)).toBe(toHex(secretsOf(recording, 'export_master_secret')[number]!));
      const finish = here.findIndex(({ plain }) => plain[0][1] === 0xe5);
      for (const { name: kind, request, response, plain, isApplication } of here.slice(finish + 1)) {
        if (kind !== 'secured') continue;
        const [say, hear] = plain;
        expect(toHex(recordOf(session, say, isApplication))).toBe(toHex(request.message));
        expect(toHex(isApplication ? session.open(response.message) : session.openSpdm(response.message))).toBe(toHex(hear));
      }
      expect(padding).toEqual([]);
    }
  });

  it('f-spdm12-psk-session-mctp: sets up the session, computes the recorded hashes and keys, sends and opens every record', () => {
    const recording = loadRecording('f-spdm12-psk-session-mctp');
    const opened = openRecords(recording);
    const asked = decodePskExchange(named(recording, 'PSK_EXCHANGE')[0]!.request.message);
    const padding = opened.flatMap(({ padding: [own] }) => (own.length > 0 ? [Uint8Array.of(own.length - 1), own] : []));
    const random = [asked.context, ...padding];
    const setup = createPskSetup({
      psk: recordedPsk,
      hint: asked.hint,
      randomBytes: () => random.shift()!,
      versions: [0x12],
      capabilities: decodeGetCapabilities(named(recording, 'GET_CAPABILITIES')[0]!.request.message),
      algorithms: decodeNegotiateAlgorithms(named(recording, 'NEGOTIATE_ALGORITHMS')[0]!.request.message),
      sessionId: asked.sessionId,
      summaryType: asked.summaryType,
      policy: asked.policy,
      securedVersions: recordedVersions,
    });
    let step = setup.start();
    while ('send' in step) step = setup.receive(answerOf(opened, step.send, 0));
    const { session, heartbeatSeconds } = step;
    expect(heartbeatSeconds).toBe(0xf0);
    for (const { name, request, response, plain, isApplication } of opened) {
      if (name !== 'secured' || plain[0][1] === 0xe7) continue;
      expect(toHex(recordOf(session, plain[0], isApplication))).toBe(toHex(request.message));
      expect(toHex(isApplication ? session.open(response.message) : session.openSpdm(response.message))).toBe(toHex(plain[1]));
    }
    expect(random).toEqual([]);
  });
});

/** Key schedule and transcript hashes of one session, from its plain messages, in the order in which the other implementation printed them. */
function computedSchedule(
  connection: Connection,
  chains: ReadonlyMap<number, Uint8Array>,
  here: readonly OpenedExchange[],
): readonly Uint8Array[] {
  const { version, algorithms, transcript } = connection;
  const { hash, aead, signature, dhe, multiKey, requesterMultiKey } = algorithms!;
  const context = { version, hash };
  const [request, response] = here[0]!.plain;
  const asked = decodeKeyExchange(request, dhe!);
  const [finish, finishRsp] = here.find(({ plain }) => plain[0][1] === 0xe5)!.plain;
  const signed = (finish[2]! & 1) !== 0;
  const inTheClear = here.find(({ plain }) => plain[0][1] === 0xe5)!.name === 'FINISH';
  const head = sessionTranscriptHead(transcript, multiKey, hashOf(hash, chains.get(asked.slot)!));
  const upToSignature = concat(head, request, response.subarray(0, response.length - (inTheClear ? 0 : hash.hashBytes)));
  const th1 = hashOf(hash, upToSignature);
  const hs = handshakeSecrets(context, sharedSecretOf(here), th1);
  const encapsulated = here.filter(({ plain }) => plain[0][1] === 0xeb).map(({ plain }) => plain[0].subarray(4));
  const digests = encapsulated.find(message => message[1] === 0x01);
  const certificate = encapsulated.find(message => message[1] === 0x02);
  const ownChain = certificate ? hashOf(hash, decodeCertificate(certificate).portion) : new Uint8Array();
  const before = concat(head, request, response, requesterMultiKey && digests ? digests : new Uint8Array(), ownChain);
  const unsigned = finish.subarray(0, finish.length - hash.hashBytes - (signed ? signature.signatureBytes : 0));
  const th2 = hashOf(hash, concat(before, finish, finishRsp));
  const data = dataSecrets(context, hs.handshake, th2);
  const keys = [hs.request, hs.response, data.request, data.response].map(secret => trafficKey(context, aead!, secret));
  const flat = (from: number): Uint8Array[] => keys.slice(from, from + 2).flatMap(({ key, iv }) => [key, iv]);
  const thCurr = hashOf(hash, upToSignature.subarray(0, upToSignature.length - signature.signatureBytes));
  const finished = [finishedKey(context, hs.request), finishedKey(context, hs.response)];
  return [
    ...[thCurr, th1, sharedSecretOf(here), hs.handshake, hs.request, hs.response, ...finished, ...flat(0)],
    ...(signed ? [hashOf(hash, concat(before, unsigned))] : []),
    ...[th2, data.master, data.request, data.response, data.exportMaster, ...flat(2)],
  ];
}

let sharedSecrets: readonly Uint8Array[] = [];
const sharedSecretOf = (here: readonly OpenedExchange[]): Uint8Array => sharedSecrets[here[0]!.session]!;

/** What was printed for one session, without L1/L2. */
function recordedSchedule(recording: Recording, number: number): readonly Uint8Array[] {
  sharedSecrets = secretsOf(recording, '[DHE Secret]');
  const values = recording.secrets.filter(([label]) => label !== 'l1l2 hash');
  const starts = values.flatMap(([label], i) => (label === 'th_curr hash' && values[i + 1]?.[0] === 'th1 hash' ? [i] : []));
  return values.slice(starts[number], starts[number + 1]).map(([, value]) => value);
}

function answerOf(opened: readonly OpenedExchange[], send: Wire, number: number): Wire {
  const same = opened.filter(({ request }) => request.kind === send.kind && toHex(request.message) === toHex(send.message));
  const found = same.find(({ session }) => session === number) ?? same[0];
  if (!found) throw new Error(`the other requester never sent ${toHex(send.message)}`);
  return found.response;
}

/** The other requester has its certificates in slots 0 to 2, told apart by their key pairs. */
function recordedRequester(curve: 'ecp256' | 'ecp384', signature: Uint8Array): readonly CertSlot[] {
  const certificates = decodeCertificates(vectorKey(`${curve}/bundle_requester.certchain.der`));
  return [0xb0, 0xb1, 0xb2].map(keyPairId => ({
    certificates,
    sign: async () => signature,
    keyPair: { keyPairId, certificateInfo: 1, keyUsage: 0x0f },
  }));
}

function finishSignature(here: readonly OpenedExchange[], { hash, signature }: Algorithms): Uint8Array {
  const [finish] = here.find(({ plain }) => plain[0][1] === 0xe5)!.plain;
  const end = finish.length - hash.hashBytes;
  return finish[2]! & 1 ? finish.slice(end - signature.signatureBytes, end) : new Uint8Array();
}

function recordOf(session: SpdmSession, message: Uint8Array, isApplication: boolean): Uint8Array {
  if (isApplication) return session.seal(message);
  return message[1] === 0xe9 ? keyUpdateRecord(session, decodeKeyUpdate(message)) : session.sealSpdm(message);
}
