import { sign } from 'node:crypto';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { derToRaw } from '../../../src/ecdsa.ts';
import { type SpdmErrorCode, spdmError } from '../../../src/spdm/constants.ts';
import { encodeError } from '../../../src/spdm/messages/error.ts';
import { signingInput } from '../../../src/spdm/signature.ts';
import { hashAlgorithms } from '../../../src/spdm/suite.ts';
import { measurementTranscript } from '../../../src/spdm/transcript.ts';
import type { Unit } from '../../gateway/fieldKit.ts';
import { codeOf } from '../../pki/support.ts';
import { covers } from '../../support/covers.ts';
import { type FieldBench, openField } from './fieldBench.ts';
import { openGateway } from './gatewayBench.ts';

/** Only a wrong proof is a failed attestation (R85): what may pass is not answered, what a device does not speak is unsupported. */

let bench: FieldBench;
let used = 0;
const nextUnit = (): Unit => bench.fleet.units[used++]!;
const challenge = 0x83;
const getMeasurements = 0xe0;

beforeAll(async () => {
  bench = await openField(12);
});
afterAll(() => bench.close());

const attest = (unit: Unit) => bench.field.attestation.attest(unit.uid);
/** Answers `times` requests of this code with an ERROR. */
function failing(error: SpdmErrorCode, at: number, times: number) {
  let left = times;
  return (request: Uint8Array): Uint8Array | undefined => {
    if (request[1] !== at || left === 0) return undefined;
    left -= 1;
    return encodeError(request[0]!, error);
  };
}

it.each([
  ['Busy', spdmError.busy],
  ['Unspecified', spdmError.unspecified],
  ['OperationFailed', spdmError.operationFailed],
  ['RequestResynch', spdmError.requestResynch],
] as const)('passes a device that answers %s once before it proves itself (R85)', async (_, error) => {
  covers('R85');
  const unit = nextUnit();
  const device = bench.plugIn(unit);
  for (const at of [challenge, getMeasurements]) {
    device.manners.instead = failing(error, at, 1);
    expect(await attest(unit)).toMatchObject({ result: 'passed' });
  }
});

it('waits for a device that signs in software and is not ready at once (R85)', async () => {
  covers('R85');
  const unit = nextUnit();
  bench.plugIn(unit).manners.defers = code => code === challenge || code === getMeasurements;
  expect(await attest(unit)).toMatchObject({ result: 'passed' });
});

it('says DEVICE_UNREACHABLE of a device that only ever answers that it may answer later, and records no failure', async () => {
  const unit = nextUnit();
  const device = bench.plugIn(unit);
  const before = await bench.typesOf(unit.uid);
  const { unspecified, requestResynch, operationFailed, resetRequired, decryptError, responseNotReady } = spdmError;
  for (const error of [unspecified, requestResynch, operationFailed, resetRequired, decryptError, responseNotReady]) {
    device.manners.instead = failing(error, challenge, 1000);
    expect(await codeOf(() => attest(unit))).toBe('DEVICE_UNREACHABLE');
  }
  expect(await bench.typesOf(unit.uid)).toEqual(before);
});

it('says unsupported, and why, of a device that does not speak what it is asked, and records no failure', async () => {
  const unit = nextUnit();
  const device = bench.plugIn(unit);
  const before = await bench.typesOf(unit.uid);
  const { unsupportedRequest, versionMismatch, responseTooLarge, invalidPolicy } = spdmError;
  for (const error of [unsupportedRequest, versionMismatch, responseTooLarge, invalidPolicy]) {
    device.manners.instead = failing(error, getMeasurements, 1000);
    expect(await attest(unit)).toMatchObject({ result: 'unsupported', reason: expect.stringContaining('ERROR') });
  }
  device.manners.instead = request => (request[1] === 0x84 ? Uint8Array.of(0x10, 0x04, 0, 0, 0, 1, 0, 0x11) : undefined);
  expect(await attest(unit)).toMatchObject({ result: 'unsupported', reason: 'no common SPDM version: the responder has 1.1' });
  expect(await bench.typesOf(unit.uid)).toEqual(before);
});

it('fails a device that says itself that its measurements changed while they were read', async () => {
  const unit = nextUnit();
  await openGateway(bench, 'carrier', unit, ({ evidence }) => {
    const [request, response] = evidence.measurements as [Uint8Array, Uint8Array];
    const body = response.slice(0, -64);
    body[3] = 0x10;
    const input = signingInput(
      0x12,
      hashAlgorithms[0]!,
      'responder-measurements signing',
      measurementTranscript(0x12, evidence.vca, [request, body]),
    );
    const signature = derToRaw(new Uint8Array(sign('sha256', input, unit.key.privateKey)), 32)!;
    return { evidence: { ...evidence, measurements: [request, new Uint8Array([...body, ...signature])] } };
  });
  expect(await attest(unit)).toMatchObject({ result: 'failed', reason: expect.stringContaining('changed') });
  expect((await bench.typesOf(unit.uid)).at(-1)).toBe('AttestationFailed');
});

it('lets nobody wait for a place behind devices that are silent (R85)', async () => {
  covers('R85');
  const places = 2;
  const narrow = await openField(6, { maxRunning: places, maxWaiting: 10 });
  const [good, ...silent] = narrow.fleet.units as [Unit, ...Unit[]];
  const ended: string[] = [];
  const asked = silent.map(unit => {
    narrow.plugIn(unit).manners.spdmReplies = () => [];
    return narrow.field.attestation.attest(unit.uid).catch(() => void ended.push(unit.uid));
  });
  narrow.plugIn(good);
  expect(await narrow.field.attestation.attest(good.uid)).toMatchObject({ result: 'passed' });
  expect(ended).toEqual([]);
  await Promise.all(asked);
  expect(ended).toHaveLength(silent.length);
  await narrow.close();
});
