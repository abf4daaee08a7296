import { join } from 'node:path';
import { repeatedly } from '../../closing.ts';
import type { EventStore } from '../../eventstore/port.ts';
import { holdAlone } from '../../fileLock.ts';
import { type Beat, fileBeats, leaseBeats } from './beats.ts';

/** One of the server processes that share an event store leads: it does what must not be done twice.
 *
 *  Who leads is an epoch in the event store: the process that raised it last leads, and appends of an earlier leader are refused (fencing). A leader that
 *  was killed is known by its lock, which the operating system frees; one that is stopped, by a beat that does not change. Processes on several
 *  machines have no lock in common: there the beat is a sign in the store, and one that was killed is known by it too. */

/** How often a leader gives a sign, and how often the others look; and the looks without a new sign after which another process leads. Only looks
 *  count, so that a machine that was paused as a whole changes nothing. */
const onOneMachine = { everyMs: 500, missed: 10 };
/** No lock says that a leader was killed, and within five seconds the next one has to have begun (docs/decisions/160). */
const betweenMachines = { everyMs: 250, missed: 6 };

export type Leadership = { close(): Promise<void> };

type Parts = { readonly dataDir: string; readonly store: Pick<EventStore, 'epoch' | 'takeEpoch' | 'lease' | 'head'> };

/** Leads immediately if nobody else does, or as soon as that process has ended or is stopped.
 *  @param lead begins the work of the one who leads, under the given epoch, and gives what ends it
 *  @param onTrouble called when beginning or ending failed; beginning is tried again */
export async function whileLeading(
  { dataDir, store }: Parts,
  lead: (epoch: number) => Promise<() => Promise<void>>,
  onTrouble: (error: unknown) => void,
): Promise<Leadership> {
  const { lease } = store;
  const beats = lease === undefined ? fileBeats(dataDir) : leaseBeats(lease);
  const { everyMs, missed } = lease === undefined ? onOneMachine : betweenMachines;
  const watch = createWatch(missed);
  let leading: { readonly epoch: number; readonly begun: Promise<() => Promise<void>> } | undefined;
  let lock: ReturnType<typeof holdAlone>;

  const beginLeading = async (): Promise<void> => {
    lock ??= holdAlone(join(dataDir, 'leader'));
    const seen = store.epoch();
    const beat = await beats.read();
    const nobodyElse = lease === undefined ? lock !== undefined : seen === 0;
    if (!isFree(beat, seen, nobodyElse) && !(await isSilent(beat, seen))) return release();
    const epoch = await store.takeEpoch(seen);
    if (epoch === undefined) return release();
    // It gives signs while it begins, which may take longer than the others wait.
    const begun = lead(epoch);
    leading = { epoch, begun };
    begun.catch(error => {
      if (leading?.begun === begun) leading = undefined;
      release();
      onTrouble(error);
    });
    await beats.give(epoch, lock !== undefined);
  };
  const isSilent = async (beat: Beat | undefined, seen: number): Promise<boolean> => {
    if (!watch.standsStill(beat, seen)) return false;
    // The store may be slow to write and hold a sign back: then it comes before what is written now.
    await beats.settle();
    return watch.standsStill(await beats.read(), store.epoch());
  };
  const goOn = async (): Promise<void> => {
    if (leading === undefined) return;
    if (store.epoch() !== leading.epoch) return endLeading();
    lock ??= holdAlone(join(dataDir, 'leader'));
    // Who cannot take in what the others store, as its disk is full, can do nothing of what a leader does.
    if (lease !== undefined) await store.head();
    await beats.give(leading.epoch, lock !== undefined);
  };
  const endLeading = async (): Promise<void> => {
    const { begun } = leading ?? {};
    leading = undefined;
    const end = await begun?.catch(() => undefined);
    try {
      await end?.();
    } finally {
      release();
    }
  };
  const beginning = async (): Promise<unknown> => leading?.begun.catch(() => undefined);
  /** Between machines the lock says no more than that a server runs here. */
  const release = (isLast = false): void => {
    if (lease !== undefined && !isLast) return;
    lock?.release();
    lock = undefined;
  };
  const look = async (): Promise<void> => {
    try {
      await (leading === undefined ? beginLeading() : goOn());
    } catch (error) {
      // When nothing can be read, a leader's sign cannot be missed.
      watch.forget();
      if (leading === undefined) release();
      onTrouble(error);
    }
  };
  // One at a time: looks that had waited for the store and then came all at once would find a leader that gives no sign.
  const looking = repeatedly(everyMs, look, onTrouble);
  await looking.now();
  await beginning();
  return {
    async close() {
      await looking.close();
      const epoch = leading?.epoch;
      try {
        await endLeading();
        if (epoch !== undefined && epoch === store.epoch()) await beats.end(epoch);
      } finally {
        release(true);
        beats.close();
      }
    },
  };
}

/** Whether nobody leads. */
function isFree(beat: Beat | undefined, epoch: number, nobodyElse: boolean): boolean {
  if (beat === undefined || beat.epoch !== epoch) return nobodyElse;
  return beat.count === 0 || (nobodyElse && beat.locked);
}

/** Counts looks at which nothing has changed. */
function createWatch(limit: number) {
  let last = '';
  let same = 0;
  return {
    standsStill(beat: Beat | undefined, epoch: number): boolean {
      const now = `${epoch} ${beat?.epoch} ${beat?.count}`;
      same = now === last ? same + 1 : 0;
      last = now;
      return same >= limit;
    },
    forget(): void {
      same = 0;
    },
  };
}
