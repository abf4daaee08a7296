/** Collects the appends of one event-loop turn and writes them as one group: the more writers, the larger the group.
 *  There is no timer: a lone append is written in the same turn, many appends share one synchronisation of the disk. */
import { NusecError } from '../errors.ts';
import type { AppendResult } from './port.ts';
import type { AppendRequest, Writer } from './writer.ts';

/** Of one transaction; what is above it goes into the next turn, so that other work gets its turn too. */
const maxGroupEvents = 4096;
/** Waiting for their group. Awaiting the appends is the back-pressure; who does not is refused with RATE_LIMITED. */
const maxQueuedEvents = 100_000;

type Waiting = AppendRequest & { resolve(result: AppendResult): void; reject(error: unknown): void };

export type GroupCommit = {
  add(request: AppendRequest): Promise<AppendResult>;
  /** Writes what is waiting, now. */
  drain(): void;
};

/** @param written called after each group, when its appends are durable */
export function groupCommit(writer: Writer, written: () => void): GroupCommit {
  let waiting: Waiting[] = [];
  let queuedEvents = 0;
  let scheduled = false;

  const schedule = () => {
    if (scheduled || waiting.length === 0) return;
    scheduled = true;
    setImmediate(() => {
      scheduled = false;
      writeGroup();
      schedule();
    });
  };
  const takeGroup = (): Waiting[] => {
    let events = 0;
    let count = 0;
    while (count < waiting.length && (count === 0 || events + (waiting[count] as Waiting).events.length <= maxGroupEvents)) {
      events += (waiting[count++] as Waiting).events.length;
    }
    queuedEvents -= events;
    const group = count === waiting.length ? waiting : waiting.slice(0, count);
    waiting = count === waiting.length ? [] : waiting.slice(count);
    return group;
  };
  const writeGroup = () => {
    const group = takeGroup();
    if (group.length === 0) return;
    settle(writer, group);
    written();
  };

  return {
    add: request =>
      new Promise((resolve, reject) => {
        if (queuedEvents + request.events.length > maxQueuedEvents) throw new NusecError('RATE_LIMITED', 'the event store is behind');
        queuedEvents += request.events.length;
        waiting.push({ ...request, resolve, reject });
        schedule();
      }),
    drain() {
      while (waiting.length > 0) writeGroup();
    },
  };
}

function settle(writer: Writer, group: readonly Waiting[]): void {
  try {
    writer.write(group).forEach((outcome, i) => {
      const { resolve, reject } = group[i] as Waiting;
      if (outcome instanceof Error) reject(outcome);
      else resolve(outcome);
    });
  } catch (error) {
    for (const { reject } of group) reject(error);
  }
}
