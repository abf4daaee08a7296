import { afterAll, beforeAll, expect, it } from 'vitest';
import { importKey } from '../../../src/ecKey.ts';
import { issueCertificate } from '../../../src/pki/certificate.ts';
import { authorityOf } from '../../../src/services/authority/authority.ts';
import { activeCa } from '../../../src/services/authority/issuingCa.ts';
import { livingDevice } from '../../../src/services/base/livingDevice.ts';
import { moveGateway } from '../../../src/services/field/gateways.ts';
import { gatewayKey } from '../../../src/services/field/gatewayVerdicts.ts';
import { revokeDevice } from '../../../src/services/revocation/revokeDevice.ts';
import { decodeEvidence, verifyEvidence } from '../../../src/spdm/evidence.ts';
import { line, type Unit } from '../../gateway/fieldKit.ts';
import { codeOf, makeKey } from '../../pki/support.ts';
import { covers } from '../../support/covers.ts';
import { type FieldBench, openField } from './fieldBench.ts';
import { openGateway } from './gatewayBench.ts';

/** Attestation as the cloud judges it: directly and through a gateway, with everything that can go wrong on the way. */

let bench: FieldBench;
let used = 0;
const nextUnit = (): Unit => bench.fleet.units[used++]!;

beforeAll(async () => {
  bench = await openField(22);
});
afterAll(() => bench.close());

it('attests a device with a nonce of the server and keeps the evidence for anybody to verify again (R85)', async () => {
  covers('R85');
  const unit = nextUnit();
  bench.plugIn(unit);
  const result = await bench.field.attestation.attest(unit.uid);
  expect(result).toMatchObject({ result: 'passed', via: 'mqtt', imageHash: unit.firmware.imageHash, version: '1.0.0' });
  const evidence = decodeEvidence(await bench.ctx.blobs.get(result.evidenceSha256 ?? ''));
  const nonce = evidence.exchange[0]!.slice(4, 36);
  await expect(verifyEvidence(evidence, { nonce, trust: () => importKey(unit.key.spki) })).resolves.toMatchObject({ version: 0x12 });
  expect((await bench.typesOf(unit.uid)).slice(-2)).toEqual(['DevicePutInService', 'AttestationPassed']);
});

it('records a repeat of the known state nowhere: it is telemetry', async () => {
  const unit = nextUnit();
  bench.plugIn(unit);
  await bench.field.attestation.attest(unit.uid);
  const before = await bench.typesOf(unit.uid);
  await bench.field.attestation.attest(unit.uid);
  expect(await bench.typesOf(unit.uid)).toEqual(before);
});

it('asks for a chain once: a chain known by its digest is not transferred again', async () => {
  const unit = nextUnit();
  const device = bench.plugIn(unit);
  const getCertificate = 0x82;
  const count = () => device.requests.filter(request => request[2] === getCertificate).length;
  await bench.field.attestation.attest(unit.uid);
  const first = count();
  expect(first).toBeGreaterThan(0);
  await bench.field.attestation.attest(unit.uid);
  expect(count()).toBe(first);
});

it('quarantines a device that shows a certificate without its key (T8)', async () => {
  covers('T8');
  const unit = nextUnit();
  bench.plugIn(unit).manners.signingKey = makeKey();
  expect(await bench.field.attestation.attest(unit.uid)).toMatchObject({
    result: 'failed',
    reason: expect.stringContaining('SPDM_SIGNATURE'),
  });
  expect((await bench.typesOf(unit.uid)).slice(-3)).toEqual(['AttestationFailed', 'CloneSuspected', 'DeviceQuarantined']);
  expect((await livingDevice(bench.ctx, unit.uid)).status).toBe('QUARANTINED');
});

it('fails a device that runs what no release of the registry is', async () => {
  const unit = nextUnit();
  unit.firmware = { ...unit.firmware, imageHash: '77'.repeat(32) };
  bench.plugIn(unit);
  expect(await bench.field.attestation.attest(unit.uid)).toMatchObject({ result: 'failed', reason: 'application: value' });
});

it('fails a device whose debug port is open (T29)', async () => {
  covers('T29');
  const unit = nextUnit();
  bench.plugIn(unit).manners.debugState = 0;
  expect(await bench.field.attestation.attest(unit.uid)).toMatchObject({ result: 'failed', reason: expect.stringContaining('debug port') });
});

it('fails a device that shows the chain of another device', async () => {
  const [unit, other] = [nextUnit(), nextUnit()];
  bench.plugIn({ ...unit, certificate: other.certificate, key: other.key });
  expect(await bench.field.attestation.attest(unit.uid)).toMatchObject({
    result: 'failed',
    reason: expect.stringContaining('CHAIN_REFUSED'),
  });
});

it('fails a device whose certificate is from our authority but was never recorded as issued to it', async () => {
  const unit = nextUnit();
  const key = makeKey();
  const ca = await activeCa(bench.ctx, await authorityOf(bench.ctx), 'device', line);
  const fields = {
    publicKey: key.spki,
    serial: bench.ctx.randomBytes(16),
    notBefore: bench.ctx.clock().toISOString(),
    organization: 'Example OEM',
  };
  const { der } = await issueCertificate(
    'device',
    { ...fields, issuer: ca.certificate, crlUrl: ca.crlUrl, uid: unit.uid, objId: unit.objId },
    ca.signer,
  );
  bench.plugIn({ ...unit, certificate: der, key });
  expect(await bench.field.attestation.attest(unit.uid)).toMatchObject({
    result: 'failed',
    reason: expect.stringContaining('CHAIN_REFUSED'),
  });
});

it('lives with lost and repeated answers: the same question again, one result', async () => {
  const unit = nextUnit();
  const device = bench.plugIn(unit);
  device.manners.spdmReplies = (reply, count) => (count % 3 === 0 ? [] : count % 3 === 1 ? [reply] : [reply, reply]);
  expect(await bench.field.attestation.attest(unit.uid)).toMatchObject({ result: 'passed' });
  expect(new Set(device.requests.map(String)).size).toBeLessThan(device.requests.length);
});

it('says DEVICE_UNREACHABLE of a silent or absent device and records no failure', async () => {
  const unit = nextUnit();
  const before = await bench.typesOf(unit.uid);
  expect(await codeOf(() => bench.field.attestation.attest(unit.uid))).toBe('DEVICE_UNREACHABLE');
  bench.plugIn(unit).manners.spdmReplies = () => [];
  expect(await codeOf(() => bench.field.attestation.attest(unit.uid))).toBe('DEVICE_UNREACHABLE');
  expect(await bench.typesOf(unit.uid)).toEqual(before);
});

it('fails a device whose answers were changed on the way', async () => {
  const unit = nextUnit();
  bench.plugIn(unit).manners.spdmReplies = reply => {
    const changed = reply.slice();
    const measurements = 0x60;
    if (reply[2] === measurements) changed[changed.length - 1]! ^= 1;
    return [changed];
  };
  expect(await bench.field.attestation.attest(unit.uid)).toMatchObject({ result: 'failed' });
});

it('does not attest a revoked device, also not by what it remembers of its chain (I11)', async () => {
  covers('I11');
  const unit = nextUnit();
  bench.plugIn(unit);
  await bench.field.attestation.attest(unit.uid);
  await revokeDevice(bench.ctx, bench.revocations, unit.uid, 'keyCompromise', 'operator:olga');
  expect(await codeOf(() => bench.field.attestation.attest(unit.uid))).toBe('DEVICE_STATE');
});

it('knows no device that was never minted', async () => {
  expect(await codeOf(() => bench.field.attestation.attest('ff'.repeat(16)))).toBe('NOT_FOUND');
});

it('attests a device behind a gateway, verifying the evidence itself (R84)', async () => {
  covers('R84');
  const unit = nextUnit();
  await openGateway(bench, 'g1', unit);
  expect(await bench.field.attestation.attest(unit.uid)).toMatchObject({ result: 'passed', via: 'gateway' });
});

it('raises an alarm when a gateway denies what the evidence proves', async () => {
  const unit = nextUnit();
  await openGateway(bench, 'g4', unit, () => ({ verdict: { verdict: 'failed' } }));
  expect(await bench.field.attestation.attest(unit.uid)).toMatchObject({ result: 'passed' });
  expect(await bench.codesOfAlarms()).toContain('GATEWAY_VERDICT');
});

it('does not reach a device through a suspended gateway (T20)', async () => {
  covers('T20');
  const unit = nextUnit();
  await openGateway(bench, 'g5', unit);
  await moveGateway(bench.ctx, bench.revocations, 'g5', { type: 'SuspendGateway', reason: 'moved' }, 'operator:olga');
  await bench.field.attachments.caughtUp(await bench.ctx.store.head());
  expect(await codeOf(() => bench.field.attestation.attest(unit.uid))).toBe('DEVICE_UNREACHABLE');
  expect(await codeOf(() => gatewayKey(bench.ctx, 'g5'))).toBe('CERTIFICATE_REVOKED');
});
