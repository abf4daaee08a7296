import { afterAll, beforeAll, expect, it } from 'vitest';
import { alarmQueries } from '../../../src/projections/alarms.ts';
import { livingDevice } from '../../../src/services/base/livingDevice.ts';
import { listDevices } from '../../../src/services/field/devices.ts';
import { withdrawRelease } from '../../../src/services/firmware/releases.ts';
import { planRollout, rolloutOf } from '../../../src/services/firmware/rolloutPlan.ts';
import { eventually, publish } from '../../gateway/fieldKit.ts';
import { codeOf } from '../../pki/support.ts';
import { type FieldBench, openField } from '../field/fieldBench.ts';

/** Withdrawing a release that devices run is a recall. */

let bench: FieldBench;
beforeAll(async () => {
  bench = await openField(3);
});
afterAll(() => bench.close());

it('lists the devices that run a withdrawn release, raises an alarm, and takes them away from it', async () => {
  const { ctx, fleet, field } = bench;
  const { releaseId, imageHash, version } = fleet.app;
  for (const filter of [{ releaseId }, { imageHash }, { version }]) {
    expect(await listDevices(ctx, { ...filter, limit: 10 })).toHaveLength(3);
  }
  expect(await listDevices(ctx, { releaseId: fleet.next.releaseId, limit: 10 })).toEqual([]);
  await withdrawRelease(ctx, releaseId, 'CVE-2026-1', 'operator:rita');
  await eventually(async () => (await bench.codesOfAlarms()).includes('RELEASE_RECALLED'));
  const wish = { releaseId: fleet.next.releaseId, fromRelease: releaseId, securityUpdate: true };
  const id = await planRollout(ctx, wish, 'operator:rita');
  await field.rollouts.command(id, { type: 'ApproveRollout', by: 'operator:rolf' }, 'operator:rolf');
  await field.rollouts.command(id, { type: 'StartRollout', by: 'operator:rita' }, 'operator:rita');
  await eventually(async () => (await rolloutOf(ctx, id)).started[0]?.deviceCount === 3);
  const recall = async () => (await alarmQueries(ctx.reads.db).cases({ code: 'RELEASE_RECALLED', limit: 2, now: '2026' }))[0];
  expect((await recall())?.acknowledged_by).toBeNull();
  for (const unit of fleet.units) {
    bench.plugIn(unit);
    await eventually(async () => (await livingDevice(ctx, unit.uid)).offer !== undefined);
    unit.firmware = fleet.next;
    const said = { version: fleet.next.version, securityCounter: fleet.next.securityCounter, imageHash: fleet.next.imageHash };
    await field.hello(unit.uid, { ...said, imageState: 'confirmed', objId: unit.objId }, 'mqtt');
  }
  await eventually(async () => (await rolloutOf(ctx, id)).status === 'COMPLETED');
  await eventually(async () => (await recall())?.acknowledged_by === 'system:alarms');
});

it('asks nothing of devices that run another release', async () => {
  const { ctx, fleet, field } = bench;
  const plan = (fromRelease: string) => planRollout(ctx, { releaseId: fleet.next.releaseId, fromRelease }, 'operator:rita');
  const id = await plan((await publish(ctx, 'app', '1.0.5', 2)).releaseId);
  await field.rollouts.command(id, { type: 'ApproveRollout', by: 'operator:rolf' }, 'operator:rolf');
  await field.rollouts.command(id, { type: 'StartRollout', by: 'operator:rita' }, 'operator:rita');
  await eventually(async () => (await rolloutOf(ctx, id)).status === 'HALTED');
  expect(await codeOf(() => plan(fleet.next.releaseId))).toBe('BAD_REQUEST');
});

it('goes back to an older version with a permit, and to a lower counter never', async () => {
  const { ctx, fleet } = bench;
  const [better, before, worse] = [await publish(ctx, 'app', '2.1.0', 4), await publish(ctx, 'app', '2.0.0', 4), fleet.next];
  const recall = (releaseId: string, permitDowngrade?: boolean) =>
    codeOf(() => planRollout(ctx, { releaseId, fromRelease: better.releaseId, permitDowngrade }, 'operator:rita'));
  expect(await recall(before.releaseId)).toBe('DOWNGRADE');
  expect(await recall(before.releaseId, true)).toHaveLength(32);
  expect(await recall(worse.releaseId, true)).toBe('ROLLBACK');
});
