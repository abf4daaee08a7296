import { NusecError } from '../errors.ts';
import { isParked } from './parked.ts';
import type { EventStore, RecordedEvent, Subscription } from './port.ts';
import { type Recorded, recorded } from './recorded.ts';
import { waiting } from './waiting.ts';

/** Followers of the log: whatever handles the events as they come, each under a name. A handler that throws, or a read that fails, ends nothing:
 *  the follower tries again from where it was, one event at a time, says so, and is shown in the health of the process until it has caught up. It continues
 *  without an event that people have parked for it (parked.ts). */

const firstPauseMs = 100;
const maxPauseMs = 10_000;
/** Behind what the log had so long ago, a follower is late. */
const maxLagMs = 5000;
const lookEveryMs = 1000;
const tellAgainMs = 10 * 60_000;

/** A batch is handled again when its handler threw, so a handler must bear that. */
export type Handler = (events: readonly Recorded[]) => void | Promise<void>;

export type Follower = {
  /** Position of the last event it has handled. */
  readonly position: number;
  /** Position of the event that it cannot handle, when it is known which one that is. */
  readonly standsBefore: number | undefined;
  /** What comes before its first event is done. */
  readonly hasBegun: boolean;
  /** Resolves when that is so, however long it takes. */
  readonly begun: Promise<void>;
  /** Why it is stopped at the moment; it tries again by itself. */
  readonly failure: string | undefined;
  /** Resolves when everything up to this position is handled; waits as long as the follower advances.
   *  @throws NusecError PROJECTION_BEHIND when it does not, for 5 s, or has not begun */
  caughtUp(position: number): Promise<void>;
  /** Resolves when the batch at hand is finished; not to be awaited inside the handler. */
  close(): Promise<void>;
};

/** `failure`: it is stopped. Without it: late by `lagMs`. */
export type Trouble = {
  readonly name: string;
  readonly position: number;
  readonly behindEvents: number;
  readonly failure?: string;
  readonly standsBefore?: number;
};

export type FollowerOptions = {
  /** Whether it has a long way to go, and that is no trouble. */
  readonly mayLag?: () => boolean;
  /** Done before the first event is handled, and again when it throws. Until then the follower counts as stopped. */
  readonly begin?: () => Promise<void>;
};

export type Followers = {
  /** @throws NusecError STORE_CLOSED */
  follow(name: string, after: number, handler: Handler, options?: FollowerOptions): Follower;
  names(): readonly string[];
  /** Those that are stopped or late; empty when there is none. */
  troubles(): readonly Trouble[];
  /** All of them. */
  states(): readonly Trouble[];
  close(): Promise<void>;
};

type Member = { readonly name: string; readonly follower: Follower; readonly isLate: (head: number) => boolean };

/** @param onTrouble called once for each failure, once when a follower gets late, and every ten minutes while that lasts
 *  @param onFine called with the name of a follower that follows, once after its start and once after each trouble */
export function createFollowers(
  store: EventStore,
  onTrouble: (trouble: Trouble) => void = () => {},
  onFine: (name: string) => void = () => {},
): Followers {
  const members = new Set<Member>();
  /** When it was told of those that are stopped or late. */
  const toldMs = new Map<Member, number>();
  const fine = new Set<Member>();
  const recordedList = lastRecordedList();
  const tell = (member: Member, trouble: Trouble): void => {
    toldMs.set(member, performance.now());
    onTrouble(trouble);
  };
  let headBefore = Number.MAX_SAFE_INTEGER;
  const look = (): void => {
    const head = headOf(store);
    for (const member of members) {
      const { position, failure, hasBegun } = member.follower;
      if (failure !== undefined || member.isLate(head)) {
        fine.delete(member);
        if (performance.now() - (toldMs.get(member) ?? Number.NEGATIVE_INFINITY) >= tellAgainMs) tell(member, troubleOf(member, head));
      } else if (hasBegun) {
        toldMs.delete(member);
        if (position < headBefore || fine.has(member)) continue;
        fine.add(member);
        onFine(member.name);
      }
    }
    headBefore = head;
  };
  const timer = setInterval(look, lookEveryMs);
  timer.unref();
  return {
    follow(name, after, handler, { mayLag = () => false, begin } = {}) {
      const follower = startFollower(store, after, handler, {
        name,
        recordedList,
        begin,
        onFailure: failure => tell(member, { ...troubleOf(member, headOf(store)), failure }),
        onClose() {
          members.delete(member);
          toldMs.delete(member);
          fine.delete(member);
        },
      });
      const member: Member = { name, follower, isLate: lagWatch(follower, mayLag) };
      members.add(member);
      return follower;
    },
    names: () => [...members].map(({ name }) => name),
    troubles() {
      const head = headOf(store);
      const inTrouble = [...members].filter(
        member => member.follower.failure !== undefined || !member.follower.hasBegun || member.isLate(head),
      );
      return inTrouble.map(member => troubleOf(member, head));
    },
    states() {
      const head = headOf(store);
      return [...members].map(member => troubleOf(member, head));
    },
    async close() {
      clearInterval(timer);
      await Promise.all([...members].map(({ follower }) => follower.close()));
    },
  };
}

/** A store that cannot be read shows in the failures of its followers. */
function headOf(store: EventStore): number {
  try {
    return store.seen();
  } catch {
    return Number.MAX_SAFE_INTEGER;
  }
}

function troubleOf({ name, follower }: Member, head: number): Trouble {
  const { position, hasBegun, standsBefore, failure = hasBegun ? undefined : notBegun } = follower;
  return {
    name,
    position,
    behindEvents: head - position,
    ...(failure !== undefined && { failure }),
    ...(standsBefore !== undefined && { standsBefore }),
  };
}

const notBegun = 'it waits for read models that are being built';

/** @returns whether the follower has not handled by now what was in the log `maxLagMs` ago */
function lagWatch(follower: Follower, mayLag: () => boolean): (head: number) => boolean {
  let [target, sinceMs] = [follower.position, performance.now()];
  return head => {
    const nowMs = performance.now();
    if (follower.position >= target || !follower.hasBegun || mayLag()) [target, sinceMs] = [head, nowMs];
    return follower.position < target && nowMs - sinceMs > maxLagMs;
  };
}

type RecordedList = (events: readonly RecordedEvent[]) => readonly Recorded[];

/** Followers at the same place get the same list. Only the last one is kept: a WeakMap of lists would keep each until the next full collection. */
function lastRecordedList(): RecordedList {
  let last: { readonly events: readonly RecordedEvent[]; readonly list: readonly Recorded[] } | undefined;
  return events => {
    if (last?.events !== events) last = { events, list: events.map(recorded) };
    return last.list;
  };
}

type StartOptions = {
  readonly name: string;
  readonly recordedList: RecordedList;
  readonly begin: FollowerOptions['begin'] | undefined;
  readonly onFailure: (failure: string) => void;
  readonly onClose: () => void;
};

function startFollower(
  store: EventStore,
  after: number,
  handler: Handler,
  { name, recordedList, begin: first, onFailure, onClose }: StartOptions,
): Follower {
  const reads = waiting(store.hurry);
  const begun = Promise.withResolvers<void>();
  let position = after;
  let failure: string | undefined;
  let failures = 0;
  let standsBefore: number | undefined;
  let subscription: Subscription | undefined;
  let pause: NodeJS.Timeout | undefined;
  let isClosed = false;
  let hasBegun = first === undefined;

  const handle = async (events: readonly RecordedEvent[]): Promise<void> => {
    if (failures === 0) await handler(recordedList(events));
    else for (const event of events) await handleOne(event);
    position = events.at(-1)?.position ?? position;
    failure = undefined;
    failures = 0;
    standsBefore = undefined;
    reads.check();
  };
  const handleOne = async (event: RecordedEvent): Promise<void> => {
    try {
      await handler([recorded(event)]);
    } catch (error) {
      standsBefore = event.position;
      if (!(await isParked(store, { follower: name, position: event.position }))) throw error;
    }
    position = event.position;
    standsBefore = undefined;
    reads.check();
  };
  const begin = async (): Promise<void> => {
    pause = undefined;
    try {
      if (!hasBegun) await first?.();
      if (isClosed) return;
      hasBegun = true;
      begun.resolve();
      subscription = store.subscribe(position, handle);
      void subscription.ended.then(error => {
        if (error !== undefined && !isClosed) stop(error);
      });
    } catch (error) {
      if (!isClosed) stop(error);
    }
  };
  const stop = (error: unknown): void => {
    const message = error instanceof Error ? error.message : String(error);
    const isNew = message !== failure;
    failure = message;
    if (error instanceof NusecError && error.code === 'STORE_CLOSED') return;
    if (isNew) onFailure(message);
    pause = setTimeout(() => void begin(), Math.min(firstPauseMs * 2 ** failures, maxPauseMs));
    pause.unref();
    failures += 1;
  };
  void begin();
  return {
    get position() {
      return position;
    },
    get standsBefore() {
      return standsBefore;
    },
    get hasBegun() {
      return hasBegun;
    },
    begun: begun.promise,
    get failure() {
      // Asked for every block of firmware: the store is read only where there is something to tell.
      if (failure === undefined) return undefined;
      // A read may have failed when there was nothing to handle.
      return hasBegun && position >= headOf(store) && pause === undefined ? undefined : failure;
    },
    async caughtUp(target) {
      if (!hasBegun) throw new NusecError('PROJECTION_BEHIND', notBegun);
      await reads.until(() => position >= target);
    },
    async close() {
      isClosed = true;
      onClose();
      clearTimeout(pause);
      reads.close();
      await subscription?.stop();
    },
  };
}
