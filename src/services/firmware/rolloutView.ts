import type { PlannedRollout } from '../../domain/rollout.ts';
import { type RolloutPage, type RolloutRow, rolloutQueries } from '../../projections/rollouts.ts';
import { areCurrent, type Context } from '../base/context.ts';
import { readDevices, rolloutOf } from './rolloutPlan.ts';
import type { Rollouts } from './rollouts.ts';

/** Rollouts as people see them. */

const toView = (row: RolloutRow) => ({
  rolloutId: row.rollout_id,
  releaseId: row.release_id,
  line: row.line,
  status: row.status,
  plannedBy: row.planned_by,
  groups: row.groups,
  startedGroups: row.started_groups,
  passedGroups: row.passed_groups,
  devices: row.devices,
  reason: row.reason,
});

export async function listRollouts(ctx: Context, page: RolloutPage) {
  await ctx.reads.waitFor(await ctx.store.head(), { projections: ['rollouts'] });
  return (await rolloutQueries(ctx.reads.db).page(page)).map(toView);
}

/** Devices shown with a rollout; the counts are of all. */
const maxShown = 500;

/** Each device of the groups that have started: waiting, offered, started, upgraded (by evidence), failed or refused with the code.
 *  Where the read models do not get on, the devices are those of before.
 *  @throws NusecError NOT_FOUND */
export async function showRollout(ctx: Context, rollouts: Rollouts, rolloutId: string) {
  const state = await rolloutOf(ctx, rolloutId);
  await areCurrent(ctx, ['rollouts']);
  const queries = rolloutQueries(ctx.reads.db);
  const [row, offered] = await Promise.all([queries.byId(rolloutId), queries.devicesOf(rolloutId)]);
  const rows = new Map(offered.map(device => [device.uid, device]));
  const refused = rollouts.refusals(rolloutId);
  const uids = (await Promise.all(state.started.map(({ devicesSha256 }) => readDevices(ctx, devicesSha256)))).flat();
  const progress = uids.map(uid => {
    const known = rows.get(uid);
    if (known !== undefined) return { uid, status: known.status, reason: known.reason };
    const code = refused.get(uid);
    return { uid, status: code === undefined ? 'waiting' : 'refused', reason: code ?? null };
  });
  const counts: Record<string, number> = {};
  for (const { status } of progress) counts[status] = (counts[status] ?? 0) + 1;
  return { ...ownView(state), reason: row?.reason ?? null, counts, progress: progress.slice(0, maxShown) };
}

/** From the rollout's own events, so that it shows what was just decided however far the read models are. */
const ownView = (state: PlannedRollout) => ({
  rolloutId: state.rolloutId,
  releaseId: state.releaseId,
  line: state.line,
  status: state.status,
  plannedBy: state.plannedBy,
  groups: state.groups.length,
  startedGroups: state.started.length,
  passedGroups: state.passed,
  devices: state.started.reduce((sum, { deviceCount }) => sum + deviceCount, 0),
});
