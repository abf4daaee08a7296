import { randomBytes } from 'node:crypto';
import { device, deviceStream } from '../src/domain/device.ts';
import type { DeviceEvent } from '../src/domain/deviceEvents.ts';
import { newEvent } from '../src/eventstore/recorded.ts';
import { type Context, execute, nowIso } from '../src/services/base/context.ts';
import { offerIdOf, planRollout, rolloutOf } from '../src/services/firmware/rolloutPlan.ts';
import { type FieldBench, openField } from '../test/services/field/fieldBench.ts';
import type { Report } from './parts/measure.ts';

/** Rollouts with simulated devices: how long the start takes (every device has its offer), beside the bare appends of as many events; and the CPU time of
 *  one FirmwareUpgraded of the rollout, beside the same commands for devices that no rollout follows. The groups have 100 devices, 1 000, and 10 000 where
 *  NUSEC_BENCH_LARGE is set. */

const sizes = process.env.NUSEC_BENCH_LARGE === undefined ? [100, 1000] : [100, 1000, 10_000];
const atOnce = 64;
/** Devices whose upgrade is measured. */
const measured = 100;
/** A server that does nothing takes less of a processor than this, looked at for so long. */
const idleShare = 0.05;
const idleLookMs = 500;
const by = 'system:bench';

export async function run(report: Report): Promise<void> {
  for (const size of sizes) {
    const bench = await openField(1);
    try {
      await measure(bench, size, report);
    } finally {
      await bench.close();
    }
  }
}

async function measure(bench: FieldBench, size: number, report: Report): Promise<void> {
  const { ctx, fleet, field } = bench;
  const uids = await seed(bench, size);
  const others = await seed(bench, measured);
  const plan = { releaseId: fleet.next.releaseId, devices: undefined, selector: { tags: ['bench'] }, successPercent: 100 };
  for (const uid of uids) await append(ctx, uid, [{ type: 'DeviceTagged', data: { tags: ['bench'], by } }]);
  const rolloutId = await planRollout(ctx, plan, 'operator:rita');
  await field.rollouts.command(rolloutId, { type: 'ApproveRollout', by: 'operator:rolf' }, 'operator:rolf');
  const appends = await timed(() => each(uids, uid => append(ctx, `x${uid}`, [minted(uid)])));
  const start = await timed(async () => {
    await field.rollouts.command(rolloutId, { type: 'StartRollout', by: 'operator:rita' }, 'operator:rita');
    await until(async () => (await offered(ctx, rolloutId)) >= size);
  });
  report({ figure: `start of ${size} devices`, value: start, unit: 's', bound: appends, boundWhat: 's for as many bare appends' });

  await idle();
  const some = uids.slice(0, measured);
  const followed = await cpuMs(() => each(some, uid => upgrade(ctx, uid, offerIdOf(rolloutId, uid), fleet.next)), settle(ctx));
  for (const uid of others) await append(ctx, uid, [offer('b0'.repeat(16), fleet.next)]);
  const bare = await cpuMs(() => each(others, uid => upgrade(ctx, uid, 'b0'.repeat(16), fleet.next)), settle(ctx));
  const count = some.length;
  report({
    figure: `FirmwareUpgraded in a group of ${size}`,
    value: followed / count,
    unit: 'ms CPU',
    bound: bare / count,
    boundWhat: 'ms CPU without a rollout',
  });
}

type Release = FieldBench['fleet']['next'];
const settle = (ctx: Context) => async () => ctx.reads.waitFor(await ctx.store.head());

async function upgrade(ctx: Context, uid: string, offerId: string, { imageHash }: Release): Promise<void> {
  const stream = deviceStream(uid);
  await execute(ctx, device, stream, { type: 'StartUpgrade', offerId }, by);
  await execute(ctx, device, stream, { type: 'RecordUpgrade', offerId, evidenceSha256: 'e', imageHash }, by);
}

const minted = (uid: string): DeviceEvent => ({
  type: 'DeviceMinted',
  data: { uid, objId: uid, generation: 1, line: 'meter', jobId: '0b'.repeat(16), programmer: 'cc'.repeat(16), grantId: uid },
});
const offer = (offerId: string, { releaseId, version, securityCounter, imageHash }: Release): DeviceEvent => ({
  type: 'FirmwareOffered',
  data: { offerId, releaseId, version, securityCounter, imageHashes: [imageHash] },
});

/** Devices in stock, by the events that matter here. */
async function seed({ ctx, fleet }: FieldBench, count: number): Promise<readonly string[]> {
  const { releaseId, version, securityCounter, imageHash } = fleet.app;
  const facts = { releaseId, version, securityCounter, imageHash };
  const uids = Array.from({ length: count }, () => randomBytes(16).toString('hex'));
  await each(uids, uid =>
    append(ctx, uid, [
      minted(uid),
      { type: 'FirmwareInstalled', data: { ...facts, receiptSha256: 'r' } },
      { type: 'ProvisioningCompleted', data: { grantId: uid, receiptSha256: 'r' } },
    ]),
  );
  await settle(ctx)();
  return uids;
}

async function append(ctx: Context, uid: string, events: readonly DeviceEvent[]): Promise<void> {
  const made = events.map(({ type, data }) => newEvent(type, data as never, { id: ctx.newId(), at: nowIso(ctx), by }));
  await ctx.store.append(deviceStream(uid), 'any', made);
}

async function offered(ctx: Context, rolloutId: string): Promise<number> {
  const { started } = await rolloutOf(ctx, rolloutId);
  if (started.length === 0) return 0;
  await ctx.reads.waitFor(await ctx.store.head(), { projections: ['rollouts'] });
  const { count } = await ctx.reads.db
    .selectFrom('rollout_devices')
    .select(({ fn }) => fn.countAll<number>().as('count'))
    .where('rollout_id', '=', rolloutId)
    .executeTakeFirstOrThrow();
  return count;
}

async function each<Item>(items: readonly Item[], work: (item: Item) => Promise<unknown>): Promise<void> {
  const queue = [...items];
  const one = async (): Promise<void> => {
    for (let item = queue.pop(); item !== undefined; item = queue.pop()) await work(item);
  };
  await Promise.all(Array.from({ length: atOnce }, one));
}

/** Until threads and read models have done what the start has left to them: some tenths of a second of CPU for 10 000 devices, which are no upgrade's. */
async function idle(): Promise<void> {
  await until(async () => {
    const before = process.cpuUsage();
    await new Promise(resolve => setTimeout(resolve, idleLookMs));
    const { user, system } = process.cpuUsage(before);
    return (user + system) / 1000 < idleLookMs * idleShare;
  });
}

async function until(isSo: () => Promise<boolean>): Promise<void> {
  while (!(await isSo())) await new Promise(resolve => setTimeout(resolve, 20));
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const startMs = performance.now();
  await work();
  return (performance.now() - startMs) / 1000;
}

/** With what followers and read models do after it. */
async function cpuMs(work: () => Promise<unknown>, settled: () => Promise<unknown>): Promise<number> {
  const before = process.cpuUsage();
  await work();
  await settled();
  await new Promise(resolve => setTimeout(resolve, 1000));
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1000;
}
