import { setImmediate } from 'node:timers/promises';
import type { EventStore, RecordedEvent, Subscription } from './port.ts';

/** Events handed to a subscriber in one call: reading them does not hold up the others. */
const maxBatchEvents = 1000;
/** How long events gather before the subscribers are woken again: with each wake-up, every one of them costs some work, however few the events. */
const gatherMs = 10;

/** Wakes the waiters for more events on the disk. */
export type CommitSignal = { wait(): Promise<void>; fire(): void };

export function commitSignal(): CommitSignal {
  let next = Promise.withResolvers<void>();
  return {
    wait: () => next.promise,
    fire() {
      next.resolve();
      next = Promise.withResolvers();
    },
  };
}

/** How far the subscribers may read. */
export type Shown = {
  position(): number;
  /** Resolves when there is more, or with `wake`. */
  wait(): Promise<void>;
  wake(): void;
  /** There are more events on the disk. The first ones after a pause are shown immediately. */
  advanced(): void;
  /** Somebody waits for the subscribers: what is on the disk is shown now, or as soon as there is more. */
  hurry(): void;
};

/** @param durable position of the newest event on the disk */
export function showTogether(durable: () => number): Shown {
  const signal = commitSignal();
  let position = 0;
  let shownAtMs = Number.NEGATIVE_INFINITY;
  let isUrgent = false;
  let timer: NodeJS.Timeout | undefined;
  const show = (): void => {
    clearTimeout(timer);
    timer = undefined;
    isUrgent = false;
    shownAtMs = performance.now();
    position = durable();
    signal.fire();
  };
  return {
    position: () => position,
    wait: signal.wait,
    wake: signal.fire,
    advanced() {
      if (durable() <= position) return;
      const leftMs = isUrgent ? 0 : shownAtMs + gatherMs - performance.now();
      if (leftMs <= 0) show();
      else timer ??= setTimeout(show, leftMs).unref();
    },
    hurry() {
      if (durable() > position) show();
      else isUrgent = true;
    },
  };
}

/** Followers that are at the same place, as they all are soon after a commit, get the same events of one read. */
export function readTogether(readAll: EventStore['readAll']): EventStore['readAll'] {
  let end = 0;
  let reads = new Map<number, ReturnType<EventStore['readAll']>>();
  return (after, limit) => {
    if (after + limit !== end) reads = new Map();
    end = after + limit;
    const own = reads;
    const read = own.get(after) ?? readAll(after, limit);
    own.set(after, read);
    read.catch(() => own.delete(after));
    return read;
  };
}

type Source = Pick<EventStore, 'readAll'> & { readonly shown: Shown };

/** Follows a store: a batch, its handler, the next batch. Between two batches every other part of the process gets its turn. */
export function follow(source: Source, after: number, handler: (events: readonly RecordedEvent[]) => void | Promise<void>): Subscription {
  let position = after;
  let stopped = false;
  const run = async () => {
    while (!stopped) {
      const newEvents = source.shown.position() - position;
      if (newEvents <= 0) {
        await source.shown.wait();
        continue;
      }
      const events = await source.readAll(position, Math.min(newEvents, maxBatchEvents));
      if (stopped) return;
      await handler(events);
      position = events.at(-1)?.position ?? position;
      await setImmediate();
    }
  };
  const ended = run().then(
    () => undefined,
    error => error as unknown,
  );
  return {
    get position() {
      return position;
    },
    ended,
    async stop() {
      stopped = true;
      source.shown.wake();
      await ended;
    },
  };
}
