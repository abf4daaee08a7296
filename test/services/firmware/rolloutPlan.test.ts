import { afterAll, beforeAll, expect, it } from 'vitest';
import { NusecError } from '../../../src/errors.ts';
import { verifyJob } from '../../../src/ota/otaJob.ts';
import { parseCertificate } from '../../../src/pki/parse.ts';
import { signingKeysOf, verifyTrustBundle } from '../../../src/production/trustBundle.ts';
import { authorityOf } from '../../../src/services/authority/authority.ts';
import { currentTrustBundle } from '../../../src/services/authority/trustBundle.ts';
import { livingDevice } from '../../../src/services/base/livingDevice.ts';
import { listDevices, tagDevice } from '../../../src/services/field/devices.ts';
import { attachDevice, registerGateway } from '../../../src/services/field/gateways.ts';
import { offerIdOf, planRollout, type RolloutWish, rolloutOf } from '../../../src/services/firmware/rolloutPlan.ts';
import { showRollout } from '../../../src/services/firmware/rolloutView.ts';
import { build, eventually, publish, type Unit } from '../../gateway/fieldKit.ts';
import { codeOf } from '../../pki/support.ts';
import { covers } from '../../support/covers.ts';
import { type FieldBench, openField } from '../field/fieldBench.ts';

/** What a plan can name: devices by what they are, groups, windows, pace, retries, devices that come later, a permit. */

let bench: FieldBench;
const by = 'operator:rita';
const minuteMs = 60_000;
beforeAll(async () => {
  bench = await openField(8);
  const { ctx, fleet } = bench;
  for (const unit of fleet.units.slice(0, 3)) await tagDevice(ctx, unit.uid, ['pilot'], [], by);
  await registerGateway(ctx, '11'.repeat(16), 'hall 3', by);
  for (const unit of fleet.units.slice(2, 4)) await attachDevice(ctx, bench.field.attachments, '11'.repeat(16), unit.uid, by);
});
afterAll(() => bench.close());

const plan = (wish: Omit<RolloutWish, 'releaseId'>, releaseId = bench.fleet.next.releaseId) =>
  planRollout(bench.ctx, { releaseId, ...wish }, by);
async function start(id: string): Promise<string> {
  await bench.field.rollouts.command(id, { type: 'ApproveRollout', by: 'operator:rolf' }, 'operator:rolf');
  await bench.field.rollouts.command(id, { type: 'StartRollout', by }, by);
  return id;
}
const show = (id: string) => showRollout(bench.ctx, bench.field.rollouts, id);
const uidsOf = (...indexes: readonly number[]) => indexes.map(index => bench.fleet.units[index]?.uid).toSorted();
const abort = (id: string) => bench.field.rollouts.command(id, { type: 'AbortRollout', reason: 'enough', by }, by);

/** From two hours to four hours ahead: nothing is offered yet. */
function laterWindow() {
  const hour = (ahead: number) => new Date(bench.ctx.clock().getTime() + ahead * 3_600_000).toISOString().slice(11, 16);
  return { days: undefined, from: hour(2), to: hour(4), timeZone: 'UTC' };
}

it('shows which devices it would be for before it starts, by selectors and in groups', async () => {
  const preview = async (wish: Omit<RolloutWish, 'releaseId'>) => {
    const { progress, counts, devices, status } = await show(await plan(wish));
    expect(status).toBe('PLANNED');
    expect(counts).toEqual(devices === 0 ? {} : { planned: devices });
    return progress;
  };
  const uidsIn = async (wish: Omit<RolloutWish, 'releaseId'>) => (await preview(wish)).map(({ uid }) => uid).toSorted();
  expect(await uidsIn({ selector: { tags: ['pilot'] } })).toEqual(uidsOf(0, 1, 2));
  expect(await uidsIn({ selector: { gateways: ['11'.repeat(16)] } })).toEqual(uidsOf(2, 3));
  expect(await uidsIn({ selector: { tags: ['pilot'], gateways: ['11'.repeat(16)] } })).toEqual(uidsOf(2));
  expect(await uidsIn({ selector: { versions: ['9.9.9'] } })).toEqual([]);
  expect(await uidsIn({ selector: { versions: ['1.0.0'], statuses: ['STOCK'] } })).toHaveLength(8);
  expect(await uidsIn({ selector: { sites: ['nowhere'] } })).toEqual([]);
  const groups = await preview({ groups: [{ tags: ['pilot'] }, 100] });
  expect(
    groups
      .filter(({ group }) => group === 1)
      .map(({ uid }) => uid)
      .toSorted(),
  ).toEqual(uidsOf(0, 1, 2));
  expect(groups.filter(({ group }) => group === 2)).toHaveLength(5);
  expect(await listDevices(bench.ctx, { tag: 'pilot', limit: 10 })).toHaveLength(3);
});

it('shows them also between its start and that of its first group; and what was decided, though the devices are not known', async () => {
  const { ctx, field } = bench;
  const id = await plan({ selector: { tags: ['pilot'] }, windows: [laterWindow()] });
  const stalled = () => Promise.reject(new NusecError('PROJECTION_BEHIND', 'the read model is behind'));
  const behind = { ...ctx, reads: { ...ctx.reads, waitFor: stalled } };
  expect(await showRollout(behind, field.rollouts, id)).toMatchObject({ status: 'PLANNED', devices: 0 });
  await start(id);
  const seen = async (): Promise<number> => {
    const view = await show(id);
    expect([view.status, view.devices, view.progress.length]).toEqual(['RUNNING', 3, 3]);
    return view.startedGroups;
  };
  await seen();
  await eventually(async () => (await seen()) > 0);
  await abort(id);
});

it('takes devices from one side only, and refuses selectors that name nothing', async () => {
  expect(await codeOf(() => plan({ devices: uidsOf(0) as string[], selector: { tags: ['pilot'] } }))).toBe('BAD_REQUEST');
  expect(await codeOf(() => plan({ selector: {} }))).toBe('BAD_REQUEST');
  expect(await codeOf(() => plan({ lateJoiners: true }))).toBe('BAD_REQUEST');
});

it('refuses a deadline that has passed: nobody plans an end before the beginning', async () => {
  const at = (aheadMs: number) => new Date(bench.ctx.clock().getTime() + aheadMs).toISOString();
  expect(await codeOf(() => plan({ deadline: at(-minuteMs) }))).toBe('BAD_REQUEST');
  await plan({ deadline: at(minuteMs) });
});

it('begins within its window only, and delivers within it only', async () => {
  const unit = bench.fleet.units[0] as Unit;
  const device = bench.plugIn(unit);
  const id = await start(await plan({ devices: [unit.uid], windows: [laterWindow()] }));
  await eventually(async () => (await rolloutOf(bench.ctx, id)).started.length === 1);
  expect(await bench.typesOf(unit.uid)).not.toContain('FirmwareOffered');
  bench.moveTime(3 * 3_600_000);
  await bench.restart();
  await eventually(async () => (await bench.typesOf(unit.uid)).includes('FirmwareOffered'));
  await eventually(() => device.jobs.length > 0);
  bench.moveTime(2 * 3_600_000);
  bench.field.delivery.forget(unit.uid);
  await bench.field.delivery.deliver(unit.uid, 1);
  expect(device.jobs.at(-1)).toHaveLength(0);
  await abort(id);
});

it('offers it again to a device that has failed, after a pause, as often as it says', async () => {
  const unit = bench.fleet.units[1] as Unit;
  const id = await start(await plan({ devices: [unit.uid], retries: { count: 1, afterMinutes: 10 }, failurePercent: 100 }));
  const fail = async (attempt: number) => {
    await eventually(async () => (await livingDevice(bench.ctx, unit.uid)).offer?.offerId === offerIdOf(id, unit.uid, attempt));
    await bench.field.delivery.reportStatus(unit.uid, offerIdOf(id, unit.uid, attempt), 'failed', 'power-cut');
  };
  await fail(0);
  await eventually(async () => (await show(id)).counts.retrying === 1);
  expect((await show(id)).status).toBe('RUNNING');
  bench.moveTime(11 * minuteMs);
  await bench.restart();
  await fail(1);
  await eventually(async () => (await show(id)).status === 'HALTED');
  expect((await show(id)).counts).toEqual({ failed: 1 });
});

it('lets devices join that come later, and ends at its deadline', async () => {
  const { ctx, fleet } = bench;
  const deadline = new Date(ctx.clock().getTime() + 60 * minuteMs).toISOString();
  const wish = { selector: { tags: ['late'] }, lateJoiners: true, deadline };
  const [first, second] = [fleet.units[4] as Unit, fleet.units[5] as Unit];
  await tagDevice(ctx, first.uid, ['late'], [], by);
  const id = await start(await plan(wish));
  await eventually(async () => (await show(id)).counts.offered === 1);
  await tagDevice(ctx, second.uid, ['late'], [], by);
  await eventually(async () => (await show(id)).counts.offered === 2);
  const built = await build(ctx, fleet.bl2, fleet.app);
  await tagDevice(ctx, built.uid, ['late'], [], by);
  await eventually(async () => (await show(id)).devices === 3);
  for (const unit of [first, second, built]) {
    bench.plugIn(unit);
    unit.firmware = fleet.next;
    const { version, securityCounter, imageHash } = fleet.next;
    await bench.field.hello(unit.uid, { version, securityCounter, imageHash, imageState: 'confirmed', objId: unit.objId }, 'mqtt');
  }
  await eventually(async () => (await show(id)).counts.upgraded === 3);
  expect((await show(id)).status).toBe('RUNNING');
  bench.moveTime(61 * minuteMs);
  await bench.restart();
  await eventually(async () => (await show(id)).status === 'COMPLETED');
});

it('waits for devices that come later where nobody is there yet, and passes over an empty group before them', async () => {
  const { ctx, fleet } = bench;
  const deadline = new Date(ctx.clock().getTime() + 60 * minuteMs).toISOString();
  const groups = [{ tags: ['nobody'] }, { tags: ['to-come'] }];
  const id = await start(await plan({ groups, lateJoiners: true, deadline }));
  await eventually(async () => (await rolloutOf(ctx, id)).passed === 1);
  expect((await show(id)).status).toBe('RUNNING');
  await tagDevice(ctx, (fleet.units[7] as Unit).uid, ['to-come'], [], by);
  await eventually(async () => (await show(id)).counts.offered === 1);
});

it('permits an older version to the device too: the signed job names both approvers (T12, I16)', async () => {
  covers('T12', 'I16');
  const { ctx, fleet } = bench;
  const unit = fleet.units[6] as Unit;
  const device = bench.plugIn(unit);
  const older = await publish(ctx, 'app', '0.8.0', 2);
  await start(await plan({ devices: [unit.uid], permitDowngrade: true }, older.releaseId));
  await eventually(() => (device.jobs.at(-1)?.length ?? 0) > 0);
  const bundle = await verifyTrustBundle(await currentTrustBundle(ctx, await authorityOf(ctx)), parseCertificate(unit.root).spki);
  const { job } = await verifyJob(device.jobs.at(-1) as Uint8Array, signingKeysOf(bundle, 'otaJob'));
  expect(job.downgradeApprovers).toEqual([by, 'operator:rolf']);
});
