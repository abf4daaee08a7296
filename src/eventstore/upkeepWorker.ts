import { parentPort, workerData } from 'node:worker_threads';
import Database from 'better-sqlite3';
import type { UpkeepTask } from './upkeep.ts';

/** The thread behind upkeep.ts. */

/** From this size on the log is begun anew; until then it may grow beside its readers. In pages of 8 KiB. */
const restartPages = 2048;
/** For the locks of writers and readers, which last fractions of a millisecond. */
const busyTimeoutMs = 1000;

const { file } = workerData as { readonly file: string };
const db = new Database(file, { timeout: busyTimeoutMs });
db.pragma('synchronous = NORMAL');

parentPort?.on('message', (task: UpkeepTask) => {
  if (task === 'close') {
    db.close();
    parentPort?.close();
    return;
  }
  checkpoint();
  parentPort?.postMessage('done');
});

/** Most of it beside the writers; only the rest of a large log while they wait. */
function checkpoint(): void {
  const [passive] = db.pragma('wal_checkpoint(PASSIVE)') as { busy: number; log: number; checkpointed: number }[];
  if (passive === undefined || passive.log < restartPages) return;
  const [restarted] = db.pragma('wal_checkpoint(RESTART)') as { busy: number }[];
  // The first commit in a log that begins anew waits for the disk: it had better be this one.
  if (restarted?.busy === 0) db.exec('UPDATE store SET checkpoints = checkpoints + 1');
}
