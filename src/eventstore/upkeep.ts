import { Worker } from 'node:worker_threads';
import { endWorker, moduleBeside } from '../entry.ts';

/** Work on the store's file that takes long and waits for the disk: in a thread of its own, which begins with the first of it. */
export type Upkeep = {
  /** Does a task, unless it is being done or is about to be. `checkpoint`: moves what is in the write-ahead log into the main file.
   *  `index`: extends the index of streams over events that are in memory only. */
  run(task: 'checkpoint' | 'index'): void;
  /** Resolves when what runs has ended. */
  close(): Promise<void>;
};

export type UpkeepTask = 'checkpoint' | 'index' | 'close';
/** @property indexEvents events of a run of the index of streams */
export type UpkeepData = { readonly file: string; readonly indexEvents: number };

export function startUpkeep(data: UpkeepData): Upkeep {
  let worker: Worker | undefined;
  const due = new Set<UpkeepTask>();
  const start = (): Worker => {
    const started = new Worker(moduleBeside(import.meta.url, 'upkeepWorker'), { workerData: data });
    started.unref();
    started.on('message', (done: UpkeepTask) => due.delete(done));
    // What it was to do comes up again with the next commits.
    started.on('error', () => {
      due.clear();
      worker = undefined;
    });
    return started;
  };
  return {
    run(task) {
      if (due.has(task)) return;
      due.add(task);
      worker ??= start();
      worker.postMessage(task satisfies UpkeepTask);
    },
    async close() {
      if (worker === undefined) return;
      const ending = worker;
      worker = undefined;
      await endWorker(ending);
    },
  };
}
