import { setImmediate as nextTurn } from 'node:timers/promises';
import { toHex } from '../../bytes.ts';
import type { Actor } from '../../domain/actor.ts';
import { device, deviceStream } from '../../domain/device.ts';
import type { RevocationReason } from '../../domain/deviceEvents.ts';
import type { PassingStates } from '../../eventstore/stateCache.ts';
import { type Context, execute, oneCommit, stateOf } from '../base/context.ts';
import type { StatesAhead } from './statesAhead.ts';

/** Revokes the devices of a long list: some in each commit, a few commits under way at a time, the states of the next devices read ahead. */

/** In the list. */
export const uidBytes = 16;
/** Devices whose events go into one commit: few enough that it does not hold up the others. */
const devicesInCommit = 70;
/** So long devices are decided before others get their turn. */
const turnMs = 4;
/** Commits under way: one is decided, the other waits for the disk. */
const commitsAtOnce = 2;
/** Groups of devices that are read while those before them are decided. */
const groupsAhead = 3;
/** Devices between two reports. */
const reportEvery = 2000;

/** The first `done` devices of the list were looked at; `revoked` had valid certificates, `failed` were not found. */
export type ListProgress = { readonly done: number; readonly revoked: number; readonly failed: number };

type Wish = {
  /** UIDs, 16 bytes each. */
  readonly uids: Uint8Array;
  readonly reason: RevocationReason;
  readonly by: Actor;
  /** What was done before. */
  readonly from: ListProgress;
  /** Called as it goes, not for each device. @returns whether the rest is to be revoked too */
  report(progress: ListProgress): Promise<boolean>;
  isOpen(): boolean;
};
type Group = { readonly first: number; readonly uids: readonly string[]; readonly states: Promise<PassingStates> };
type Outcome = 'revoked' | 'already' | 'missing';

/** Resolves when all are revoked, or no more are to be.
 *  @throws what `report` and a commit throw; by then nothing is under way any more */
export async function revokeList(ctx: Context, ahead: StatesAhead, { uids, reason, by, from, report, isOpen }: Wish): Promise<void> {
  const takeTurns = turnTaker();
  const takeGroup = groupsOf(uids, from.done, ahead);
  const count = progressOf(from);
  let progress = from;
  let reported = from.done;
  let isOver = false;
  const tell = async (): Promise<void> => {
    reported = progress.done;
    if (!(await report(progress))) isOver = true;
  };
  const lane = async (): Promise<void> => {
    while (!isOver && isOpen()) {
      const group = takeGroup();
      if (group === undefined) return;
      progress = count(group.first, await revokeTogether(ctx, group, { reason, by, takeTurns }));
      if (progress.done >= reported + reportEvery) await tell();
    }
  };
  const stop = (error: unknown): never => {
    isOver = true;
    throw error;
  };
  const outcomes = await Promise.allSettled(Array.from({ length: commitsAtOnce }, () => lane().catch(stop)));
  for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason;
  if (!isOver && progress.done > reported) await tell();
}

/** @returns what gives the next devices, and has those after them read meanwhile */
function groupsOf(uids: Uint8Array, from: number, ahead: StatesAhead): () => Group | undefined {
  const total = uids.length / uidBytes;
  const ready: Group[] = [];
  let next = from;
  const begin = (): void => {
    const first = next;
    next = Math.min(first + devicesInCommit, total);
    const some = Array.from({ length: next - first }, (_, i) => toHex(uids.subarray((first + i) * uidBytes, (first + i + 1) * uidBytes)));
    const states = ahead.read(some);
    // Whoever takes the group gets the error.
    states.catch(() => undefined);
    ready.push({ first, uids: some, states });
  };
  // Not all that are ahead in one turn: the devices of each are looked up in an index, of which nothing is in memory at first.
  return () => {
    if (ready.length === 0 && next < total) begin();
    if (ready.length <= groupsAhead && next < total) begin();
    return ready.shift();
  };
}

/** @returns what adds a group, which may end before one that is ahead of it: progress is of the devices that were done without a gap */
function progressOf(from: ListProgress): (first: number, outcomes: readonly Outcome[]) => ListProgress {
  const ended = new Map<number, readonly Outcome[]>();
  let progress = from;
  return (first, outcomes) => {
    ended.set(first, outcomes);
    for (let group = ended.get(progress.done); group !== undefined; group = ended.get(progress.done)) {
      ended.delete(progress.done);
      const { done, revoked, failed } = progress;
      const of = (outcome: Outcome): number => group?.filter(each => each === outcome).length ?? 0;
      progress = { done: done + group.length, revoked: revoked + of('revoked'), failed: failed + of('missing') };
    }
    return progress;
  };
}

type Revoking = { readonly reason: RevocationReason; readonly by: Actor; readonly takeTurns: () => Promise<void> };

async function revokeTogether(ctx: Context, { uids, states }: Group, { reason, by, takeTurns }: Revoking): Promise<readonly Outcome[]> {
  const work = async (together: Context): Promise<readonly Outcome[]> => {
    const outcomes: Outcome[] = [];
    for (const uid of uids) {
      await takeTurns();
      outcomes.push(await revokeOne(together, uid, reason, by));
    }
    return outcomes;
  };
  return oneCommit(ctx, work, await states);
}

/** @returns what lets others get their turn when it has been ours for long enough */
function turnTaker(): () => Promise<void> {
  let begunMs = performance.now();
  return async () => {
    if (performance.now() - begunMs < turnMs) return;
    await nextTurn();
    begunMs = performance.now();
  };
}

async function revokeOne(ctx: Context, uid: string, reason: RevocationReason, by: Actor): Promise<Outcome> {
  const state = await stateOf(ctx, device, deviceStream(uid));
  if (state.status === 'NONE') return 'missing';
  const good = state.certificates.filter(({ status }) => status !== 'revoked');
  for (const { serial } of good) await execute(ctx, device, deviceStream(uid), { type: 'RevokeCertificate', serial, reason, by }, by);
  return good.length > 0 ? 'revoked' : 'already';
}
