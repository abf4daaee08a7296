import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { NusecError } from '../../errors.ts';
import { holdAlone } from '../../fileLock.ts';

/** Server processes that share a data folder. Each has a slot, with read models of its own. The locks are the operating system's: those of a killed
 *  process are free immediately. */

/** Processes at one data folder. */
export const maxProcessSlots = 16;

export type ProcessSlot = { readonly number: number; readonly viewsFile: string; close(): void };

/** Files of the read models of all slots, whether they are there or not. */
export const viewsFiles = (dataDir: string): readonly string[] =>
  Array.from({ length: maxProcessSlots }, (_, i) => join(dataDir, i === 0 ? 'views.db' : `views-${i + 1}.db`));

/** Removes the read models of slots that no process has: they are built again when one is taken. */
export function removeUnusedViews(dataDir: string): void {
  for (const file of viewsFiles(dataDir).filter(existsSync)) {
    const lock = holdAlone(file);
    if (lock === undefined) continue;
    for (const suffix of ['', '-wal', '-shm']) rmSync(file + suffix, { force: true });
    lock.release();
  }
}

/** Takes the first free slot; the same slot, and so the same read models, after a restart.
 *  @throws NusecError TOO_MANY_SERVERS */
export function takeProcessSlot(dataDir: string): ProcessSlot {
  for (let number = 1; number <= maxProcessSlots; number += 1) {
    const viewsFile = join(dataDir, number === 1 ? 'views.db' : `views-${number}.db`);
    const lock = holdAlone(viewsFile);
    if (lock) return { number, viewsFile, close: lock.release };
  }
  throw new NusecError('TOO_MANY_SERVERS', `${maxProcessSlots} processes have ${dataDir} open already`);
}
