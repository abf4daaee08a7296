import { parentPort, workerData } from 'node:worker_threads';
import Database from 'better-sqlite3';
import { transaction } from '../sqliteFile.ts';
import { appendRun, mergeRuns, runsOf } from './headRuns.ts';
import type { UpkeepData, UpkeepTask } from './upkeep.ts';

/** The thread behind upkeep.ts. */

/** From this size on the log is started again; until then it may grow beside its readers. In pages of 8 KiB. */
const restartPages = 2048;
/** For the locks of writers and readers, which last fractions of a millisecond. */
const busyTimeoutMs = 1000;

/** For the write lock while the index is extended: others may take it again and again. */
const turnTimeoutMs = 10_000;
const turnPauseMs = 4;
const nobody = new Int32Array(new SharedArrayBuffer(4));

const { file, indexEvents } = workerData as UpkeepData;
const db = new Database(file, { timeout: busyTimeoutMs });
db.pragma('synchronous = NORMAL');

parentPort?.on('message', (task: UpkeepTask) => {
  if (task === 'close') {
    db.close();
    parentPort?.close();
    return;
  }
  if (task === 'index') extendIndex();
  checkpoint();
  parentPort?.postMessage(task);
});

/** One process at a time; a process that finds another one at work leaves the work to it. */
function extendIndex(): void {
  const lock = new Database(`${file}-index`, { timeout: 0 });
  try {
    // Nothing is ever written: the lock is all there is, and goes with the process.
    lock.pragma('journal_mode = MEMORY');
    lock.exec('BEGIN EXCLUSIVE');
    db.pragma(`busy_timeout = ${turnTimeoutMs}`);
    while (unindexed() >= indexEvents) {
      appendRun(db, indexEvents, turn);
      while (mergeRuns(db, turn)) checkpoint();
    }
  } catch (error) {
    if ((error as { code?: unknown }).code !== 'SQLITE_BUSY') throw error;
  } finally {
    db.pragma(`busy_timeout = ${busyTimeoutMs}`);
    lock.close();
  }
}

/** Writers of events try the write lock every millisecond, so it must be free for longer than that. */
function turn(work: () => void): void {
  transaction(db, work);
  Atomics.wait(nobody, 0, 0, turnPauseMs);
}

function unindexed(): number {
  const newest = db.prepare<number>('SELECT coalesce(max(position), 0) FROM events').pluck().get() ?? 0;
  return newest - (runsOf(db).at(-1)?.upTo ?? 0);
}

/** Most of it beside the writers; only the rest of a large log while they wait. */
function checkpoint(): void {
  const [passive] = db.pragma('wal_checkpoint(PASSIVE)') as { busy: number; log: number; checkpointed: number }[];
  if (passive === undefined || passive.log < restartPages) return;
  const [restarted] = db.pragma('wal_checkpoint(RESTART)') as { busy: number }[];
  // The first commit in a log that starts again waits for the disk: it had better be this one.
  if (restarted?.busy === 0) db.exec('UPDATE store SET checkpoints = checkpoints + 1');
}
