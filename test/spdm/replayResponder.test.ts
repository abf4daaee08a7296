import { X509Certificate } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { concat, toHex, utf8 } from '../../src/bytes.ts';
import { openReader, u16, u32 } from '../../src/spdm/codec.ts';
import type { SpdmVersion } from '../../src/spdm/constants.ts';
import type { MeasurementSource } from '../../src/spdm/measurement.ts';
import { decodeMeasurementRecord } from '../../src/spdm/measurement.ts';
import { decodeAlgorithms } from '../../src/spdm/messages/algorithms.ts';
import { decodeCapabilities } from '../../src/spdm/messages/capabilities.ts';
import { decodeMeasurements } from '../../src/spdm/messages/measurements.ts';
import { createResponder } from '../../src/spdm/responder/responder.ts';
import type { CertSlot } from '../../src/spdm/responder/state.ts';
import { hashOf, verifySignature } from '../../src/spdm/signature.ts';
import { type HashAlgorithm, hashAlgorithms, rowOf, signatureAlgorithms } from '../../src/spdm/suite.ts';
import { covers } from '../support/covers.ts';
import { trustLeaf } from './fixtures.ts';
import { isP384, openRecords, recordedPsk, recordedVersion } from './recordedRecords.ts';
import { attestations, bundleCertificates, loadRecording, named, type Recording, secretsOf, sessions } from './recording.ts';

const recordings = [...attestations, ...sessions, 'f-spdm12-psk-session-mctp'];

describe('our responder with recorded requests of another implementation (R84, R51)', () => {
  it.each(recordings)('%s: gives the recorded responses byte for byte, and signs what the recorded signatures cover', async name => {
    covers('R84', 'R51');
    const recording = loadRecording(name);
    const parts = recordedParts(recording);
    const p384 = isP384(recording);
    const recorded = decodeCapabilities(named(recording, 'GET_CAPABILITIES')[0]!.response.message);
    // 1.1 has no sizes on the wire; those of the other versions are the ones of the recorded responder.
    const capabilities = {
      ...recorded,
      dataTransferBytes: recorded.dataTransferBytes || 0x1200,
      maxMessageBytes: recorded.maxMessageBytes || 0x28000,
    };
    const algorithms = decodeAlgorithms(named(recording, 'NEGOTIATE_ALGORITHMS')[0]!.response.message);
    const suite = { hash: rowOf(hashAlgorithms, algorithms.baseHash)!, signature: rowOf(signatureAlgorithms, algorithms.baseAsym)! };
    const slot = (bundle: string, keyPairId: number): CertSlot => {
      const certificates = bundleCertificates(p384 ? 'ecp384' : 'ecp256', bundle);
      const { publicKey } = new X509Certificate(certificates.at(-1)!);
      const sign = async (input: Uint8Array): Promise<Uint8Array> => {
        const signature = parts.signatures.shift()!;
        await verifySignature(suite, publicKey, input, signature, name);
        return signature;
      };
      return { certificates, sign, keyPair: { keyPairId, certificateInfo: 1, keyUsage: 0x0f } };
    };
    const multiKey = (algorithms.otherParams & 0x10) !== 0;
    const asked = named(recording, 'KEY_EXCHANGE')[0]?.response.message[6];
    const how = asked === 2 ? 'encapsulated' : asked === 4 ? 'digests' : undefined;
    const responder = createResponder({
      slots: [
        slot('certchain', p384 ? 5 : 4),
        slot('certchain1', p384 ? 5 : 4),
        undefined,
        undefined,
        ...(multiKey ? [slot('certchain4', p384 ? 0x11 : 0x10)] : []),
      ],
      versions: [recordedVersion(recording) as SpdmVersion],
      capabilities,
      algorithms,
      binding: recording.transport === 'TCP' ? 'tcp' : 'mctp',
      heartbeatSeconds: 0xf0,
      nextSessionId: () => 0xffff,
      randomBytes: length => {
        const bytes = parts.random.shift()!;
        expect(bytes).toHaveLength(length);
        return bytes;
      },
      ecdh: () => ({ exchange: parts.exchanges.shift()!, derive: () => parts.sharedSecrets.shift()! }),
      measurements: () => measurementsFor(suite.hash),
      ...(how ? { mutualAuthentication: { how, slot: 0, required: true, trust: trustLeaf } } : {}),
      psk: hint => (toHex(hint) === toHex(utf8('TestPskHint\0')) ? recordedPsk : undefined),
      onApplicationData: async () => parts.application.shift(),
      onGetCsr: async () => parts.csrs.shift()!,
      onSetCertificate: async ({ certificates }) => (certificates.length === 3 ? 'done' : 'refused'),
      // The recorded responder offers these; nothing in the recordings asks for them.
      keyPairs: () => expect.unreachable(),
      onSetKeyPairInfo: async () => expect.unreachable(),
      endpointInfo: new Uint8Array(),
      measurementLog: () => expect.unreachable(),
      onFault: error => expect.unreachable(String(error)),
    });
    for (const { name: step, request, response } of recording.exchanges) {
      const answer = await responder.handle(request);
      expect([step, answer!.kind, toHex(answer!.message)]).toEqual([step, response.kind, toHex(response.message)]);
    }
    expect([parts.signatures, parts.random, parts.application, parts.csrs]).toEqual([[], [], [], []]);
  });

  it('has the measurements of the raw recording and of the other one under the same indices', () => {
    const [exchange] = named(loadRecording('c-spdm12-p256-measurements'), 'GET_MEASUREMENTS');
    const { record, blockCount } = decodeMeasurements(exchange!.response.message, 64);
    expect(decodeMeasurementRecord(record, blockCount).map(({ index }) => index)).toEqual(recordedMeasurements.map(({ index }) => index));
  });
});

/** The device's measurements, as the raw recording shows them: values that are the same raw and hashed are given in that form. */
const recordedMeasurements: readonly MeasurementSource[] = named(
  loadRecording('c-spdm12-p256-measurements-onebyone-raw'),
  'GET_MEASUREMENTS',
)
  .filter(({ request, response }) => request.message.length === 4 && response.message[1] === 0x60 && response.message[4] !== 0)
  .map(({ response }) => decodeMeasurements(response.message, 0))
  .concat(lastRawMeasurement())
  .flatMap(({ record, blockCount }) => decodeMeasurementRecord(record, blockCount))
  .filter(({ index }, i, all) => all.findIndex(other => other.index === index) === i)
  .map(({ index, type, raw, value }) => ({ index, type, value, form: index <= 4 ? 'either' : raw ? 'raw' : 'digest' }) as const);

/** Index 0x11 is a hash over three log entries, each extended by the next (DSP0274, hash-extended measurement): shown raw for SHA-256 only,
 *  so its SHA-384 value is computed here and proved by the recorded summaries. */
function measurementsFor(hash: HashAlgorithm): readonly MeasurementSource[] {
  const [informational, version] = [0x89, 0x86];
  const entry = (index: number, type: number, value: Uint8Array) =>
    concat(u32(index), Uint8Array.of(0x11, 0, 0, 0, type), u16(value.length), value);
  const entries = [entry(1, informational, utf8('ROM')), entry(2, informational, utf8('Boot FW')), entry(3, version, u32(0x0100030a))];
  const extended = (by: HashAlgorithm) => entries.reduce((digest, next) => hashOf(by, concat(digest, next)), new Uint8Array(by.hashBytes));
  const recorded = recordedMeasurements.find(({ index }) => index === 0x11)!;
  expect(toHex(extended(hashAlgorithms[0]!))).toBe(toHex(recorded.value));
  return recordedMeasurements.map(source => (source === recorded ? { ...source, value: extended(hash) } : source));
}

/** Index 0xFE is only asked for with a signature there. */
function lastRawMeasurement() {
  const signed = named(loadRecording('c-spdm12-p256-measurements-onebyone-raw'), 'GET_MEASUREMENTS').find(
    ({ request }) => request.message[3] === 0xfe,
  );
  return [decodeMeasurements(signed!.response.message, 64)];
}

/** What the recorded responder drew and computed, in order: random bytes (nonces, padding), ephemeral keys, shared secrets, signatures. */
function recordedParts(recording: Recording) {
  const random: Uint8Array[] = [];
  const exchanges: Uint8Array[] = [];
  const signatures: Uint8Array[] = [];
  const application: Uint8Array[] = [];
  const csrs: Uint8Array[] = [];
  const [signatureBytes, hashBytes] = isP384(recording) ? [96, 48] : [64, 32];
  for (const { plain, padding, isApplication } of openRecords(recording)) {
    const [asked, bytes] = plain;
    const reader = openReader(bytes, 'recorded response');
    if (isApplication) application.push(bytes);
    else if (bytes[1] === 0x03) {
      reader.take(4 + hashBytes);
      random.push(reader.take(32));
      signatures.push(bytes.slice(-signatureBytes));
    } else if (bytes[1] === 0x60) {
      reader.take(5);
      reader.take(reader.u24());
      random.push(reader.take(32));
      if (asked[2]! & 1) signatures.push(bytes.slice(-signatureBytes));
    } else if (bytes[1] === 0x64) {
      reader.take(8);
      random.push(reader.take(32));
      exchanges.push(reader.take(signatureBytes));
      reader.take(hashBytes);
      reader.take(reader.u16());
      signatures.push(reader.take(signatureBytes));
    } else if (bytes[1] === 0x66) {
      reader.take(8);
      const contextBytes = reader.u16();
      reader.take(2 + hashBytes);
      random.push(reader.take(contextBytes));
    } else if (bytes[1] === 0x6d) csrs.push(bytes.slice(8));
    if (padding[1].length > 0) random.push(Uint8Array.of(padding[1].length - 1), padding[1]);
  }
  return { random, exchanges, signatures, application, csrs, sharedSecrets: [...secretsOf(recording, '[DHE Secret]')] };
}
