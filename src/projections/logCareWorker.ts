import { parentPort, workerData } from 'node:worker_threads';
import Database from 'better-sqlite3';

/** The thread behind logCare.ts. */

const db = new Database(workerData as string, { fileMustExist: true });
db.pragma('synchronous = NORMAL');

parentPort?.on('message', (task: 'move' | 'close') => {
  if (task === 'close') {
    db.close();
    parentPort?.close();
    return;
  }
  // Twice: what is written during the first one is much, what is written during the second one is little.
  for (let pass = 0; pass < 2; pass += 1) db.pragma('wal_checkpoint(PASSIVE)');
  parentPort?.postMessage('moved');
});
