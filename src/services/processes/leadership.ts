import { closeSync, constants, openSync, readSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import type { EventStore } from '../../eventstore/port.ts';
import { holdAlone } from '../../fileLock.ts';

/** One of the server processes at a data folder leads: it does what must not be done twice.
 *
 *  Who leads is an epoch in the event store: the process that raised it last leads, and appends of an earlier leader are refused (fencing). A leader that
 *  was killed is known by its lock, which the operating system frees; one that is stopped, by a beat that does not change. */

/** How often a leader gives a sign, and how often the others look. */
const beatMs = 500;
/** Looks without a new sign after which another process leads. Only looks count, so that a machine that was paused as a whole changes nothing. */
const maxMissedBeats = 10;

export type Leadership = { close(): Promise<void> };

type Parts = { readonly dataDir: string; readonly store: Pick<EventStore, 'epoch' | 'takeEpoch'> };

/** Leads immediately if nobody else does, or as soon as that process has ended or is stopped.
 *  @param lead begins the work of the one who leads, under the given epoch, and gives what ends it
 *  @param onTrouble called when beginning or ending failed; beginning is tried again */
export async function whileLeading(
  { dataDir, store }: Parts,
  lead: (epoch: number) => Promise<() => Promise<void>>,
  onTrouble: (error: unknown) => void,
): Promise<Leadership> {
  const beats = openBeats(dataDir);
  const watch = createWatch();
  let leading: { readonly epoch: number; readonly end: () => Promise<void> } | undefined;
  let lock: ReturnType<typeof holdAlone>;
  let closed = false;

  const beginLeading = async (): Promise<void> => {
    lock ??= holdAlone(join(dataDir, 'leader'));
    const seen = store.epoch();
    if (!isFree(beats.read(), seen, lock !== undefined) && !watch.standsStill(beats.read(), seen)) return release();
    const epoch = await store.takeEpoch(seen);
    if (epoch === undefined) return release();
    beats.give(epoch, lock !== undefined);
    leading = { epoch, end: await lead(epoch) };
  };
  const goOn = async (): Promise<void> => {
    if (leading === undefined) return;
    if (store.epoch() !== leading.epoch) return endLeading();
    lock ??= holdAlone(join(dataDir, 'leader'));
    beats.give(leading.epoch, lock !== undefined);
  };
  const endLeading = async (): Promise<void> => {
    const { end } = leading ?? {};
    leading = undefined;
    try {
      await end?.();
    } finally {
      release();
    }
  };
  const release = (): void => {
    lock?.release();
    lock = undefined;
  };
  const look = async (): Promise<void> => {
    if (closed) return;
    try {
      await (leading === undefined ? beginLeading() : goOn());
    } catch (error) {
      if (leading === undefined) release();
      onTrouble(error);
    }
  };
  let looking = look();
  await looking;
  const timer = setInterval(() => {
    looking = looking.then(look);
  }, beatMs);
  timer.unref();
  return {
    async close() {
      closed = true;
      clearInterval(timer);
      await looking;
      const epoch = leading?.epoch;
      try {
        await endLeading();
        if (epoch !== undefined && epoch === store.epoch()) beats.end(epoch);
      } finally {
        beats.close();
      }
    },
  };
}

/** @property count grows with every sign; 0 when this leader has ended
 *  @property locked whether the leader held the lock: then a free lock shows that it has ended */
type Beat = { readonly epoch: number; readonly count: number; readonly locked: boolean };

/** Whether nobody leads. */
function isFree(beat: Beat | undefined, epoch: number, hasLock: boolean): boolean {
  if (beat === undefined || beat.epoch !== epoch) return hasLock;
  return beat.count === 0 || (hasLock && beat.locked);
}

/** Counts looks at which nothing has changed. */
function createWatch() {
  let last = '';
  let same = 0;
  return {
    standsStill(beat: Beat | undefined, epoch: number): boolean {
      const now = `${epoch} ${beat?.epoch} ${beat?.count}`;
      same = now === last ? same + 1 : 0;
      last = now;
      return same >= maxMissedBeats;
    },
  };
}

const beatBytes = 48;

/** The leader's sign: a line of fixed length in a file, written over and over. It need not outlive a power cut. */
function openBeats(dataDir: string) {
  const file = openSync(join(dataDir, 'leader.beat'), constants.O_RDWR | constants.O_CREAT, 0o600);
  let count = 0;
  const write = (beat: Beat): void => {
    writeSync(file, `${beat.epoch} ${beat.count} ${beat.locked ? 1 : 0}`.padEnd(beatBytes - 1).concat('\n'), 0);
  };
  return {
    give(epoch: number, locked: boolean): void {
      count += 1;
      write({ epoch, count, locked });
    },
    end: (epoch: number): void => write({ epoch, count: 0, locked: false }),
    read(): Beat | undefined {
      const line = Buffer.alloc(beatBytes);
      readSync(file, line, 0, beatBytes, 0);
      const match = line.toString('latin1').match(/^(\d+) (\d+) ([01]) *\n$/);
      return match === null ? undefined : { epoch: Number(match[1]), count: Number(match[2]), locked: match[3] === '1' };
    },
    close: (): void => closeSync(file),
  };
}
