import { type Closable, repeatedly } from '../../closing.ts';
import { allotmentStream } from '../../domain/allotment.ts';
import { device, deviceStream } from '../../domain/device.ts';
import { requireBoundFirmware } from '../../domain/jobState.ts';
import { NusecError } from '../../errors.ts';
import { historyOf } from '../../eventstore/recorded.ts';
import { jobQueries, type UnitRow } from '../../projections/jobs.ts';
import { areCurrent, type Context, nowIso, stateOf } from '../base/context.ts';
import { allotmentOf } from './allotments.ts';
import { jobOf } from './jobs.ts';
import { opened } from './packages.ts';
import { completeDevice, ownFirmware } from './unitEnd.ts';
import { finishVoid, outcomeOf, voidUnit } from './unitVoid.ts';

/** Process manager of units: voids reservations whose grant has expired (I12), and finishes what a crash left between an allotment and its
 *  device. Any number of them may run: everything they do is idempotent. */

const sweepIntervalMs = 15_000;
const maxUnitsPerSweep = 200;
/** A request in progress finishes by itself. */
const settleAfterMs = 60_000;
const by = 'system:unit-expiry';

/** @returns how many units were voided or settled */
export async function sweepUnits(ctx: Context, stop?: AbortSignal): Promise<number> {
  if (!(await areCurrent(ctx, ['jobs']))) return 0;
  const queries = jobQueries(ctx.reads.db);
  const expired = await queries.expired(nowIso(ctx), maxUnitsPerSweep);
  for (const unit of expired) if (!stop?.aborted) await unlessRefused(ctx, unit, () => expire(ctx, unit));
  const before = new Date(ctx.clock().getTime() - settleAfterMs).toISOString();
  const unsettled = await queries.unsettled(before, maxUnitsPerSweep);
  for (const unit of unsettled) if (!stop?.aborted) await unlessRefused(ctx, unit, () => settle(ctx, unit));
  return expired.length + unsettled.length;
}

async function expire(ctx: Context, { job_id, programmer, grant_id }: UnitRow): Promise<void> {
  const state = opened(await allotmentOf(ctx, job_id, programmer));
  if (outcomeOf(state, grant_id) === undefined)
    await voidUnit(ctx, state, grant_id, { reason: 'grant-expired', otpTouched: 'unknown' }, by);
}

async function settle(ctx: Context, { job_id, programmer, grant_id, uid }: UnitRow): Promise<void> {
  const state = await stateOf(ctx, device, deviceStream(uid));
  if (state.status === 'NONE' || state.grantId !== grant_id) return;
  const outcome = outcomeOf(await allotmentOf(ctx, job_id, programmer), grant_id);
  if (outcome === 'voided') await finishVoid(ctx, state, by);
  if (outcome !== 'committed') return;
  const commits = await historyOf(ctx.store, allotmentStream(job_id, programmer), 'UnitCommitted');
  const committed = commits.findLast(({ data }) => data.grantId === grant_id);
  if (committed === undefined) return;
  const firmware = await ownFirmware(ctx, grant_id, requireBoundFirmware(await jobOf(ctx, job_id), 'app'));
  await completeDevice(ctx, state, grant_id, firmware, committed.data.receiptSha256, by);
}

/** One unit that does not let itself be moved must not stop the others. */
async function unlessRefused(ctx: Context, unit: UnitRow, work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    if (!(error instanceof NusecError)) throw error;
    ctx.log.warn({ uid: unit.uid, grantId: unit.grant_id, code: error.code }, 'a unit could not be settled');
  }
}

/** Sweeps until it is closed. */
export const startUnitExpiry = (ctx: Context): Closable =>
  repeatedly(
    sweepIntervalMs,
    stop => sweepUnits(ctx, stop),
    error => ctx.log.error({ error: String(error) }, 'the sweep of units failed'),
  );
