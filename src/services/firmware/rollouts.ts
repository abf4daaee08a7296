import { setTimeout as sleep } from 'node:timers/promises';
import { counted } from '../../counted.ts';
import type { Actor } from '../../domain/actor.ts';
import { device, deviceStream } from '../../domain/device.ts';
import type { CancelReason } from '../../domain/deviceEvents.ts';
import type { EventType } from '../../domain/events.ts';
import { release, releaseStream } from '../../domain/release.ts';
import { isEnded, type PlannedRollout, type RolloutCommand, rollout, rolloutStream } from '../../domain/rollout.ts';
import { isWindowOpen } from '../../domain/rolloutPace.ts';
import { isPast } from '../../domain/rules.ts';
import { type ErrorCode, NusecError } from '../../errors.ts';
import type { Recorded } from '../../eventstore/recorded.ts';
import { rolloutQueries } from '../../projections/rollouts.ts';
import { dayMs } from '../../times.ts';
import type { Alarms } from '../base/alarms.ts';
import {
  always,
  type Condition,
  type Context,
  execute,
  executeIf,
  isFarBehind,
  nowIso,
  reader,
  stateOf,
  whileStarting,
} from '../base/context.ts';
import type { DeliveryCare } from './deliveryCare.ts';
import { lineIn } from './lines.ts';
import type { OtaImages } from './otaImage.ts';
import { dueMsOf, lateMsOf, limitNameOf } from './rolloutDue.ts';
import { offerToAll } from './rolloutOffers.ts';
import { devicesOfGroup, readDevices, rolloutOf, writeDevices } from './rolloutPlan.ts';
import { createRolloutProgress, type Member, type RolloutProgress } from './rolloutProgress.ts';

/** Carries rollouts out: starts a group, offers the release to each of its devices by the one offer decision, watches health and time limits, halts
 *  or starts the next group, and ends what a rollout has begun when it ends. Driven by the events and by a timer; it keeps nothing that the events
 *  do not contain. Delivery is not its matter (otaDelivery.ts, deliveryCare.ts). */

export type Rollouts = {
  /** Steps of people: approve, start, pause, resume, abort. @param condition of an approver @throws NusecError of the rollout's decider */
  command(rolloutId: string, command: RolloutCommand, by: Actor, condition?: Condition): Promise<PlannedRollout>;
  /** Why devices of a rollout got no offer. */
  refusals(rolloutId: string): ReadonlyMap<string, ErrorCode>;
  close(): Promise<void>;
};

export type RolloutParts = {
  readonly ctx: Context;
  readonly alarms: Alarms;
  readonly care: Pick<DeliveryCare, 'note'>;
  readonly images: Pick<OtaImages, 'hashesOn'>;
};

export type RolloutTimes = {
  /** Between two looks at one rollout. */
  readonly pauseMs: number;
  /** The same while the rate of the plan holds offers back. */
  readonly limitedPauseMs: number;
  readonly timerMs: number;
  /** Between two looks at whether a deadline or a time limit has come. */
  readonly dueLookMs: number;
  /** An offer without success for this long is an alarm (T22). */
  readonly staleMs: number;
};
const defaultRolloutTimes: RolloutTimes = { pauseMs: 100, limitedPauseMs: 1000, timerMs: 30_000, dueLookMs: 500, staleMs: dayMs };

const by = 'system:rollouts';

type Followed = {
  /** Undefined until it was read for the first time; what happens meanwhile waits in `missed`. */
  progress: RolloutProgress | undefined;
  missed: Recorded[];
  /** Devices that the last alarm was about. */
  stale: number;
  /** It has ended, and so has everything it began: only its own events matter. */
  done: boolean;
  /** Lists of devices that the progress is about. */
  lists: string;
  /** Whether devices may join, and some may have come. */
  lateJoiners: boolean;
  joins: boolean;
  isLimited: boolean;
  /** Whether devices may not begin now. */
  isClosed: boolean;
  /** When the next look has something to do, without an event; ms since 1970. */
  dueMs: number;
  again: boolean;
  busy: Promise<void> | undefined;
};

/** Rollouts that are remembered; beyond it one that has ended is forgotten. */
const maxFollowed = 1000;
/** Decisions about devices in parallel. */
const maxAtOnce = 64;

export async function startRollouts(parts: RolloutParts, times: RolloutTimes = defaultRolloutTimes): Promise<Rollouts> {
  const { ctx } = parts;
  const followed = new Map<string, Followed>();
  let closed = false;

  const follow = (rolloutId: string): Followed => {
    const fresh = {
      progress: undefined,
      missed: [],
      stale: 0,
      done: false,
      lists: '',
      lateJoiners: false,
      joins: true,
      isLimited: false,
      isClosed: false,
      dueMs: Number.POSITIVE_INFINITY,
      again: false,
      busy: undefined,
    };
    const known = followed.get(rolloutId) ?? fresh;
    followed.set(rolloutId, known);
    if (followed.size > maxFollowed) followed.delete([...followed].find(([, { done }]) => done)?.[0] ?? '');
    return known;
  };
  /** One look at a time; what happens meanwhile is seen by the next one. */
  const wake = (rolloutId: string): void => {
    const mine = follow(rolloutId);
    mine.again = true;
    mine.busy ??= (async () => {
      while (mine.again && !closed) {
        mine.again = false;
        await advance(parts, times, rolloutId, mine).catch(error =>
          ctx.log.warn({ rolloutId, error: (error as Error).message }, 'rollout: tried again later'),
        );
        await sleep(mine.isLimited ? times.limitedPauseMs : times.pauseMs, undefined, { ref: false });
      }
      mine.busy = undefined;
    })();
  };
  const wakeAll = (): void => {
    for (const [rolloutId, { done }] of followed) if (!done) wake(rolloutId);
  };
  const wakeDue = (): void => {
    const nowMs = ctx.clock().getTime();
    for (const [rolloutId, { done, dueMs }] of followed) if (!done && dueMs <= nowMs) wake(rolloutId);
  };
  const tellDevice = (event: Recorded): void => {
    for (const [rolloutId, mine] of followed) {
      if (mine.done) continue;
      if (mine.progress === undefined) mine.missed.push(event);
      else if (mine.progress.apply(event)) wake(rolloutId);
      if (mine.lateJoiners && mayJoin.has(event.type)) {
        mine.joins = true;
        wake(rolloutId);
      }
    }
  };
  const start = await ctx.store.head();
  const begin = async (): Promise<void> => {
    await ctx.reads.waitFor(start, { projections: ['rollouts'], patient: true });
    for (const rolloutId of await rolloutQueries(ctx.reads.db).unfinished()) wake(rolloutId);
  };
  const handle = (events: readonly Recorded[]): void => {
    for (const event of events) {
      const { stream, type } = event;
      if (stream.startsWith('device-')) tellDevice(event);
      if (type === 'ReleaseWithdrawn' || type === 'RollbackFloorRaised') wakeAll();
      if (!stream.startsWith(streamPrefix)) continue;
      const rolloutId = stream.slice(streamPrefix.length);
      if (type === 'RolloutResumed') takeUpAgain(parts, followed.get(rolloutId)?.progress);
      follow(rolloutId).done = false;
      wake(rolloutId);
    }
  };
  const follower = ctx.followers.follow('rollouts', start, handle, { begin });
  await whileStarting(follower.begun, isFarBehind(ctx, 'rollouts'));
  const timers = [setInterval(wakeAll, times.timerMs), setInterval(wakeDue, times.dueLookMs)];
  for (const timer of timers) timer.unref();
  return {
    async command(rolloutId, command, who, condition = always) {
      await executeIf(ctx, condition, rollout, rolloutStream(rolloutId), command, who);
      return rolloutOf(ctx, rolloutId);
    },
    refusals: rolloutId => followed.get(rolloutId)?.progress?.refusals() ?? new Map(),
    async close() {
      closed = true;
      for (const timer of timers) clearInterval(timer);
      await follower.close();
      await Promise.all([...followed.values()].map(({ busy }) => busy));
    },
  };
}

const streamPrefix = 'rollout-';

async function advance(parts: RolloutParts, times: RolloutTimes, rolloutId: string, mine: Followed): Promise<void> {
  const { ctx } = parts;
  const before = await rolloutOf(ctx, rolloutId);
  let progress = await progressOf(parts, before, mine);
  await endFromOutside(ctx, before, progress);
  await startNextGroup(ctx, await rolloutOf(ctx, rolloutId), progress);
  if (mine.joins) await letJoin(ctx, await rolloutOf(ctx, rolloutId), progress, mine);
  const state = await rolloutOf(ctx, rolloutId);
  // A group that another process has started may be under way already: read again where its devices are.
  if (listsOf(state) !== mine.lists) mine.progress = undefined;
  if (mine.progress === undefined) progress = await progressOf(parts, state, mine);
  if (state.status === 'HALTED' || state.status === 'ABORTED') await cancelAll(ctx, state, progress);
  // One look at the clock: what begins, what is told again and when to look next agree.
  const isOpen = isWindowOpen(state.windows, nowIso(ctx));
  if (state.status === 'RUNNING') {
    // Offers from before get their jobs now.
    if (mine.isClosed && isOpen) parts.care.note(standing(progress));
    mine.isClosed = !isOpen;
    mine.isLimited = isOpen && (await offerToAll(parts, state, progress)).isLimited;
    if (mine.isLimited) mine.again = true;
  }
  await watchLag(parts, times, state, { progress, mine });
  mine.done = isEnded(state) && progress.underway().size === 0;
  mine.dueMs = dueMsOf(state, progress, { isOpen, nowMs: ctx.clock().getTime() });
  if (!['RUNNING', 'PAUSED'].includes(state.status) || state.started.length === 0) return;
  const health = { ...healthOf(state, progress), underway: progress.openCount() };
  const { events } = await execute(ctx, rollout, rolloutStream(rolloutId), { type: 'RecordGroupHealth', ...health }, by);
  if (events.length > 0) mine.again = true;
}

/** The group whose verdict is to come; after the last one has passed, the last one. */
function healthOf({ passed, groups }: PlannedRollout, progress: RolloutProgress) {
  const group = Math.min(passed, groups.length - 1);
  const { out, ...health } = progress.health(group);
  return { group, ...health, ...(out > 0 && { out }) };
}

/** Reads where the devices are. What has happened since is applied after it. */
async function progressOf({ ctx, care }: RolloutParts, state: PlannedRollout, mine: Followed): Promise<RolloutProgress> {
  if (mine.progress !== undefined) return mine.progress;
  // What has happened until now is in the read model.
  mine.missed = [];
  mine.lists = listsOf(state);
  mine.lateJoiners = state.lateJoiners === true;
  const progress = createRolloutProgress(state.rolloutId, state.retries);
  for (const { group, devicesSha256 } of state.started) progress.addGroup(group, await readDevices(ctx, devicesSha256));
  if (state.started.length > 0) {
    await ctx.reads.waitFor(await ctx.store.head(), { projections: ['rollouts'] });
    for (const row of await rolloutQueries(ctx.reads.db).devicesOf(state.rolloutId)) progress.addRow(row);
  }
  mine.progress = progress;
  for (const event of mine.missed.splice(0)) progress.apply(event);
  care.note(standing(progress));
  return progress;
}

const standing = (progress: RolloutProgress): readonly string[] => [...progress.underway()].map(({ uid }) => uid);

function takeUpAgain({ care }: RolloutParts, progress: RolloutProgress | undefined): void {
  progress?.reconsiderAll();
  if (progress !== undefined) care.note(standing(progress));
}

/** A withdrawn release, or one below the floor, is rolled out no further, and a deadline ends whatever has no end by then. */
async function endFromOutside(ctx: Context, state: PlannedRollout, progress: RolloutProgress): Promise<void> {
  if (isEnded(state)) return;
  const stream = rolloutStream(state.rolloutId);
  const health = healthOf(state, progress);
  if (state.deadline !== undefined && isPast(state.deadline, nowIso(ctx)))
    await execute(ctx, rollout, stream, { type: 'ReachDeadline', now: nowIso(ctx), by, ...health }, by);
  else {
    const reason = await unfitReason(ctx, state);
    if (reason !== undefined) await execute(ctx, rollout, stream, { type: 'HaltRollout', reason, ...health }, by);
  }
}

/** Why no device of the line may get the release any more. What has begun ends device by device with a refusal that names the counter (T12). */
async function unfitReason(ctx: Context, { releaseId, line: name, started }: PlannedRollout): Promise<string | undefined> {
  const read = reader(ctx);
  const candidate = await read(release, releaseStream(releaseId));
  if (candidate.status === 'NONE') return undefined;
  if (candidate.status === 'WITHDRAWN') return 'the release is withdrawn';
  if (started.length > 0) return undefined;
  const { rollbackFloor } = await lineIn(read, name);
  return candidate.securityCounter < rollbackFloor ? `the floor of the line has risen to ${rollbackFloor}, above the release` : undefined;
}

const isWithdrawn = async (ctx: Context, { releaseId }: PlannedRollout): Promise<boolean> =>
  (await stateOf(ctx, release, releaseStream(releaseId))).status === 'WITHDRAWN';

async function startNextGroup(ctx: Context, state: PlannedRollout, progress: RolloutProgress): Promise<void> {
  const group = state.started.length;
  if (state.status !== 'RUNNING' || state.passed < group || group >= state.groups.length) return;
  const uids = await devicesOfGroup(ctx, state, group);
  const stream = rolloutStream(state.rolloutId);
  if (uids.length === 0) {
    if (progress.openCount() > 0 || isWaiting(state)) return;
    const reason = `no device is left for ${state.groups[group]?.name}`;
    const isSkipped = await hasLaterDevices(ctx, state, group);
    const next = isSkipped
      ? ({ type: 'SkipGroup', group, devicesSha256: await writeDevices(ctx, []) } as const)
      : ({ type: 'EndWithoutGroup', group, reason } as const);
    await execute(ctx, rollout, stream, next, by);
    return;
  }
  const devicesSha256 = await writeDevices(ctx, uids);
  await execute(ctx, rollout, stream, { type: 'StartGroup', group, deviceCount: uids.length, devicesSha256 }, by);
}

/** The last group begins when somebody comes, until the deadline. */
const isWaiting = ({ lateJoiners, started, groups }: PlannedRollout): boolean =>
  lateJoiners === true && started.length === groups.length - 1;

/** Whether an empty group is passed over: a later one has devices, or may get some. The first one tests the release. */
async function hasLaterDevices(ctx: Context, state: PlannedRollout, group: number): Promise<boolean> {
  if (state.lateJoiners === true) return true;
  const later = group === 0 ? [] : state.groups.map((_, index) => index).filter(index => index > group);
  for (const index of later) if ((await devicesOfGroup(ctx, state, index)).length > 0) return true;
  return false;
}

/** What may bring a device into the selection of a rollout. */
const mayJoin: ReadonlySet<EventType> = new Set(['ProvisioningCompleted', 'DevicePutInService', 'DeviceReturnedToService', 'DeviceTagged']);

/** Names of the lists of devices that have begun. */
const listsOf = ({ started }: PlannedRollout): string => started.map(({ devicesSha256 }) => devicesSha256).join();

/** Devices that fit since the last group has started become part of it. */
async function letJoin(ctx: Context, state: PlannedRollout, progress: RolloutProgress, mine: Followed): Promise<void> {
  const group = state.groups.length - 1;
  const last = state.started[group];
  if (state.status !== 'RUNNING' || state.lateJoiners !== true || last === undefined) return;
  mine.joins = false;
  const before = await readDevices(ctx, last.devicesSha256);
  const fresh = (await devicesOfGroup(ctx, state, group)).filter(uid => !progress.has(uid));
  if (fresh.length === 0) return;
  const uids = [...before, ...fresh];
  const devicesSha256 = await writeDevices(ctx, uids);
  await execute(ctx, rollout, rolloutStream(state.rolloutId), { type: 'JoinDevices', group, deviceCount: uids.length, devicesSha256 }, by);
}

/** What a rollout began ends with it. */
async function cancelAll(ctx: Context, state: PlannedRollout, progress: RolloutProgress): Promise<void> {
  const reason: CancelReason = (await isWithdrawn(ctx, state))
    ? 'release-withdrawn'
    : state.status === 'ABORTED'
      ? 'rollout-aborted'
      : 'rollout-halted';
  await atOnce(maxAtOnce, [...progress.underway()], ({ uid, offerId = '' }) =>
    execute(ctx, device, deviceStream(uid), { type: 'CancelUpgrade', offerId, reason }, by),
  );
}

/** T22: withholding an update becomes visible, and no device stays in one state permanently. */
async function watchLag(
  { ctx, alarms }: RolloutParts,
  times: RolloutTimes,
  state: PlannedRollout,
  { progress, mine }: { readonly progress: RolloutProgress; readonly mine: Followed },
): Promise<void> {
  const now = ctx.clock().getTime();
  const open = [...progress.underway()];
  const stale = open.filter(({ offeredMs }) => now - offeredMs >= times.staleMs);
  if (stale.length > mine.stale) {
    const detail = `the upgrade is not taken by ${counted(stale.length, 'device')}, ${stale[0]?.uid} among them`;
    await alarms.raise({ code: 'UPDATE_STALE', subject: rolloutStream(state.rolloutId), detail }, 'daily');
  }
  mine.stale = stale.length;
  const late = open.filter(member => now >= lateMsOf(state, member));
  await atOnce(maxAtOnce, late, member => giveUp(ctx, member));
}

async function giveUp(ctx: Context, { uid, offerId = '', status }: Member): Promise<void> {
  const reason = status === 'offered' ? 'expired' : `timeout-${limitNameOf(status)}`;
  try {
    await execute(ctx, device, deviceStream(uid), { type: 'FailUpgrade', offerId, reason }, by);
  } catch (error) {
    // It has got its end meanwhile, and the event of it is on its way here.
    if (!(error instanceof NusecError) || error.code !== 'DEVICE_STATE') throw error;
  }
}

async function atOnce<Item>(limit: number, items: readonly Item[], work: (item: Item) => Promise<unknown>): Promise<void> {
  const queue = [...items];
  const run = async (): Promise<void> => {
    for (let item = queue.pop(); item !== undefined; item = queue.pop()) await work(item);
  };
  await Promise.all(Array.from({ length: Math.min(limit, items.length) }, run));
}
