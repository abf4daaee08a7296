import { once } from 'node:events';
import { Worker } from 'node:worker_threads';

/** Work on the store's file that takes long and waits for the disk: in a thread of its own, which begins with the first of it. */
export type Upkeep = {
  /** Moves what is in the write-ahead log into the main file. */
  checkpoint(): void;
  /** Resolves when what runs has ended. */
  close(): Promise<void>;
};

export type UpkeepTask = 'checkpoint' | 'close';

export function startUpkeep(file: string): Upkeep {
  let worker: Worker | undefined;
  let running = false;
  const start = (): Worker => {
    const started = new Worker(new URL('./upkeepWorker.ts', import.meta.url), { workerData: { file } });
    started.unref();
    started.on('message', () => {
      running = false;
    });
    // What it was to do comes up again with the next commits.
    started.on('error', () => {
      running = false;
      worker = undefined;
    });
    return started;
  };
  return {
    checkpoint() {
      if (running) return;
      running = true;
      worker ??= start();
      worker.postMessage('checkpoint' satisfies UpkeepTask);
    },
    async close() {
      if (worker === undefined) return;
      const ended = once(worker, 'exit');
      worker.ref();
      worker.postMessage('close' satisfies UpkeepTask);
      worker = undefined;
      await ended;
    },
  };
}
