import { Worker } from 'node:worker_threads';
import type Database from 'better-sqlite3';
import { endWorker, moduleBeside } from '../entry.ts';

/** Moves the write-ahead log of the read models into their file in a thread of its own: that waits for the disk, and would hold up everybody else. It
 *  happens seldom, since a page that changes again and again is written to the file once. */

/** About 180 MB of the log. */
const eventsBetweenMoves = 60_000;

export type LogCare = {
  /** To be called with the number of projected events, when no transaction is open. While it waits, whoever calls writes nothing: then all of the log
   *  is moved, and the next write begins it again. */
  projected(events: number): Promise<void>;
  /** Resolves when what runs has ended. */
  close(): Promise<void>;
};

/** @param db the writer's connection; SQLite moves nothing by itself any more */
export function careForLog(db: Database): LogCare {
  db.pragma('wal_autocheckpoint = 0');
  let worker: Worker | undefined;
  let state: 'idle' | 'moving' | 'moved' = 'idle';
  let events = 0;
  let answered = Promise.withResolvers<void>();
  const start = (): Worker => {
    const started = new Worker(moduleBeside(import.meta.url, 'logCareWorker'), { workerData: db.name });
    started.unref();
    started.on('message', () => {
      state = 'moved';
      answered.resolve();
    });
    // The next move begins another one.
    started.on('error', () => {
      state = 'idle';
      worker = undefined;
      answered.resolve();
    });
    return started;
  };
  const move = (): Promise<void> => {
    state = 'moving';
    answered = Promise.withResolvers();
    worker ??= start();
    worker.postMessage('move');
    return answered.promise;
  };
  return {
    async projected(more) {
      events += more;
      if (state === 'moved') {
        // What was written meanwhile is little.
        await move();
        state = 'idle';
      } else if (state === 'idle' && events >= eventsBetweenMoves) {
        events = 0;
        void move();
      }
    },
    async close() {
      if (worker === undefined) return;
      const ending = worker;
      worker = undefined;
      // What it has not moved is moved after the next start.
      await endWorker(ending).catch(() => undefined);
    },
  };
}
