import { Worker } from 'node:worker_threads';
import { device, deviceStream } from '../../domain/device.ts';
import type { DeviceState } from '../../domain/deviceState.ts';
import { endWorker, moduleBeside } from '../../entry.ts';
import { type Loaded, remember } from '../../eventstore/stateCache.ts';
import type { Context } from '../base/context.ts';

/** Reads and folds many devices in a thread of its own, before they are decided on. What it finds is a state like any other in the memory: the events
 *  after it are read with the decision, and the commit holds its revision against the log. */

export type StatesAhead = {
  /** Resolves when the states of these devices are in the memory, or are left to whoever decides. */
  prepare(uids: readonly string[]): Promise<void>;
  close(): Promise<void>;
};

export type StreamEnd = readonly [stream: string, position: number];
/** For each stream, with the hash of its newest event; undefined when it is left to whoever decides. */
export type StatesRead = readonly ((Loaded<DeviceState> & { readonly hash: string }) | undefined)[];

/** @param file of the event store */
export function readStatesAhead({ store, storedLog }: Context, file: string): StatesAhead {
  let worker: Worker | undefined;
  const asked: ((read: StatesRead) => void)[] = [];
  const start = (): Worker => {
    const started = new Worker(moduleBeside(import.meta.url, 'statesAheadWorker'), { workerData: file });
    started.unref();
    started.on('message', (read: StatesRead) => asked.shift()?.(read));
    // Whoever decides reads for itself, and says what is wrong.
    started.on('error', () => {
      worker = undefined;
      for (const answer of asked.splice(0)) answer([]);
    });
    return started;
  };
  return {
    async prepare(uids) {
      const ends = uids.map(deviceStream).map((stream): StreamEnd => [stream, storedLog.endOf(stream)]);
      worker ??= start();
      worker.postMessage(ends satisfies readonly StreamEnd[]);
      const read = await new Promise<StatesRead>(resolve => asked.push(resolve));
      for (const [i, [stream]] of ends.entries()) {
        const found = read[i];
        if (found === undefined) continue;
        const { hash, ...loaded } = found;
        remember(store, device, stream, loaded);
        storedLog.learnEnd(stream, { revision: loaded.revision, position: loaded.position, hash });
      }
    },
    async close() {
      if (worker === undefined) return;
      const ending = worker;
      worker = undefined;
      await endWorker(ending);
    },
  };
}
