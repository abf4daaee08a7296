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
  db.pragma('wal_checkpoint(PASSIVE)');
  parentPort?.postMessage('moved');
});
