import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { alarmQueries } from '../../../src/projections/alarms.ts';
import { createAlarms } from '../../../src/services/base/alarms.ts';
import { livingDevice } from '../../../src/services/base/livingDevice.ts';
import { quarantineDevice, releaseDevice, tagDevice } from '../../../src/services/field/devices.ts';
import { publishRelease, withdrawRelease } from '../../../src/services/firmware/releases.ts';
import { offerIdOf, planRollout, type RolloutWish, rolloutOf } from '../../../src/services/firmware/rolloutPlan.ts';
import { startRollouts } from '../../../src/services/firmware/rollouts.ts';
import { showRollout } from '../../../src/services/firmware/rolloutView.ts';
import { eventually, publish, type Unit } from '../../gateway/fieldKit.ts';
import { codeOf } from '../../pki/support.ts';
import { covers } from '../../support/covers.ts';
import { type FieldBench, openField } from '../field/fieldBench.ts';

/** How a rollout ends: what stops it stops its deliveries too, no device is left in the middle, and every group has a verdict. */

let bench: FieldBench;
let used = 0;
const units = (count: number): Unit[] => {
  used += count;
  return bench.fleet.units.slice(used - count, used);
};
const dayMs = 86_400_000;

beforeAll(async () => {
  bench = await openField(78);
});
afterAll(() => bench.close());

async function roll(wish: Omit<RolloutWish, 'releaseId'>, releaseId = bench.fleet.next.releaseId): Promise<string> {
  const id = await planRollout(bench.ctx, { releaseId, ...wish }, 'operator:rita');
  await bench.field.rollouts.command(id, { type: 'ApproveRollout', by: 'operator:rolf' }, 'operator:rolf');
  await bench.field.rollouts.command(id, { type: 'StartRollout', by: 'operator:rita' }, 'operator:rita');
  return id;
}
const statusOf = async (id: string): Promise<string> => (await rolloutOf(bench.ctx, id)).status;
const show = (id: string) => showRollout(bench.ctx, bench.field.rollouts, id);
const stateOf = (unit: Unit) => livingDevice(bench.ctx, unit.uid);
const command = (id: string, type: 'AbortRollout' | 'PauseRollout') =>
  bench.field.rollouts.command(id, { type, reason: 'complaints', by: 'operator:rita' }, 'operator:rita');
const report = (unit: Unit, id: string, status: 'downloading' | 'written' | 'testing' | 'failed') =>
  bench.field.delivery.reportStatus(unit.uid, offerIdOf(id, unit.uid), status, undefined);
const block = (unit: Unit, id: string) => codeOf(async () => bench.field.delivery.block(unit.uid, offerIdOf(id, unit.uid), 0, 16_384));
const hello = (unit: Unit) => {
  const { version, securityCounter, imageHash } = unit.firmware;
  return bench.field.hello(unit.uid, { version, securityCounter, imageHash, imageState: 'confirmed', objId: unit.objId }, 'mqtt');
};
const upgrade = async (unit: Unit, firmware = bench.fleet.next): Promise<void> => {
  unit.firmware = firmware;
  await hello(unit);
};
const offered = (unit: Unit) => eventually(async () => (await stateOf(unit)).offer !== undefined);
const reasonOf = async (unit: Unit, type: string) =>
  (await bench.ctx.store.readStream(`device-${unit.uid}`)).findLast(event => event.type === type)?.data.reason;

describe('what stops a rollout or a device', () => {
  it.each([
    ['the rollout is aborted', (id: string) => command(id, 'AbortRollout'), 'rollout-aborted', 'ABORTED'],
    [
      'the release is withdrawn',
      async (id: string) => withdrawRelease(bench.ctx, (await rolloutOf(bench.ctx, id)).releaseId, 'bug', 'operator:rita'),
      'release-withdrawn',
      'HALTED',
    ],
    [
      'the device is quarantined',
      (_: string, unit: Unit) => quarantineDevice(bench.ctx, unit.uid, 'odd', 'operator:olga'),
      'quarantined',
      'HALTED',
    ],
    [
      'the device is ordered to wipe itself',
      (_: string, unit: Unit) => bench.field.decommissions.decommission(unit.uid, 'old', 'operator:olga'),
      'decommission',
      'HALTED',
    ],
  ] as const)(
    'ends a download under way when %s: no block, the device is told, the upgrade is cancelled',
    async (_, stop, reason, ended) => {
      covers('R95');
      const [unit] = units(1) as [Unit];
      const device = bench.plugIn(unit);
      const release = await publish(bench.ctx, 'app', `1.2.${used}`, 3);
      const id = await roll({ devices: [unit.uid] }, release.releaseId);
      await eventually(() => device.jobs.length > 0);
      await report(unit, id, 'downloading');
      expect(await block(unit, id)).toHaveLength(2);
      await stop(id, unit);
      expect(await codeOf(() => bench.field.delivery.requireStanding(unit.uid, offerIdOf(id, unit.uid)))).toBe('STATE');
      await eventually(async () => (await reasonOf(unit, 'UpgradeCancelled')) === reason);
      await eventually(async () => (await block(unit, id)) === 'STATE');
      await eventually(() => device.cancelled.includes(offerIdOf(id, unit.uid)));
      expect((await stateOf(unit)).status).not.toBe('UPGRADING');
      await eventually(async () => (await statusOf(id)) === ended);
      expect(await codeOf(() => report(unit, id, 'written'))).toBe('DEVICE_STATE');
    },
  );

  it('lets a device wait while its rollout is paused, without taking its upgrade away', async () => {
    const [unit] = units(1) as [Unit];
    const device = bench.plugIn(unit);
    const id = await roll({ devices: [unit.uid] });
    await eventually(() => device.jobs.length > 0);
    await command(id, 'PauseRollout');
    await eventually(async () => (await block(unit, id)) === 'STATE');
    expect(device.jobs.at(-1)).toEqual(new Uint8Array());
    expect(device.cancelled).toEqual([]);
    expect((await stateOf(unit)).offer?.offerId).toBe(offerIdOf(id, unit.uid));
  });

  it('frees the devices it had begun: they take part in later rollouts', async () => {
    const [unit, other] = units(2) as [Unit, Unit];
    for (const one of [unit, other]) bench.plugIn(one);
    const first = await roll({ devices: [unit.uid, other.uid], maxFailures: 0 });
    await offered(unit);
    await offered(other);
    await report(unit, first, 'downloading');
    await report(other, first, 'failed');
    await eventually(async () => (await statusOf(first)) === 'HALTED');
    await eventually(async () => (await reasonOf(unit, 'UpgradeCancelled')) === 'rollout-halted');
    const next = await roll({ devices: [unit.uid] });
    await offered(unit);
    await upgrade(unit);
    await eventually(async () => (await statusOf(next)) === 'COMPLETED');
  });

  it('still records what the device proves: evidence outweighs a cancelled upgrade', async () => {
    const [unit] = units(1) as [Unit];
    bench.plugIn(unit);
    const id = await roll({ devices: [unit.uid] });
    await offered(unit);
    await report(unit, id, 'testing');
    await command(id, 'AbortRollout');
    await eventually(async () => (await reasonOf(unit, 'UpgradeCancelled')) === 'rollout-aborted');
    await upgrade(unit);
    await eventually(async () => (await stateOf(unit)).firmware?.version === '1.1.0');
    expect(await statusOf(id)).toBe('ABORTED');
  });
});

describe('a delivery', () => {
  it('comes though any one message of the dialogue is lost, and though nothing is answered for a while', async () => {
    const some = units(14);
    const devices = some.map((unit, index) => {
      const device = bench.plugIn(unit);
      device.loses = index === 13 ? count => count < 3 : count => count === index;
      return device;
    });
    let jobsLost = 0;
    devices[0]!.loses = (_, family) => family === 'job' && jobsLost++ === 0;
    await roll({ devices: some.map(({ uid }) => uid) });
    for (const device of devices) await eventually(() => device.jobs.length > 0);
  });

  it('comes though any one answer of the device is lost', async () => {
    const some = units(12);
    const devices = some.map((unit, index) => {
      const device = bench.plugIn(unit);
      let answers = 0;
      device.manners.spdmReplies = reply => (answers++ === index ? [] : [reply]);
      return device;
    });
    await roll({ devices: some.map(({ uid }) => uid) });
    for (const device of devices) await eventually(() => device.jobs.length > 0);
  });

  it('ends with the proof though any one report of the device is lost, or all of them', async () => {
    const phases = ['downloading', 'written', 'testing'] as const;
    const some = units(4);
    for (const unit of some) bench.plugIn(unit);
    const id = await roll({ devices: some.map(({ uid }) => uid) });
    for (const [lost, unit] of some.entries()) {
      await offered(unit);
      for (const [i, phase] of phases.entries()) if (i !== lost && lost < phases.length) await report(unit, id, phase);
      await upgrade(unit);
    }
    await eventually(async () => (await statusOf(id)) === 'COMPLETED');
    expect((await show(id)).counts).toEqual({ upgraded: 4 });
  });
});

describe('a device that is silent', () => {
  it.each([
    ['offered', undefined, 31, 'expired'],
    ['downloading', 'downloading', 8, 'timeout-downloading'],
    ['written', 'written', 2, 'timeout-written'],
    ['testing', 'testing', 2, 'timeout-testing'],
  ] as const)('does not stay %s for ever', async (_, phase, days, reason) => {
    const [unit] = units(1) as [Unit];
    const id = await roll({ devices: [unit.uid] });
    await offered(unit);
    if (phase !== undefined) await report(unit, id, phase);
    bench.moveTime(days * dayMs);
    await command(id, 'PauseRollout');
    await eventually(async () => (await statusOf(id)) === 'HALTED');
    expect(await reasonOf(unit, 'UpgradeFailed')).toBe(reason);
    expect((await stateOf(unit)).status).toBe('STOCK');
  });

  it('has the time limits that its rollout names', async () => {
    const [unit] = units(1) as [Unit];
    const id = await roll({ devices: [unit.uid], timeLimits: { downloading: 30 } });
    await offered(unit);
    await report(unit, id, 'downloading');
    bench.moveTime(31 * 60_000);
    await command(id, 'PauseRollout');
    await eventually(async () => (await reasonOf(unit, 'UpgradeFailed')) === 'timeout-downloading');
  });
});

describe('a verdict', () => {
  it('comes when no outcome can change it: one of six has failed, 90 % is out of reach', async () => {
    const some = units(6);
    for (const unit of some) bench.plugIn(unit);
    const id = await roll({ devices: some.map(({ uid }) => uid) });
    for (const unit of some) await offered(unit);
    await report(some[0]!, id, 'failed');
    await eventually(async () => (await statusOf(id)) === 'HALTED');
    await eventually(async () => (await show(id)).counts.cancelled === 5);
    expect(await show(id)).toMatchObject({ reason: 'the group can no longer reach 90 %', counts: { failed: 1 } });
  });

  it.each([
    ['quarantined', ({ uid }: Unit) => quarantineDevice(bench.ctx, uid, 'odd', 'operator:olga')],
    ['ordered to wipe itself', ({ uid }: Unit) => bench.field.decommissions.decommission(uid, 'old', 'operator:olga')],
    ['decommissioned', ({ uid }: Unit) => bench.field.decommissions.decommission(uid, 'lost', 'operator:olga', true)],
  ] as const)('does not wait for a device that is %s', async (_, takeOut) => {
    const [unit, other] = units(2) as [Unit, Unit];
    bench.plugIn(other);
    const id = await roll({ devices: [unit.uid, other.uid] });
    await offered(unit);
    await offered(other);
    await takeOut(unit);
    await upgrade(other);
    await eventually(async () => (await statusOf(id)) === 'COMPLETED');
    expect(await show(id)).toMatchObject({ counts: { upgraded: 1, cancelled: 1 } });
  });

  it('counts a device again that has come back, and offers it the release once more', async () => {
    const [unit, other] = units(2) as [Unit, Unit];
    const id = await roll({ devices: [unit.uid, other.uid] });
    await offered(unit);
    await quarantineDevice(bench.ctx, unit.uid, 'odd', 'operator:olga');
    await eventually(async () => (await show(id)).counts.cancelled === 1);
    await releaseDevice(bench.ctx, unit.uid, 'fine', 'operator:olga');
    await eventually(async () => (await stateOf(unit)).offer?.offerId === offerIdOf(id, unit.uid, 1));
    expect(await show(id)).toMatchObject({ counts: { offered: 2 } });
  });

  it('comes with the deadline at the latest', async () => {
    const [unit] = units(1) as [Unit];
    const deadline = new Date(bench.ctx.clock().getTime() + 3_600_000).toISOString();
    const id = await roll({ devices: [unit.uid], deadline });
    await offered(unit);
    bench.moveTime(3_601_000);
    await eventually(async () => (await statusOf(id)) === 'HALTED');
    expect((await show(id)).reason).toBe('the deadline has passed');
    await eventually(async () => (await reasonOf(unit, 'UpgradeCancelled')) === 'rollout-halted');
  });
});

describe('two rollouts for one device', () => {
  it('end with the better release, and the loser does not wait for the device', async () => {
    const [unit] = units(1) as [Unit];
    bench.plugIn(unit);
    const [older, newer] = [await publish(bench.ctx, 'app', '1.7.0', 3), await publish(bench.ctx, 'app', '1.8.0', 3)];
    const first = await roll({ devices: [unit.uid] }, older.releaseId);
    await offered(unit);
    const second = await roll({ devices: [unit.uid] }, newer.releaseId);
    await eventually(async () => (await statusOf(first)) === 'HALTED');
    expect(await show(first)).toMatchObject({ progress: [{ status: 'cancelled', reason: 'superseded' }] });
    await upgrade(unit, newer);
    await eventually(async () => (await statusOf(second)) === 'COMPLETED');
  });

  it('never bring an older release in place of a newer one', async () => {
    const [unit] = units(1) as [Unit];
    const [older, newer] = [await publish(bench.ctx, 'app', '1.7.1', 3), await publish(bench.ctx, 'app', '1.8.1', 3)];
    await roll({ devices: [unit.uid] }, newer.releaseId);
    await offered(unit);
    const late = await roll({ devices: [unit.uid] }, older.releaseId);
    await eventually(async () => (await statusOf(late)) === 'HALTED');
    expect(await show(late)).toMatchObject({ progress: [{ status: 'refused', reason: 'SUPERSEDED' }] });
    expect((await stateOf(unit)).offer?.version).toBe('1.8.1');
  });

  it('of the same release both end with one piece of evidence', async () => {
    const [unit] = units(1) as [Unit];
    bench.plugIn(unit);
    const first = await roll({ devices: [unit.uid] });
    await offered(unit);
    const second = await roll({ devices: [unit.uid] });
    await eventually(async () => (await show(second)).progress[0]?.reason === 'OFFER_STANDS');
    await upgrade(unit);
    for (const id of [first, second]) await eventually(async () => (await statusOf(id)) === 'COMPLETED');
  });
});

it('raises an alarm when it is halted, which is over when somebody has done something about it', async () => {
  const devices = units(2);
  const [unit, other] = devices as [Unit, Unit];
  const halted = async (some: readonly Unit[], releaseId?: string): Promise<string> => {
    const id = await roll({ devices: some.map(({ uid }) => uid), maxFailures: 0 }, releaseId);
    await offered(unit);
    await report(unit, id, 'failed');
    await eventually(async () => (await statusOf(id)) === 'HALTED');
    return id;
  };
  const noteOf = async (id: string) => {
    const cases = { code: 'RolloutHalted', subject: `rollout-${id}`, limit: 1, now: '2026' };
    const [raised] = await alarmQueries(bench.ctx.reads.db).cases(cases);
    return raised?.acknowledged_by === 'system:alarms' ? raised.note : undefined;
  };
  for (const one of devices) bench.plugIn(one);
  const [larger, smaller] = [await halted(devices), await halted([unit])];
  const next = await roll({ devices: [unit.uid] });
  await offered(unit);
  await upgrade(unit);
  await eventually(async () => (await statusOf(next)) === 'COMPLETED');
  await eventually(async () => (await noteOf(smaller)) === `rollout ${next} has brought as many devices to their release`);
  expect(await noteOf(larger)).toBeUndefined();
  await command(larger, 'AbortRollout');
  await eventually(async () => (await noteOf(larger)) === 'the rollout is ABORTED');

  const doomed = await publish(bench.ctx, 'app', '1.3.2', 3);
  const faulty = await halted([unit], doomed.releaseId);
  await withdrawRelease(bench.ctx, doomed.releaseId, 'bug', 'operator:rita');
  await eventually(async () => (await noteOf(faulty)) === 'its release is withdrawn');
  expect((await stateOf(other)).offer).toBeUndefined();
});

it('is rolled out no further once its release is withdrawn, though it is only planned', async () => {
  const [unit] = units(1) as [Unit];
  const doomed = await publish(bench.ctx, 'app', '1.3.1', 3);
  const id = await planRollout(bench.ctx, { releaseId: doomed.releaseId, devices: [unit.uid] }, 'operator:rita');
  await withdrawRelease(bench.ctx, doomed.releaseId, 'bug', 'operator:rita');
  await eventually(async () => (await statusOf(id)) === 'HALTED');
  expect(await codeOf(() => publishRelease(bench.ctx, doomed.releaseId, 'operator:rita'))).toBe('RELEASE_STATE');
});

it('is refused when it is planned for a device that nobody knows', async () => {
  const [unit] = units(1) as [Unit];
  const wish = { releaseId: bench.fleet.next.releaseId, devices: [unit.uid, '00'.repeat(16)] };
  expect(await codeOf(() => planRollout(bench.ctx, wish, 'operator:rita'))).toBe('NOT_FOUND');
});

it('offers no faster than its plan says', async () => {
  const some = units(3);
  const id = await roll({ devices: some.map(({ uid }) => uid), ratePerMinute: 2 });
  await eventually(async () => (await show(id)).counts.offered === 2);
  expect((await show(id)).counts).toEqual({ offered: 2, waiting: 1 });
  bench.moveTime(61_000);
  await eventually(async () => (await show(id)).counts.offered === 3);
});

it('offers no faster than its plan says, whoever makes the offers, retries among them', async () => {
  covers('R95');
  const some = units(6);
  const pace = { ratePerMinute: 2, retries: { count: 1, afterMinutes: 1 } };
  const id = await roll({ devices: some.map(({ uid }) => uid), ...pace, successPercent: 10, failurePercent: 90 });
  const offers = async (): Promise<readonly number[]> => {
    const streams = await Promise.all(some.map(({ uid }) => bench.ctx.store.readStream(`device-${uid}`)));
    const own = streams.flat().filter(({ type, data }) => type === 'FirmwareOffered' && data.rolloutId === id);
    return own.map(({ at }) => Date.parse(at)).sort((one, other) => one - other);
  };
  await eventually(async () => (await offers()).length === 2);
  const failing = (await Promise.all(some.map(async unit => ({ unit, offer: (await stateOf(unit)).offer })))).find(({ offer }) => offer);
  await report(failing?.unit as Unit, id, 'failed');
  // Another process: it reads the devices in another order than the one that has seen the failure.
  const care = { note: () => undefined };
  const images = { hashesOn: async (_: string, known: { readonly imageHash: string }) => [known.imageHash] };
  const other = await startRollouts({ ctx: bench.ctx, alarms: createAlarms(bench.ctx), care, images });
  try {
    for (let made = 4; made <= 6; made += 2) {
      bench.moveTime(62_000);
      await eventually(async () => (await offers()).length >= made);
      // Both have looked again by then.
      await sleep(1500);
    }
    const all = await offers();
    for (const first of all) expect(all.filter(at => at >= first && at < first + 60_000).length).toBeLessThanOrEqual(2);
  } finally {
    await other.close();
  }
});

it('offers an older version at the same counter only with the permit of planner and approver', async () => {
  const [unit] = units(1) as [Unit];
  const older = await publish(bench.ctx, 'app', '0.9.0', 2);
  expect(await codeOf(() => roll({ devices: [unit.uid] }, older.releaseId))).toBe('DOWNGRADE');
  await tagDevice(bench.ctx, unit.uid, ['back'], [], 'operator:rita');
  const refused = await roll({ selector: { tags: ['back'] } }, older.releaseId);
  await eventually(async () => (await statusOf(refused)) === 'HALTED');
  expect((await show(refused)).progress).toEqual([{ uid: unit.uid, group: 1, status: 'refused', reason: 'DOWNGRADE' }]);
  bench.plugIn(unit);
  const id = await roll({ devices: [unit.uid], permitDowngrade: true }, older.releaseId);
  await eventually(async () => (await stateOf(unit)).offer?.version === '0.9.0');
  await upgrade(unit, older);
  await eventually(async () => (await statusOf(id)) === 'COMPLETED');
  expect(await stateOf(unit)).toMatchObject({ status: 'IN_SERVICE', firmware: { version: '0.9.0' } });
});

it('brings a device over the releases that it has slept through only with the permit of planner and approver', async () => {
  const [unit] = units(1) as [Unit];
  for (const counter of [10, 20]) await publish(bench.ctx, 'app', `3.${counter}.0`, counter);
  const newest = await publish(bench.ctx, 'app', '3.30.0', 30);
  const refused = await roll({ devices: [unit.uid] }, newest.releaseId);
  await eventually(async () => (await statusOf(refused)) === 'HALTED');
  expect((await show(refused)).progress).toEqual([{ uid: unit.uid, group: 1, status: 'refused', reason: 'COUNTER_JUMP' }]);
  await roll({ devices: [unit.uid], permitCounterJump: true }, newest.releaseId);
  await eventually(async () => (await stateOf(unit)).offer?.version === '3.30.0');
});
