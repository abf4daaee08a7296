import { X509Certificate } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { toHex } from '../../src/bytes.ts';
import { openReader } from '../../src/spdm/codec.ts';
import type { SpdmVersion } from '../../src/spdm/constants.ts';
import type { MeasurementSource } from '../../src/spdm/measurement.ts';
import { decodeMeasurementRecord } from '../../src/spdm/measurement.ts';
import { decodeAlgorithms } from '../../src/spdm/messages/algorithms.ts';
import { decodeCapabilities } from '../../src/spdm/messages/capabilities.ts';
import { decodeMeasurements } from '../../src/spdm/messages/measurements.ts';
import { createResponder } from '../../src/spdm/responder/responder.ts';
import type { CertSlot } from '../../src/spdm/responder/state.ts';
import { verifySignature } from '../../src/spdm/signature.ts';
import { hashAlgorithms, rowOf, signatureAlgorithms } from '../../src/spdm/suite.ts';
import { bundleCertificates, loadRecording, named, openedExchanges, type Recording, secretsOf } from './recording.ts';

const recordings = [
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
  'd-spdm12-p256-session-hs-encrypted-nomut',
  'e-spdm12-p256-session-nomut-tcp',
  'e-spdm13-p256-session-nomut-tcp',
  'h-spdm12-p256-measurements-in-session',
];

describe('our responder with recorded requests of another implementation (R84, R51)', () => {
  it.each(recordings)('%s: gives the recorded responses byte for byte, and signs what the recorded signatures cover', async name => {
    const recording = loadRecording(name);
    const parts = recordedParts(recording);
    const p384 = name.includes('p384');
    const recorded = decodeCapabilities(named(recording, 'GET_CAPABILITIES')[0]!.response.message);
    const capabilities = { ...recorded, dataTransferBytes: recorded.dataTransferBytes || 0x1200 };
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
    const responder = createResponder({
      slots: [
        slot('certchain', p384 ? 5 : 4),
        slot('certchain1', p384 ? 5 : 4),
        undefined,
        undefined,
        ...(multiKey ? [slot('certchain4', p384 ? 0x11 : 0x10)] : []),
      ],
      versions: [named(recording, 'GET_CAPABILITIES')[0]!.response.message[0] as SpdmVersion],
      capabilities,
      algorithms,
      binding: recording.transport === 'TCP' ? 'tcp' : 'mctp',
      heartbeatSeconds: 0xf0,
      nextSessionId: () => 0xffff,
      randomBytes: () => parts.nonces.shift()!,
      ecdh: () => ({ exchange: parts.exchanges.shift()!, derive: () => parts.sharedSecrets.shift()! }),
      measurements: () => recordedMeasurements,
      onFault: error => expect.unreachable(String(error)),
    });
    // The P-384 summaries cover a SHA-384 measurement digest whose input is in no recording: those responses are left to our own keys.
    const replayed = recording.exchanges.filter(({ name: step }) => !(p384 && step === 'CHALLENGE'));
    for (const { name: step, request, response } of replayed) {
      const answer = await responder.handle(request);
      expect([step, answer!.kind, toHex(answer!.message)]).toEqual([step, response.kind, toHex(response.message)]);
    }
    expect(parts.signatures).toHaveLength(p384 ? 1 : 0);
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

/** Index 0xFE is only asked for with a signature there. */
function lastRawMeasurement() {
  const signed = named(loadRecording('c-spdm12-p256-measurements-onebyone-raw'), 'GET_MEASUREMENTS').find(
    ({ request }) => request.message[3] === 0xfe,
  );
  return [decodeMeasurements(signed!.response.message, 64)];
}

/** What the recorded responder drew and computed, in order: nonces, ephemeral keys, shared secrets, signatures. */
function recordedParts(recording: Recording) {
  const nonces: Uint8Array[] = [];
  const exchanges: Uint8Array[] = [];
  const signatures: Uint8Array[] = [];
  for (const { request, inner } of openedExchanges(recording)) {
    const bytes = request.kind === 'secured' ? inner[1].subarray(4) : inner[1];
    const asked = request.kind === 'secured' ? inner[0].subarray(4) : inner[0];
    const signatureBytes = recording.exchanges.some(({ request: { message } }) => message[1] === 0xe3 && message[8] === 0x80) ? 96 : 64;
    const reader = openReader(bytes, 'recorded response');
    if (bytes[1] === 0x03) {
      reader.take(4 + signatureBytes / 2);
      nonces.push(reader.take(32));
      signatures.push(bytes.slice(-signatureBytes));
    } else if (bytes[1] === 0x60) {
      reader.take(5);
      reader.take(reader.u24());
      nonces.push(reader.take(32));
      if (asked[2]! & 1) signatures.push(bytes.slice(-signatureBytes));
    } else if (bytes[1] === 0x64) {
      reader.take(8);
      nonces.push(reader.take(32));
      exchanges.push(reader.take(64));
      reader.take(32);
      reader.take(reader.u16());
      signatures.push(reader.take(64));
    }
  }
  return { nonces, exchanges, signatures, sharedSecrets: [...secretsOf(recording, '[DHE Secret]')] };
}
