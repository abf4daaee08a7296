import { Worker } from 'node:worker_threads';
import type Database from 'better-sqlite3';
import { endWorker, moduleBeside } from '../entry.ts';

/** Moves the write-ahead log of the read models into their file in a thread of its own: that waits for the disk, and would hold up everybody else. It
 *  happens seldom, since a page that changes again and again is written to the file once. */

/** About 30 MB of the log. */
const eventsBetweenMoves = 10_000;

export type LogCare = {
  /** To be called with the number of projected events. */
  projected(events: number): void;
  /** Resolves when what runs has ended. */
  close(): Promise<void>;
};

/** @param db the writer's connection; SQLite moves nothing by itself any more */
export function careForLog(db: Database): LogCare {
  db.pragma('wal_autocheckpoint = 0');
  let worker: Worker | undefined;
  let moving = false;
  let events = 0;
  const start = (): Worker => {
    const started = new Worker(moduleBeside(import.meta.url, 'logCareWorker'), { workerData: db.name });
    started.unref();
    started.on('message', () => {
      moving = false;
      // What was written meanwhile is little. With that, the next write begins the log again.
      if (db.open) db.pragma('wal_checkpoint(PASSIVE)');
    });
    // The next move begins another one.
    started.on('error', () => {
      moving = false;
      worker = undefined;
    });
    return started;
  };
  return {
    projected(more) {
      events += more;
      if (events < eventsBetweenMoves || moving) return;
      events = 0;
      moving = true;
      worker ??= start();
      worker.postMessage('move');
    },
    async close() {
      if (worker === undefined) return;
      const ending = worker;
      worker = undefined;
      await endWorker(ending);
    },
  };
}
