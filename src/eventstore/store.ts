import { NusecError } from '../errors.ts';
import { encodeAppend } from './envelope.ts';
import { groupCommit } from './groupCommit.ts';
import type { AppendResult, EventStore, ExpectedRevision, RecordedEvent, Subscription } from './port.ts';
import type { Storage, StreamHead } from './storage.ts';
import { commitSignal, follow } from './subscription.ts';
import { createWriter } from './writer.ts';

/** Most events one readAll returns. */
const maxReadEvents = 10_000;

/** How long what another process has written may wait for the subscribers here. */
const catchUpEveryMs = 20;

/** The event store over one engine's rows; the engines differ in nothing but where the rows are. */
export function createStore(storage: Storage): EventStore {
  const writer = createWriter(storage);
  const committed = commitSignal();
  const commits = groupCommit(writer, committed.fire);
  const subscriptions = new Set<Subscription>();
  let open = true;
  const catchUp = (): void => {
    if (writer.catchUp()) committed.fire();
  };
  const following = setInterval(() => {
    try {
      catchUp();
    } catch {
      // Whoever reads or appends next meets the same error, and can tell somebody.
    }
  }, catchUpEveryMs);
  following.unref();
  const requireOpen = () => {
    if (!open) throw new NusecError('STORE_CLOSED', 'the event store is closed');
  };

  const store: EventStore = {
    async append(stream, expected, events): Promise<AppendResult> {
      requireOpen();
      requireExpected(expected);
      return commits.add({ stream, expected, events: encodeAppend(stream, events) });
    },
    async readStream(stream, fromRevision = 0): Promise<readonly RecordedEvent[]> {
      requireOpen();
      catchUp();
      return readBack(storage, stream, writer.headOf(stream), fromRevision);
    },
    async readAll(after, limit) {
      requireOpen();
      return storage.after(after, Math.min(limit, maxReadEvents));
    },
    subscribe(after, handler) {
      requireOpen();
      const subscription = follow({ readAll: store.readAll, head: writer.position, committed }, after, handler);
      subscriptions.add(subscription);
      void subscription.ended.then(() => subscriptions.delete(subscription));
      return subscription;
    },
    head() {
      if (open) catchUp();
      return writer.position();
    },
    async close() {
      if (!open) return;
      commits.drain();
      clearInterval(following);
      open = false;
      await Promise.all([...subscriptions].map(subscription => subscription.stop()));
      storage.close();
    },
  };
  return store;
}

function requireExpected(expected: ExpectedRevision): void {
  if (expected === 'any' || expected === 'none' || expected === 'exists') return;
  if (!Number.isSafeInteger(expected) || expected < 0) throw new NusecError('BAD_REQUEST', 'not an expected revision');
}

function readBack(storage: Storage, stream: string, head: StreamHead, fromRevision: number): RecordedEvent[] {
  if (head.revision < fromRevision) return [];
  const events = storage.back(head.position, fromRevision).reverse();
  const whole = events.length === head.revision - fromRevision + 1 && events.every(event => event.stream === stream);
  if (!whole) throw new NusecError('STORE_DAMAGED', `events of stream ${stream} are missing`);
  return events;
}
