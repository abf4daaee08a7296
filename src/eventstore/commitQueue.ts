import { NusecError } from '../errors.ts';
import type { Durability } from './durability.ts';
import type { AppendResult } from './port.ts';
import type { CommitRequest, Outcome, Writer } from './writer.ts';

/** Collects what is to be stored and commits it in groups: the more writers, the larger the group. There is no timer: a lone append is committed in the same
 *  turn of the event loop; what comes while the disk is busy waits for it together. */

/** Events, and KiB of blobs, of one transaction; what is above it goes into the next turn, so that other work gets its turn too. */
const maxGroupWeight = 1024;
/** Appends from which on a group is half of those that wait: the disk works on the first half while the second one is prepared. */
const minHalvedAppends = 32;
/** Events, and KiB of blobs, that wait for their group. Awaiting the appends is the back-pressure; who does not is refused with RATE_LIMITED. */
export const maxQueuedWeight = 100_000;
/** Before the write lock is tried again that another process holds. It holds it for a fraction of a millisecond unless it was stopped. */
const lockPauseMs = 1;
/** How long an append waits for the write lock. */
export const defaultLockWaitMs = 5000;

type Waiting = {
  readonly request: CommitRequest;
  readonly weight: number;
  readonly sinceMs: number;
  readonly done: Done;
};
/** Called once, with the results when the request is on the disk, and otherwise with what refuses it. */
export type Done = (outcome: readonly AppendResult[] | Error) => void;

export type CommitQueue = {
  /** Resolves when the request is on the disk.
   *  @throws RATE_LIMITED, STORE_UNAVAILABLE, and what refuses this request alone */
  add(request: CommitRequest): Promise<readonly AppendResult[]>;
  /** To be called when the disk has become free. */
  advance(): void;
  /** Resolves when nothing waits any more. Nothing is added then. */
  close(): Promise<void>;
};

/** The queue of what this process commits by itself. */
export type LocalQueue = CommitQueue & {
  /** As `add`, for those who have thousands in a second: without a promise. */
  put(request: CommitRequest, weight: number, done: Done): void;
  /** Resolves when nothing waits at this moment. */
  idle(): Promise<void>;
};

export function createCommitQueue(writer: Writer, durability: Durability, lockWaitMs: number): LocalQueue {
  let waiting: Waiting[] = [];
  let queuedWeight = 0;
  let scheduled = false;
  let unsettled = 0;
  /** Of the groups that are written and not on the disk yet. */
  let unsettledWeight = 0;
  let becameIdle = Promise.withResolvers<void>();
  /** Since when the write lock was found taken at every try. */
  let lockedSinceMs: number | undefined;

  /** A second group begins when it is as large as what is on its way: what comes in parts, from several processes, makes groups as large as what comes
   *  together. */
  const advance = (pauseMs = 0): void => {
    if (scheduled || waiting.length === 0 || queuedWeight < unsettledWeight || !durability.isFree()) return;
    scheduled = true;
    const turn = () => {
      scheduled = false;
      advance(writeGroup() ? 0 : lockPauseMs);
    };
    if (pauseMs === 0) setImmediate(turn);
    else setTimeout(turn, pauseMs);
  };
  /** @returns false when another process holds the write lock */
  const writeGroup = (): boolean => {
    const group = waiting.slice(0, groupLength(waiting));
    let outcomes: readonly Outcome[] | undefined;
    try {
      outcomes = write(writer, durability, group);
    } catch (error) {
      for (const { done } of remove(group)) done(error as Error);
      return true;
    }
    if (outcomes === undefined) {
      lockedSinceMs ??= performance.now();
      giveUpWaiting(lockedSinceMs);
      return false;
    }
    lockedSinceMs = undefined;
    void settle(remove(group), outcomes);
    return true;
  };
  const remove = (group: readonly Waiting[]): readonly Waiting[] => {
    waiting = waiting.slice(group.length);
    for (const { weight } of group) queuedWeight -= weight;
    noteIdle();
    return group;
  };
  /** A refusal may rest on events that are not on the disk yet, so it waits for them too. */
  const settle = async (group: readonly Waiting[], outcomes: readonly Outcome[]): Promise<void> => {
    const weight = group.reduce((sum, each) => sum + each.weight, 0);
    let failure: Error | undefined;
    unsettled += 1;
    unsettledWeight += weight;
    try {
      await durability.reached();
    } catch (error) {
      failure = error as Error;
    }
    group.forEach(({ done }, i) => {
      done(failure ?? (outcomes[i] as Outcome));
    });
    unsettled -= 1;
    unsettledWeight -= weight;
    noteIdle();
    advance();
  };
  const noteIdle = (): void => {
    if (waiting.length > 0 || unsettled > 0) return;
    becameIdle.resolve();
    becameIdle = Promise.withResolvers();
  };
  const idle = async (): Promise<void> => {
    while (waiting.length > 0 || unsettled > 0) await becameIdle.promise;
  };
  const giveUpWaiting = (lockedMs: number): void => {
    const nowMs = performance.now();
    const patient = waiting.findIndex(({ sinceMs }) => nowMs - Math.max(sinceMs, lockedMs) < lockWaitMs);
    const group = patient === -1 ? waiting : waiting.slice(0, patient);
    const error = new NusecError('STORE_UNAVAILABLE', 'another process holds the write lock of the event store and does not run');
    for (const { done } of remove(group)) done(error);
  };
  const put: LocalQueue['put'] = (request, weight, done) => {
    if (queuedWeight + weight > maxQueuedWeight) return done(new NusecError('RATE_LIMITED', 'the event store is behind'));
    queuedWeight += weight;
    waiting.push({ request, weight, sinceMs: performance.now(), done });
    advance();
  };

  return {
    advance,
    put,
    add: request =>
      new Promise((resolve, reject) => {
        put(request, weightOf(request), outcome => (outcome instanceof Error ? reject(outcome) : resolve(outcome)));
      }),
    idle,
    close: idle,
  };
}

export function weightOf({ appends, blobs = [] }: CommitRequest): number {
  const events = appends.reduce((count, append) => count + append.events.length, 0);
  return events + blobs.reduce((kib, { bytes }) => kib + Math.ceil(bytes.length / 1024), 0);
}

/** UTF-16 units of the events, and bytes of the blobs. */
export function sizeOf({ appends, blobs = [] }: CommitRequest): number {
  const ofEvents = appends.reduce((sum, { events }) => events.reduce((units, { body }) => units + body.length, sum), 0);
  return blobs.reduce((sum, { bytes }) => sum + bytes.length, ofEvents);
}

/** How many of the first appends make the next group. */
function groupLength(waiting: readonly Waiting[]): number {
  const most = Math.max(minHalvedAppends, Math.ceil(waiting.length / 2));
  let weight = 0;
  let count = 0;
  while (count < Math.min(most, waiting.length)) {
    weight += (waiting[count] as Waiting).weight;
    if (count > 0 && weight > maxGroupWeight) break;
    count += 1;
  }
  return count;
}

function write(writer: Writer, durability: Durability, group: readonly Waiting[]): readonly Outcome[] | undefined {
  const failure = durability.failure();
  if (failure !== undefined) throw failure;
  return writer.write(group.map(({ request }) => request));
}
