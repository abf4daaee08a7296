import { openLog } from '../sqliteFile.ts';
import type { Upkeep } from './upkeep.ts';

/** The write-ahead log of the store's file, beside SQLite: synchronising it outside the event loop, and having it moved into the main file before
 *  it grows large. */

/** Written to the log before its pages are moved into the main file. */
const checkpointBytes = 4 * 1024 * 1024;
/** A page of a commit is at least this, whatever the event. */
const commitBytes = 8192;

export type Wal = {
  /** Resolves when everything committed before the call is on the disk. */
  sync(): Promise<void>;
  /** To be called after each commit with its size. */
  committed(bytes: number): void;
  close(): Promise<void>;
};

/** @param file of the store, open and in WAL mode */
export function openWal(file: string, upkeep: Upkeep): Wal {
  const log = openLog(file);
  let written = 0;
  return {
    ...log,
    committed(bytes) {
      written += bytes + commitBytes;
      if (written < checkpointBytes) return;
      written = 0;
      upkeep.run('checkpoint');
    },
  };
}
