import { join } from 'node:path';
import { NusecError } from '../../errors.ts';
import { holdAlone } from '../../keystore/fileLock.ts';

/** Server processes that share a data folder. Each has a slot, with read models of its own; one of them leads, and does what must not be done
 *  twice. The locks are the operating system's: those of a killed process are free at once. */

/** Processes at one data folder. */
export const maxProcessSlots = 16;
/** How soon another process leads after the end of the one that did. */
const leadEveryMs = 500;

export type ProcessSlot = { readonly number: number; readonly viewsFile: string; release(): void };

/** Takes the first free slot; the same slot, and so the same read models, after a restart.
 *  @throws NusecError TOO_MANY_SERVERS */
export function takeProcessSlot(dataDir: string): ProcessSlot {
  for (let number = 1; number <= maxProcessSlots; number += 1) {
    const viewsFile = join(dataDir, number === 1 ? 'views.db' : `views-${number}.db`);
    const lock = holdAlone(viewsFile);
    if (lock) return { number, viewsFile, release: lock.release };
  }
  throw new NusecError('TOO_MANY_SERVERS', `${maxProcessSlots} processes have ${dataDir} open already`);
}

export type Leadership = { close(): Promise<void> };

/** Leads at once if nobody else does, or as soon as that one has ended.
 *  @param lead begins the work of the one who leads, and gives what ends it
 *  @param onTrouble told when beginning failed; it is tried again */
export async function whileLeading(
  dataDir: string,
  lead: () => Promise<() => Promise<void>>,
  onTrouble: (error: unknown) => void,
): Promise<Leadership> {
  let end: (() => Promise<void>) | undefined;
  let closed = false;
  const tryToLead = async (): Promise<void> => {
    if (closed || end !== undefined) return;
    let lock: ReturnType<typeof holdAlone>;
    try {
      lock = holdAlone(join(dataDir, 'leader'));
      const stop = lock && (await lead());
      end = stop && (() => stop().finally(lock?.release));
    } catch (error) {
      lock?.release();
      onTrouble(error);
    }
  };
  let trying = tryToLead();
  await trying;
  const timer = setInterval(() => {
    trying = trying.then(tryToLead);
  }, leadEveryMs);
  timer.unref();
  return {
    async close() {
      closed = true;
      clearInterval(timer);
      await trying;
      await end?.();
    },
  };
}
