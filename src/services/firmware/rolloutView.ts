import { definedOf } from '../../defined.ts';
import { isEnded, type PlannedRollout } from '../../domain/rollout.ts';
import type { RolloutPlan } from '../../domain/rolloutPlan.ts';
import type { ErrorCode } from '../../errors.ts';
import { type RolloutDeviceRow, type RolloutPage, type RolloutRow, rolloutQueries } from '../../projections/rollouts.ts';
import { areCurrent, type Context } from '../base/context.ts';
import { plannedDevices, rolloutOf, selectionModels, startedGroups } from './rolloutPlan.ts';
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

/** Devices shown with a rollout when nothing else is asked for; the counts are of all. */
const shownDevices = 500;

type DevicePage = { readonly from?: number | undefined; readonly limit?: number | undefined };

/** The plan, how many devices of each group are how far, and each device of the groups that have started: waiting, offered, started, upgraded (by evidence), retrying, failed or refused with the code. Before
 *  the start, each device that it would be for now: planned. Where the read models do not get on, the devices are those of before.
 *  @throws NusecError NOT_FOUND */
export async function showRollout(
  ctx: Context,
  rollouts: Rollouts,
  rolloutId: string,
  { from = 0, limit = shownDevices }: DevicePage = {},
) {
  const state = await rolloutOf(ctx, rolloutId);
  await areCurrent(ctx, ['rollouts']);
  const queries = rolloutQueries(ctx.reads.db);
  const [row, offered] = await Promise.all([queries.byId(rolloutId), queries.devicesOf(rolloutId)]);
  // It runs a moment before its first group begins: nobody is told that it has no devices. And what was decided is said, though its devices are not known.
  const isToCome = state.started.length === 0 && !isEnded(state);
  const isPlanned = isToCome && (await areCurrent(ctx, selectionModels));
  const progress = isPlanned ? await planned(ctx, state) : await underway(ctx, state, offered, rollouts.refusals(rolloutId));
  const counts: Record<string, number> = {};
  const groupCounts: Record<string, number>[] = state.groups.map(() => ({}));
  for (const { status, group } of progress) for (const one of [counts, groupCounts[group - 1] ?? {}]) one[status] = (one[status] ?? 0) + 1;
  const devices = isPlanned ? { devices: progress.length } : {};
  const end = from + limit;
  const next = end < progress.length ? { next: String(end) } : {};
  return {
    ...ownView(state),
    ...devices,
    reason: row?.reason ?? null,
    plan: planOf(state),
    counts,
    groupCounts,
    progress: progress.slice(from, end),
    ...next,
  };
}

type Shown = { readonly uid: string; readonly status: string; readonly reason: string | null; readonly group: number };

async function planned(ctx: Context, state: PlannedRollout): Promise<readonly Shown[]> {
  const groups = await plannedDevices(ctx, state);
  return groups.flatMap((uids, group) => uids.map(uid => ({ uid, status: 'planned', reason: null, group: group + 1 })));
}

async function underway(
  ctx: Context,
  state: PlannedRollout,
  offered: readonly RolloutDeviceRow[],
  refused: ReadonlyMap<string, ErrorCode>,
): Promise<readonly Shown[]> {
  const attempts = Map.groupBy(offered, ({ uid }) => uid);
  const isOpen = state.status === 'RUNNING' || state.status === 'PAUSED';
  const groups = await startedGroups(ctx, state);
  const members = groups.flatMap((uids, index) => uids.map(uid => ({ uid, group: index + 1 })));
  return members.map(({ uid, group }) => {
    const rows = attempts.get(uid) ?? [];
    const known = rows.at(-1);
    const code = refused.get(uid);
    if (known === undefined) return { uid, status: code === undefined ? 'waiting' : 'refused', reason: code ?? null, group };
    const isRetried = isOpen && known.status === 'failed' && rows.length <= (state.retries?.count ?? 0);
    return { uid, status: isRetried ? 'retrying' : known.status, reason: known.reason, group };
  });
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

const planFields = [
  'groups',
  'thresholds',
  'selector',
  'fromRelease',
  'windows',
  'ratePerMinute',
  'ramp',
  'retries',
  'lateJoiners',
  'deadline',
  'timeLimits',
  'securityUpdate',
  'permitDowngrade',
  'permitCounterJump',
] as const satisfies readonly (keyof RolloutPlan)[];

/** What was planned. */
const planOf = (state: PlannedRollout): Record<string, unknown> =>
  definedOf(Object.fromEntries(planFields.map(name => [name, state[name]])));
