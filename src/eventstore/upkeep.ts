import { Worker } from 'node:worker_threads';
import { endWorker, moduleBeside } from '../entry.ts';

/** Work on the store's file that takes long and waits for the disk: in a thread of its own, which begins with the first of it. */
export type Upkeep = {
  /** Does a task, unless it is being done or is about to be. `checkpoint`: moves what is in the write-ahead log into the main file.
   *  `index`: extends the index of streams over events that are in memory only. */
  run(task: 'checkpoint' | 'index'): void;
  /** Why a task was not done: until it is, the log or what is in memory grows. It is tried again with each call. */
  failure(): Error | undefined;
  /** Resolves when what runs has ended. */
  close(): Promise<void>;
};

export type UpkeepTask = 'checkpoint' | 'index' | 'close';
/** @property indexEvents events of a run of the index of streams */
export type UpkeepData = { readonly file: string; readonly indexEvents: number };

export function startUpkeep(data: UpkeepData): Upkeep {
  let worker: Worker | undefined;
  const due = new Set<UpkeepTask>();
  let failure: Error | undefined;
  const failed = new Set<UpkeepTask>();
  const start = (): Worker => {
    const started = new Worker(moduleBeside(import.meta.url, 'upkeepWorker'), { workerData: data });
    started.unref();
    started.on('message', (done: UpkeepTask) => {
      due.delete(done);
      failed.delete(done);
    });
    // What it was to do comes up again with the next commits.
    started.on('error', error => {
      failure = error;
      for (const task of due) failed.add(task);
      due.clear();
      worker = undefined;
    });
    return started;
  };
  const run = (task: UpkeepTask): void => {
    if (due.has(task)) return;
    due.add(task);
    worker ??= start();
    worker.postMessage(task satisfies UpkeepTask);
  };
  return {
    run,
    async close() {
      if (worker === undefined) return;
      const ending = worker;
      worker = undefined;
      // What it has not done comes up again with the next start.
      await endWorker(ending).catch(() => undefined);
    },
    failure() {
      for (const task of failed) run(task);
      return failed.size === 0 ? undefined : failure;
    },
  };
}
