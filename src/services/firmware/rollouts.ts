import { setTimeout as sleep } from 'node:timers/promises';
import type { Actor } from '../../domain/actor.ts';
import { device, deviceStream } from '../../domain/device.ts';
import type { EventType } from '../../domain/events.ts';
import { line, lineStream } from '../../domain/line.ts';
import { imageHashesOf, release, releaseStream } from '../../domain/release.ts';
import { type PlannedRollout, type RolloutCommand, rollout, rolloutStream } from '../../domain/rollout.ts';
import { type ErrorCode, NusecError } from '../../errors.ts';
import type { Read } from '../../eventstore/handle.ts';
import type { Recorded } from '../../eventstore/recorded.ts';
import { type RolloutDeviceRow, rolloutQueries } from '../../projections/rollouts.ts';
import { dayMs } from '../../times.ts';
import type { Alarms } from '../base/alarms.ts';
import { always, type Condition, type Context, execute, executeIf, executeOn, whileStarting } from '../base/context.ts';
import { livingDevice } from '../base/livingDevice.ts';
import type { OtaDelivery } from './otaDelivery.ts';
import { otaJobLifetimeDays } from './otaImage.ts';
import { releaseOf } from './releases.ts';
import { devicesOfGroup, offerIdOf, readDevices, rolloutOf, writeDevices } from './rolloutPlan.ts';

/** The process that carries rollouts out: starts a group, offers the release to each of its devices by the one offer decision, watches health, halts
 *  or goes on. It is driven by the events and by a timer, and keeps nothing that the events do not say. */

export type Rollouts = {
  /** Steps of people: approve, start, pause, resume, abort. @param condition of an approver @throws NusecError of the rollout's decider */
  command(rolloutId: string, command: RolloutCommand, by: Actor, condition?: Condition): Promise<PlannedRollout>;
  /** Why devices of a rollout got no offer. */
  refusals(rolloutId: string): ReadonlyMap<string, ErrorCode>;
  close(): Promise<void>;
};

export type RolloutParts = { readonly ctx: Context; readonly alarms: Alarms; readonly delivery: OtaDelivery };

export type RolloutTimes = {
  /** Between two looks at one rollout. */
  readonly pauseMs: number;
  readonly timerMs: number;
  /** An offer without success for this long is an alarm (T22). */
  readonly staleMs: number;
};
const defaultRolloutTimes: RolloutTimes = { pauseMs: 100, timerMs: 30_000, staleMs: dayMs };

const by = 'system:rollouts';
const wakingTypes: ReadonlySet<EventType> = new Set(['UpgradeFailed', 'FirmwareUpgraded']);

type Followed = {
  /** Told that there is a job for them, since the start or the last pause. */
  readonly pushed: Set<string>;
  readonly refusals: Map<string, ErrorCode>;
  /** Devices that the last alarm was about. */
  stale: number;
  /** It has ended: only its own events matter. */
  done: boolean;
  again: boolean;
  busy: Promise<void> | undefined;
};

/** Rollouts whose refusals are remembered; beyond it one that has ended is forgotten. */
const maxFollowed = 1000;

export async function startRollouts(parts: RolloutParts, times: RolloutTimes = defaultRolloutTimes): Promise<Rollouts> {
  const { ctx } = parts;
  const followed = new Map<string, Followed>();
  let closed = false;

  const follow = (rolloutId: string): Followed => {
    const fresh = {
      pushed: new Set<string>(),
      refusals: new Map<string, ErrorCode>(),
      stale: 0,
      done: false,
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
        await sleep(times.pauseMs, undefined, { ref: false });
      }
      mine.busy = undefined;
    })();
  };
  const wakeAll = (): void => {
    for (const [rolloutId, { done }] of followed) if (!done) wake(rolloutId);
  };
  const start = ctx.store.head();
  const begin = async (): Promise<void> => {
    await ctx.reads.waitFor(start, { projections: ['rollouts'], patient: true });
    for (const rolloutId of await rolloutQueries(ctx.reads.db).running()) wake(rolloutId);
  };
  const handle = (events: readonly Recorded[]): void => {
    if (events.some(({ type }) => wakingTypes.has(type))) wakeAll();
    for (const { stream, type } of events) {
      if (!stream.startsWith(streamPrefix)) continue;
      const rolloutId = stream.slice(streamPrefix.length);
      if (type === 'RolloutResumed') follow(rolloutId).pushed.clear();
      wake(rolloutId);
    }
  };
  const follower = ctx.followers.follow('rollouts', start, handle, { begin });
  await whileStarting(follower.begun);
  const timer = setInterval(wakeAll, times.timerMs);
  timer.unref();
  return {
    async command(rolloutId, command, who, condition = always) {
      await executeIf(ctx, condition, rollout, rolloutStream(rolloutId), command, who);
      return rolloutOf(ctx, rolloutId);
    },
    refusals: rolloutId => followed.get(rolloutId)?.refusals ?? new Map(),
    async close() {
      closed = true;
      clearInterval(timer);
      await follower.close();
      await Promise.all([...followed.values()].map(({ busy }) => busy));
    },
  };
}

const streamPrefix = 'rollout-';

async function advance(parts: RolloutParts, times: RolloutTimes, rolloutId: string, mine: Followed): Promise<void> {
  const { ctx } = parts;
  await startNextGroup(ctx, await rolloutOf(ctx, rolloutId));
  const state = await rolloutOf(ctx, rolloutId);
  mine.done = !['PLANNED', 'APPROVED', 'RUNNING', 'PAUSED'].includes(state.status);
  const group = state.passed;
  const started = state.started[group];
  if (started === undefined || !['RUNNING', 'PAUSED'].includes(state.status)) return;
  const uids = await readDevices(ctx, started.devicesSha256);
  if (state.status === 'RUNNING') await offerTo(parts, state, uids, mine);
  const rows = await progress(ctx, rolloutId);
  await watchLag(parts, times, uids, rows, { rolloutId, mine });
  const health = healthOf(uids, rows, mine.refusals);
  if (health.succeeded + health.failed === 0) return;
  const { events } = await execute(ctx, rollout, rolloutStream(rolloutId), { type: 'RecordGroupHealth', group, ...health }, by);
  if (events.length > 0) mine.again = true;
}

async function startNextGroup(ctx: Context, state: PlannedRollout): Promise<void> {
  const group = state.started.length;
  if (state.status !== 'RUNNING' || state.passed < group || group >= state.groups.length) return;
  const uids = await devicesOfGroup(ctx, state, group);
  const stream = rolloutStream(state.rolloutId);
  if (uids.length === 0) {
    const reason = `no device is left for ${state.groups[group]?.name}`;
    await execute(ctx, rollout, stream, { type: 'PauseRollout', reason, by }, by);
    return;
  }
  const devicesSha256 = await writeDevices(ctx, uids);
  await execute(ctx, rollout, stream, { type: 'StartGroup', group, deviceCount: uids.length, devicesSha256 }, by);
}

type Progress = ReadonlyMap<string, RolloutDeviceRow>;

async function progress(ctx: Context, rolloutId: string): Promise<Progress> {
  await ctx.reads.waitFor(ctx.store.head(), { projections: ['rollouts'] });
  return new Map((await rolloutQueries(ctx.reads.db).devicesOf(rolloutId)).map(row => [row.uid, row]));
}

/** Offers to whoever has none yet, and tells the connected ones once. */
async function offerTo(parts: RolloutParts, state: PlannedRollout, uids: readonly string[], mine: Followed): Promise<void> {
  const rows = await progress(parts.ctx, state.rolloutId);
  for (const uid of uids) {
    const row = rows.get(uid);
    const isOffered = row !== undefined || (await offer(parts.ctx, state, uid, mine.refusals));
    if (!isOffered || mine.pushed.has(uid) || row?.status === 'upgraded' || row?.status === 'failed') continue;
    mine.pushed.add(uid);
    parts.delivery
      .deliver(uid)
      .catch(error => parts.ctx.log.info({ uid, error: (error as Error).message }, 'the job was not delivered; the device will ask'));
  }
}

/** @returns whether the offer stands; a refusal is remembered with its code, one for the counter is an event (RULE-11, T12) */
async function offer(ctx: Context, state: PlannedRollout, uid: string, refusals: Map<string, ErrorCode>): Promise<boolean> {
  const { releaseId } = state;
  try {
    const target = await livingDevice(ctx, uid);
    await executeOn(ctx, device, deviceStream(uid), read => offerCommand(read, state, uid, target.line), by);
    refusals.delete(uid);
    return true;
  } catch (error) {
    if (!(error instanceof NusecError)) throw error;
    // The rollout was paused, halted or aborted meanwhile: nothing is said about this device.
    if (error.code === 'STATE') return false;
    refusals.set(uid, error.code);
    if (error.code === 'ROLLBACK') await recordRollback(ctx, uid, releaseId);
    return false;
  }
}

/** The offer as release, line and rollout are now. @throws NusecError STATE (the rollout does not run), NOT_FOUND */
async function offerCommand(read: Read, { rolloutId, releaseId }: PlannedRollout, uid: string, lineName: string) {
  const plan = await read(rollout, rolloutStream(rolloutId));
  if (plan.status !== 'RUNNING') throw new NusecError('STATE', `rollout ${rolloutId} is ${plan.status}`);
  const candidate = await read(release, releaseStream(releaseId));
  const own = await read(line, lineStream(lineName));
  if (candidate.status === 'NONE' || own.status === 'NONE') throw new NusecError('NOT_FOUND', `there is no ${releaseId} or no ${lineName}`);
  const { status, vendorUuid, classUuid, version, securityCounter } = candidate;
  const { rollbackFloor, counterMaximum } = own;
  return {
    type: 'OfferFirmware' as const,
    offerId: offerIdOf(rolloutId, uid),
    rolloutId,
    releaseId,
    release: { line: candidate.line, vendorUuid, classUuid, status, version, securityCounter, imageHashes: imageHashesOf(candidate) },
    line: { line: own.line, vendorUuid: own.vendorUuid, classUuid: own.classUuid },
    rules: { rollbackFloor, counterMaximum },
  };
}

async function recordRollback(ctx: Context, uid: string, releaseId: string): Promise<void> {
  const { version, securityCounter } = await releaseOf(ctx, releaseId);
  const refusal = { type: 'RecordRollbackRefusal', releaseId, version, securityCounter, hop: 'cloud' } as const;
  await execute(ctx, device, deviceStream(uid), refusal, by);
}

/** Success is FirmwareUpgraded, or evidence from before (ALREADY). A device that is not able now (quarantined, revoked, busy) is not the
 *  firmware's fault; any other refusal is a failure of the plan. */
function healthOf(uids: readonly string[], rows: Progress, refusals: ReadonlyMap<string, ErrorCode>) {
  const outcomes = uids.map(uid => rows.get(uid)?.status ?? outcomeOf(refusals.get(uid)));
  return {
    succeeded: outcomes.filter(outcome => outcome === 'upgraded').length,
    failed: outcomes.filter(outcome => outcome === 'failed').length,
  };
}

function outcomeOf(refusal: ErrorCode | undefined): RolloutDeviceRow['status'] | undefined {
  if (refusal === undefined || refusal === 'DEVICE_STATE') return undefined;
  return refusal === 'ALREADY' ? 'upgraded' : 'failed';
}

/** T22: whoever withholds an update becomes visible, and an offer does not stand for ever. */
async function watchLag(
  { ctx, alarms }: RolloutParts,
  times: RolloutTimes,
  uids: readonly string[],
  rows: Progress,
  { rolloutId, mine }: { readonly rolloutId: string; readonly mine: Followed },
): Promise<void> {
  const now = ctx.clock().getTime();
  const open = uids.flatMap(uid => rows.get(uid) ?? []).filter(({ status }) => status === 'offered' || status === 'started');
  const stale = open.filter(({ offered_at }) => now - Date.parse(offered_at) >= times.staleMs);
  if (stale.length > mine.stale) {
    const detail = `${stale.length} devices have not taken their upgrade, ${stale[0]?.uid} among them`;
    await alarms.raise({ code: 'UPDATE_STALE', subject: rolloutStream(rolloutId), detail });
  }
  mine.stale = stale.length;
  for (const { uid, offer_id, offered_at } of stale) {
    if (now - Date.parse(offered_at) < otaJobLifetimeDays * dayMs) continue;
    await execute(ctx, device, deviceStream(uid), { type: 'FailUpgrade', offerId: offer_id, reason: 'expired' }, by);
  }
}
