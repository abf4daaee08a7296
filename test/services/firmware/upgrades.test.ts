import { createHash, generateKeyPairSync } from 'node:crypto';
import { afterAll, beforeAll, expect, it, onTestFinished, vi } from 'vitest';
import { concat, toBase64url, toHex } from '../../../src/bytes.ts';
import { sha256 } from '../../../src/digest.ts';
import { newEvent } from '../../../src/eventstore/recorded.ts';
import { blockSecretBytes, blockSecretLabel, openBlock, openBlockChannel } from '../../../src/ota/blocks.ts';
import { blockCount, verifyJob } from '../../../src/ota/otaJob.ts';
import { verifyImage } from '../../../src/ota/verify.ts';
import { parseCertificate } from '../../../src/pki/parse.ts';
import { signingKeysOf, verifyTrustBundle } from '../../../src/production/trustBundle.ts';
import { authorityOf } from '../../../src/services/authority/authority.ts';
import { currentTrustBundle } from '../../../src/services/authority/trustBundle.ts';
import { livingDevice } from '../../../src/services/base/livingDevice.ts';
import { quarantineDevice, releaseDevice, tagDevice } from '../../../src/services/field/devices.ts';
import { createByteBudget } from '../../../src/services/firmware/byteBudget.ts';
import { defineLine } from '../../../src/services/firmware/lines.ts';
import type { PreparedJob } from '../../../src/services/firmware/otaImage.ts';
import { withdrawRelease } from '../../../src/services/firmware/releases.ts';
import { planRollout, type RolloutWish, rolloutOf } from '../../../src/services/firmware/rolloutPlan.ts';
import { showRollout } from '../../../src/services/firmware/rolloutView.ts';
import { deriveExporterKey } from '../../../src/spdm/keySchedule.ts';
import { build, eventually, publish, type Unit } from '../../gateway/fieldKit.ts';
import { codeOf } from '../../pki/support.ts';
import { covers } from '../../support/covers.ts';
import { flipBlobBit, loseBlob } from '../../support/damagedBlob.ts';
import { type BenchDevice, type FieldBench, openField } from '../field/fieldBench.ts';
import { changeByTwo } from './lineKit.ts';

/** Rollouts and OTA delivery: who is offered what, what a device gets, and what counts as upgraded. */

let bench: FieldBench;
let used = 0;
const units = (count: number): Unit[] => {
  used += count;
  return bench.fleet.units.slice(used - count, used);
};

beforeAll(async () => {
  bench = await openField(35);
});
afterAll(() => bench.close());

async function roll(wish: Omit<RolloutWish, 'releaseId'>, releaseId = bench.fleet.next.releaseId): Promise<string> {
  const id = await planRollout(bench.ctx, { releaseId, ...wish }, 'operator:rita');
  const { rollouts } = bench.field;
  await rollouts.command(id, { type: 'ApproveRollout', by: 'operator:rolf' }, 'operator:rolf');
  await rollouts.command(id, { type: 'StartRollout', by: 'operator:rita' }, 'operator:rita');
  return id;
}
const statusOf = async (id: string): Promise<string> => (await rolloutOf(bench.ctx, id)).status;
const show = (id: string) => showRollout(bench.ctx, bench.field.rollouts, id);

async function readJob(device: BenchDevice) {
  const bundle = await verifyTrustBundle(
    await currentTrustBundle(bench.ctx, await authorityOf(bench.ctx)),
    parseCertificate(device.unit.root).spki,
  );
  return verifyJob(device.jobs.at(-1)!, signingKeysOf(bundle, 'otaJob'));
}
const jobComes = (device: BenchDevice) => eventually(() => device.jobs.length > 0);
const hello = (unit: Unit) => {
  const { version, securityCounter, imageHash } = unit.firmware;
  return bench.field.hello(unit.uid, { version, securityCounter, imageHash, imageState: 'confirmed', objId: unit.objId }, 'mqtt');
};

it('needs a second person to approve, and says so (I16)', async () => {
  covers('I16');
  const [unit] = units(1);
  const id = await planRollout(bench.ctx, { releaseId: bench.fleet.next.releaseId, devices: [unit!.uid] }, 'operator:rita');
  const approve = { type: 'ApproveRollout', by: 'operator:rita' } as const;
  expect(await codeOf(() => bench.field.rollouts.command(id, approve, 'operator:rita'))).toBe('FOUR_EYES_REQUIRED');
  const start = { type: 'StartRollout', by: 'operator:rita' } as const;
  expect(await codeOf(() => bench.field.rollouts.command(id, start, 'operator:rita'))).toBe('STATE');
});

it('delivers a signed job and sealed blocks of an image that only this device boots (R93, R94, RULE-12, RULE-13)', async () => {
  covers('R93', 'R94', 'RULE-12', 'RULE-13');
  const [unit, other] = units(2) as [Unit, Unit];
  const device = bench.plugIn(unit);
  const id = await roll({ devices: [unit.uid] });
  await jobComes(device);
  const signed = await readJob(device);
  expect(signed.job).toMatchObject({ securityCounter: 3, version: { major: 1, minor: 1, revision: 0, build: 0 } });
  expect(toHex(signed.job.uid)).toBe(unit.uid);

  const secret = deriveExporterKey(bench.exporterOf(unit.uid), blockSecretLabel, signed.job.otaJobId, blockSecretBytes);
  const channel = openBlockChannel(secret, signed);
  const sealed = Array.from({ length: blockCount(signed.job) }, (_, i) =>
    concat(...bench.field.delivery.block(unit.uid, toHex(signed.job.otaJobId), i, signed.job.blockBytes)),
  );
  const image = concat(...sealed.map((block, i) => openBlock(channel, i, block)!));
  const bootKey = async (uid: string) =>
    createHash('sha256')
      .update(await appKeyOf(uid))
      .digest();
  const verdict = async (uid: string) =>
    verifyImage(image, { signature: { algorithm: 'P-256', otpKeyHash: await bootKey(uid) }, slotBytes: 1 << 20 });
  expect(await verdict(unit.uid)).toMatchObject({ ok: true });
  expect(await verdict(other.uid)).toMatchObject({ ok: false });
  const plain = image.subarray(500, 900);
  expect(sealed.some(block => Buffer.from(block).includes(Buffer.from(plain)))).toBe(false);
  expect(await show(id)).toMatchObject({ counts: { offered: 1 } });
});

async function appKeyOf(uid: string): Promise<Uint8Array> {
  return bench.ctx.bootKeys.ensure((await livingDevice(bench.ctx, uid)).bootKeys.app!.keyId);
}

it('counts a device as upgraded by evidence of the new image and by nothing it says (I18, RULE-18)', async () => {
  covers('I18', 'RULE-18');
  const [unit] = units(1) as [Unit];
  const device = bench.plugIn(unit);
  const id = await roll({ devices: [unit.uid] });
  await jobComes(device);
  const offerId = toHex((await readJob(device)).job.otaJobId);
  const { delivery } = bench.field;
  for (const status of ['downloading', 'written', 'testing'] as const) await delivery.reportStatus(unit.uid, offerId, status, undefined);
  expect((await livingDevice(bench.ctx, unit.uid)).status).toBe('UPGRADING');
  expect(await bench.typesOf(unit.uid)).not.toContain('FirmwareUpgraded');
  expect((await livingDevice(bench.ctx, unit.uid)).firmware?.version).toBe('1.0.0');

  unit.firmware = bench.fleet.next;
  const testing = {
    version: '1.1.0',
    securityCounter: 3,
    imageHash: unit.firmware.imageHash,
    imageState: 'testing',
    objId: unit.objId,
  } as const;
  await bench.field.hello(unit.uid, testing, 'mqtt');
  await eventually(async () => (await bench.typesOf(unit.uid)).includes('AttestationPassed'));
  expect(await bench.typesOf(unit.uid)).not.toContain('FirmwareUpgraded');
  await hello(unit);
  await eventually(async () => (await bench.typesOf(unit.uid)).includes('FirmwareUpgraded'));
  expect((await livingDevice(bench.ctx, unit.uid)).firmware).toMatchObject({ version: '1.1.0', securityCounter: 3 });
  await eventually(async () => (await statusOf(id)) === 'COMPLETED');
  expect(await show(id)).toMatchObject({ counts: { upgraded: 1 }, passedGroups: 1 });
});

it('goes on group by group, the next after the one before has passed', async () => {
  const some = units(4);
  for (const unit of some) bench.plugIn(unit);
  const id = await roll({ devices: some.map(({ uid }) => uid), groups: [25, 75] });
  await eventually(async () => (await show(id)).startedGroups === 1);
  const [first] = (await show(id)).progress;
  expect((await show(id)).devices).toBe(1);
  const unit = some.find(({ uid }) => uid === first!.uid)!;
  unit.firmware = bench.fleet.next;
  await hello(unit);
  await eventually(async () => (await show(id)).startedGroups === 2);
  expect(await show(id)).toMatchObject({ passedGroups: 1, devices: 4, status: 'RUNNING' });
});

it('halts on too many failures', async () => {
  const some = units(3);
  const devices = some.map(unit => bench.plugIn(unit));
  const id = await roll({ devices: some.map(({ uid }) => uid), maxFailures: 0 });
  await jobComes(devices[0]!);
  const offerId = toHex((await readJob(devices[0]!)).job.otaJobId);
  await bench.field.delivery.reportStatus(some[0]!.uid, offerId, 'failed', 'signature-invalid');
  await eventually(async () => (await statusOf(id)) === 'HALTED');
  const [, second] = devices;
  second!.jobs.length = 0;
  await bench.field.delivery.deliver(some[1]!.uid, 7);
  expect(second!.jobs).toEqual([new Uint8Array()]);
});

it('refuses a release with a lower counter and makes it visible (R92, T12, RULE-11, I9)', async () => {
  covers('R92', 'T12', 'RULE-11', 'I9');
  const [unit] = units(1) as [Unit];
  const old = await publish(bench.ctx, 'app', '2.0.0', 1);
  bench.plugIn(unit);
  expect(await codeOf(() => roll({ devices: [unit.uid] }, old.releaseId))).toBe('ROLLBACK');
  await tagDevice(bench.ctx, unit.uid, ['old'], [], 'operator:rita');
  const id = await roll({ selector: { tags: ['old'] } }, old.releaseId);
  await eventually(async () => (await statusOf(id)) === 'HALTED');
  expect(await show(id)).toMatchObject({ progress: [{ uid: unit.uid, status: 'refused', reason: 'ROLLBACK' }] });
  const refused = (await bench.ctx.store.readStream(`device-${unit.uid}`)).filter(({ type }) => type === 'RollbackRefused');
  expect(refused.map(({ data }) => data.hop)).toEqual(['cloud']);
});

it('takes the decision again at delivery: a floor that rose since the offer is kept (T12, RULE-11)', async () => {
  covers('T12', 'RULE-11');
  await defineLine(bench.ctx, { line: 'floor' }, 'operator:rita');
  const bl2 = await publish(bench.ctx, 'bl2', '1.0.0', 1, 'floor');
  const app = await publish(bench.ctx, 'app', '1.0.0', 2, 'floor');
  const next = await publish(bench.ctx, 'app', '1.1.0', 3, 'floor');
  const unit = await build(bench.ctx, bl2, app, 'floor');
  await roll({ devices: [unit.uid] }, next.releaseId);
  await eventually(async () => (await bench.typesOf(unit.uid)).includes('FirmwareOffered'));
  await changeByTwo(bench.ctx, 'floor', { floor: 4 });
  const device = bench.plugIn(unit);
  await bench.field.delivery.deliver(unit.uid, 1);
  expect(device.jobs.filter(job => job.length > 0)).toEqual([]);
  expect((await bench.typesOf(unit.uid)).slice(-2)).toEqual(['RollbackRefused', 'UpgradeFailed']);
});

it('ends a download once the floor of its line rises above the image (T12, RULE-11)', async () => {
  covers('T12', 'RULE-11');
  await defineLine(bench.ctx, { line: 'rising' }, 'operator:rita');
  const bl2 = await publish(bench.ctx, 'bl2', '1.0.0', 1, 'rising');
  const app = await publish(bench.ctx, 'app', '1.0.0', 2, 'rising');
  const next = await publish(bench.ctx, 'app', '1.1.0', 3, 'rising');
  const unit = await build(bench.ctx, bl2, app, 'rising');
  const device = bench.plugIn(unit);
  await roll({ devices: [unit.uid] }, next.releaseId);
  await jobComes(device);
  const { otaJobId, blockBytes } = (await readJob(device)).job;
  const block = () => codeOf(async () => bench.field.delivery.block(unit.uid, toHex(otaJobId), 0, blockBytes));
  await changeByTwo(bench.ctx, 'rising', { floor: 3 });
  await bench.field.delivery.reportStatus(unit.uid, toHex(otaJobId), 'downloading', undefined);
  expect(await block()).toHaveLength(2);
  await changeByTwo(bench.ctx, 'rising', { floor: 4 });
  await eventually(async () => (await block()) === 'STATE');
  await bench.field.delivery.deliver(unit.uid, 1);
  expect((await bench.typesOf(unit.uid)).slice(-2)).toEqual(['RollbackRefused', 'UpgradeFailed']);
});

it('refuses firmware of another line (T13)', async () => {
  covers('T13');
  await defineLine(bench.ctx, { line: 'lamp' }, 'operator:rita');
  const lamp = await publish(bench.ctx, 'app', '9.0.0', 9, 'lamp');
  const [unit] = units(1) as [Unit];
  expect(await codeOf(() => roll({ devices: [unit.uid] }, lamp.releaseId))).toBe('WRONG_PRODUCT');
  expect(await codeOf(() => roll({ fromRelease: bench.fleet.app.releaseId }, lamp.releaseId))).toBe('WRONG_PRODUCT');
});

it('plans nothing below the floor of the line, and begins nothing that has come below it since (RULE-11)', async () => {
  covers('RULE-11');
  await defineLine(bench.ctx, { line: 'sunk' }, 'operator:rita');
  const app = await publish(bench.ctx, 'app', '1.0.0', 2, 'sunk');
  const id = await planRollout(bench.ctx, { releaseId: app.releaseId }, 'operator:rita');
  await changeByTwo(bench.ctx, 'sunk', { floor: 3 });
  await eventually(async () => (await statusOf(id)) === 'HALTED');
  expect((await show(id)).reason).toBe('the floor of the line has risen to 3, above the release');
  expect(await codeOf(() => roll({}, app.releaseId))).toBe('ROLLBACK');
});

it('does not deliver a release that was withdrawn after the offer', async () => {
  const [unit] = units(1) as [Unit];
  const doomed = await publish(bench.ctx, 'app', '1.5.0', 3);
  await roll({ devices: [unit.uid] }, doomed.releaseId);
  await eventually(async () => (await bench.typesOf(unit.uid)).includes('FirmwareOffered'));
  await withdrawRelease(bench.ctx, doomed.releaseId, 'bug', 'operator:rita');
  const device = bench.plugIn(unit);
  await bench.field.delivery.deliver(unit.uid, 1);
  await eventually(async () => (await bench.typesOf(unit.uid)).at(-1) === 'UpgradeCancelled');
  expect(device.jobs.filter(job => job.length > 0)).toEqual([]);
});

it.each([
  [
    'its rollout is paused',
    (id: string) => bench.field.rollouts.command(id, { type: 'PauseRollout', reason: 'x', by: 'operator:rita' }, 'operator:rita'),
  ],
  ['its release is withdrawn', (_: string, releaseId: string) => withdrawRelease(bench.ctx, releaseId, 'bug', 'operator:rita')],
  ['the device is quarantined', (_: string, __: string, uid: string) => quarantineDevice(bench.ctx, uid, 'odd', 'operator:olga')],
] as const)('gives out no further block once %s', async (what, stop) => {
  const [unit] = units(1) as [Unit];
  const release = await publish(bench.ctx, 'app', `1.4.${what.length}`, 3);
  const device = bench.plugIn(unit);
  const id = await roll({ devices: [unit.uid] }, release.releaseId);
  await jobComes(device);
  const { otaJobId, blockBytes } = (await readJob(device)).job;
  const block = () => codeOf(async () => bench.field.delivery.block(unit.uid, toHex(otaJobId), 0, blockBytes));
  expect(await block()).toHaveLength(2);
  await stop(id, release.releaseId, unit.uid);
  await eventually(async () => (await block()) === 'STATE');
});

it('gives out no block while nobody knows what has ended, and goes on when that is known again', async () => {
  const [unit, other] = units(2) as [Unit, Unit];
  const [device, doomed] = [bench.plugIn(unit), bench.plugIn(other)];
  const release = await publish(bench.ctx, 'app', '1.4.9', 3);
  await roll({ devices: [unit.uid] });
  await roll({ devices: [other.uid] }, release.releaseId);
  await jobComes(device);
  await jobComes(doomed);
  const { otaJobId, blockBytes } = (await readJob(device)).job;
  const offerId = toHex(otaJobId);
  const withdrawnId = toHex((await readJob(doomed)).job.otaJobId);
  const block = () => codeOf(async () => bench.field.delivery.block(unit.uid, offerId, 0, blockBytes));
  expect(await block()).toHaveLength(2);
  // The follower that ends deliveries stops in the middle of its work on another device.
  const failing = vi.spyOn(bench.channel.channel, 'isConnected').mockImplementation(() => {
    throw new Error('no memory');
  });
  onTestFinished(() => failing.mockRestore());
  await withdrawRelease(bench.ctx, release.releaseId, 'bug', 'operator:rita');
  await eventually(async () => (await block()) === 'PROJECTION_BEHIND');
  expect(await codeOf(async () => bench.field.delivery.file(unit.uid, offerId))).toBe('PROJECTION_BEHIND');
  expect(bench.ctx.followers.troubles()).toContainEqual(expect.objectContaining({ name: 'deliveries', failure: 'no memory' }));
  failing.mockRestore();
  await eventually(async () => Array.isArray(await block()));
  expect(await codeOf(async () => bench.field.delivery.block(other.uid, withdrawnId, 0, blockBytes))).toBe('STATE');
});

it('never serves firmware that was changed in the store, and raises an alarm (T30)', async () => {
  covers('T30');
  const [unit] = units(1) as [Unit];
  const release = await publish(bench.ctx, 'app', '1.6.0', 3);
  await roll({ devices: [unit.uid] }, release.releaseId);
  await eventually(async () => (await bench.typesOf(unit.uid)).includes('FirmwareOffered'));
  flipBlobBit(bench.dataDir, release.bodySha256, 5000);
  const device = bench.plugIn(unit);
  expect(await codeOf(() => bench.field.delivery.deliver(unit.uid, 1))).toBe('BLOB_DAMAGED');
  expect(device.jobs).toEqual([]);
  expect(await bench.codesOfAlarms()).toContain('FIRMWARE_DAMAGED');
  loseBlob(bench.dataDir, release.bodySha256);
  expect(await codeOf(() => bench.field.delivery.deliver(unit.uid, 1))).toBe('BLOB_NOT_FOUND');
});

it('holds back what a paused rollout offered, and goes on after it', async () => {
  const [unit] = units(1) as [Unit];
  const id = await roll({ devices: [unit.uid] });
  await eventually(async () => (await bench.typesOf(unit.uid)).includes('FirmwareOffered'));
  const { rollouts, delivery } = bench.field;
  await rollouts.command(id, { type: 'PauseRollout', reason: 'holiday', by: 'operator:rita' }, 'operator:rita');
  const device = bench.plugIn(unit);
  await delivery.deliver(unit.uid, 1);
  expect(device.jobs).toEqual([new Uint8Array()]);
  await rollouts.command(id, { type: 'ResumeRollout', by: 'operator:rita' }, 'operator:rita');
  await eventually(() => device.jobs.length > 1);
});

it('gives a device that connects anew another session and a job of the same id, sequence and image', async () => {
  const [unit] = units(1) as [Unit];
  const device = bench.plugIn(unit);
  await roll({ devices: [unit.uid] });
  await jobComes(device);
  const first = (await readJob(device)).job;
  bench.field.delivery.forget(unit.uid);
  expect(await codeOf(() => bench.field.delivery.block(unit.uid, toHex(first.otaJobId), 0, first.blockBytes))).toBe('STATE');
  await bench.field.delivery.deliver(unit.uid, 9);
  const second = (await readJob(device)).job;
  expect(second).toMatchObject({ otaJobId: first.otaJobId, sequence: first.sequence, imageHash: first.imageHash });
  const inBody = Math.floor(bench.fleet.next.size / first.blockBytes) * 32;
  expect(second.blockHashes.slice(0, inBody)).toEqual(first.blockHashes.slice(0, inBody));
});

it('does not count a device that is not able now as a failure of the firmware', async () => {
  const [unit, other] = units(2) as [Unit, Unit];
  await quarantineDevice(bench.ctx, unit.uid, 'odd', 'operator:olga');
  const id = await roll({ devices: [unit.uid, other.uid] });
  await eventually(async () => (await show(id)).progress[0]?.status === 'refused');
  expect(await show(id)).toMatchObject({ status: 'RUNNING', progress: [{ reason: 'DEVICE_STATE' }, { status: 'offered' }] });
  await releaseDevice(bench.ctx, unit.uid, 'fine', 'operator:olga');
  await eventually(async () => (await show(id)).counts.offered === 2);
});

it('goes on after a restart of the server with nothing but the events', async () => {
  const some = units(2);
  const [device] = some.map(unit => bench.plugIn(unit));
  const id = await roll({ devices: some.map(({ uid }) => uid), groups: [50, 50] });
  await jobComes(device!);
  const first = (await readJob(device!)).job;
  await bench.restart();
  await eventually(() => device!.jobs.length > 1);
  expect((await readJob(device!)).job).toMatchObject({ otaJobId: first.otaJobId, sequence: first.sequence, imageHash: first.imageHash });
  some[0]!.firmware = bench.fleet.next;
  await hello(some[0]!);
  await eventually(async () => (await show(id)).startedGroups === 2);
});

it('records a device that goes back to its old image as a failed upgrade', async () => {
  const [unit] = units(1) as [Unit];
  const device = bench.plugIn(unit);
  await roll({ devices: [unit.uid] });
  await jobComes(device);
  const offerId = toHex((await readJob(device)).job.otaJobId);
  await bench.field.delivery.reportStatus(unit.uid, offerId, 'testing', undefined);
  await hello(unit);
  const events = await bench.ctx.store.readStream(`device-${unit.uid}`);
  expect(events.find(({ type }) => type === 'UpgradeFailed')?.data).toMatchObject({ reason: 'reverted' });
});

it('makes whoever withholds an update visible (T22)', async () => {
  covers('T22');
  const [unit] = units(1) as [Unit];
  const id = await roll({ devices: [unit.uid] });
  await eventually(async () => (await bench.typesOf(unit.uid)).includes('FirmwareOffered'));
  bench.moveTime(25 * 3_600_000);
  const { rollouts } = bench.field;
  await rollouts.command(id, { type: 'PauseRollout', reason: 'look', by: 'operator:rita' }, 'operator:rita');
  await eventually(async () => (await bench.codesOfAlarms()).includes('UPDATE_STALE'));
  expect(await bench.codesOfAlarms()).toContain('UPDATE_STALE');
});

it('encrypts for the one key of a line: each device boots its own image, and not that of another one (R92, RULE-12)', async () => {
  covers('R92', 'RULE-12');
  const pair = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const point = new Uint8Array(pair.publicKey.export({ type: 'spki', format: 'der' }).subarray(-65));
  const byLine = { scheme: 'line', bits: 128, only: false, uidBound: false, publicKey: toBase64url(point) } as const;
  await changeByTwo(bench.ctx, 'meter', { encryption: byLine });
  const release = await publish(bench.ctx, 'app', '1.9.0', 3);
  const two = units(2);
  const id = await roll({ devices: two.map(({ uid }) => uid) }, release.releaseId);
  await eventually(async () => (await show(id)).counts.offered === 2);
  const [own, other] = await Promise.all(
    two.map(async ({ uid }) => {
      const { job, delivery } = (await bench.field.delivery.prepared(uid)) as PreparedJob;
      return { job, image: concat(delivery.body, delivery.trailer), otpKeyHash: sha256(await appKeyOf(uid)) };
    }),
  );
  const decryption = { curve: 'P-256', privateKey: pair.privateKey } as const;
  const verdict = (image: Uint8Array, otpKeyHash: Uint8Array, how: object = { decryption }) =>
    verifyImage(image, { signature: { algorithm: 'P-256', otpKeyHash }, slotBytes: 1 << 20, ...how });
  expect(own!.job.imageHash).toEqual(other!.job.imageHash);
  for (const { image, otpKeyHash } of [own!, other!]) expect(verdict(image, otpKeyHash)).toMatchObject({ ok: true });
  expect(verdict(other!.image, own!.otpKeyHash)).toMatchObject({ ok: false, reason: 'unknown-signing-key' });
  expect(verdict(own!.image, own!.otpKeyHash, {})).toMatchObject({ ok: false, reason: 'encrypted-but-no-enc-key-configured' });
});

it('has the job that its event fixes, also where an earlier version made the offer', async () => {
  const [unit] = units(1) as [Unit];
  const { releaseId, version, securityCounter, imageHash } = bench.fleet.next;
  const at = '2026-01-02T03:04:05.678Z';
  const data = { offerId: '0a'.repeat(16), releaseId, version, securityCounter, imageHashes: [imageHash] };
  const offered = newEvent('FirmwareOffered', data, { id: bench.ctx.newId(), at, by: 'system:test' });
  await bench.ctx.store.append(`device-${unit.uid}`, 'any', [offered]);
  const { job } = (await bench.field.delivery.prepared(unit.uid)) as PreparedJob;
  expect(job.sequence).toBe(Date.parse(at));
  expect(job.expiresAtSeconds).toBe(Math.floor(Date.parse('2026-02-01T03:04:05.678Z') / 1000));
});

it('has the same image for a machine that comes again: the device goes on where it was (R87, T33)', async () => {
  covers('R87', 'T33');
  const [unit] = units(1) as [Unit];
  const id = await roll({ devices: [unit.uid] });
  await eventually(async () => (await show(id)).counts.offered === 1);
  const first = (await bench.field.delivery.prepared(unit.uid)) as PreparedJob;
  expect(await bench.field.delivery.prepared(unit.uid)).toBe(first);
  await bench.field.rollouts.command(id, { type: 'PauseRollout', reason: 'complaints', by: 'operator:rita' }, 'operator:rita');
  expect(await bench.field.delivery.prepared(unit.uid)).toBeUndefined();
});

it('limits bytes per device and in total', () => {
  const budget = createByteBudget({ deviceBytesPerSecond: 1000, totalBytesPerSecond: 1500, maxWaitMs: 2000 });
  expect(budget.take('a', 1000, 0)).toBe(0);
  expect(budget.take('a', 1000, 0)).toBe(1000);
  expect(budget.take('b', 500, 0)).toBe(667);
  expect(budget.take('a', 2000, 0)).toBeUndefined();
  expect(budget.take('c', 1000, 10_000)).toBe(0);
});

it('has bytes for others that were given back', () => {
  const budget = createByteBudget({ deviceBytesPerSecond: 1000, totalBytesPerSecond: 1500, maxWaitMs: 2000 });
  expect(budget.take('a', 1000, 0)).toBe(0);
  expect(budget.take('a', 1000, 0)).toBe(1000);
  budget.giveBack('a', 1000);
  expect(budget.take('b', 500, 0)).toBe(0);
  expect(budget.take('a', 1000, 0)).toBe(1000);
});
