import { setImmediate } from 'node:timers/promises';
import type { EventStore, RecordedEvent, Subscription } from './port.ts';

/** Events handed to a subscriber in one call. */
const maxBatchEvents = 1000;

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

type Source = Pick<EventStore, 'readAll'> & {
  /** Position of the newest event on the disk. */
  readonly durable: () => number;
  /** Fires when there are more. */
  readonly advanced: CommitSignal;
};

/** Follows a store: a batch, its handler, the next batch. Between two batches every other part of the process gets its turn. */
export function follow(source: Source, after: number, handler: (events: readonly RecordedEvent[]) => void | Promise<void>): Subscription {
  let position = after;
  let stopped = false;
  const run = async () => {
    while (!stopped) {
      const newEvents = source.durable() - position;
      if (newEvents <= 0) {
        await source.advanced.wait();
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
      source.advanced.fire();
      await ended;
    },
  };
}
