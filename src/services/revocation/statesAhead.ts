import { Worker } from 'node:worker_threads';
import { device, deviceStream } from '../../domain/device.ts';
import type { DeviceState } from '../../domain/deviceState.ts';
import { endWorker, moduleBeside } from '../../entry.ts';
import type { KnownState, Loaded, PassingStates } from '../../eventstore/stateCache.ts';
import type { Context } from '../base/context.ts';

/** Reads and folds many devices in a thread of its own, before they are decided on. What it finds is a state like any other: the events
 *  after it are read with the decision, and the commit holds its revision against the log. */

export type StatesAhead = {
  /** Starts the thread, before there is work for it: while it starts, it takes a processor. */
  begin(): void;
  /** The states of these devices, but for those that are left to whoever decides. */
  read(uids: readonly string[]): Promise<PassingStates>;
  close(): Promise<void>;
};

export type StreamEnd = readonly [stream: string, position: number];
/** For each stream, with the hash of its newest event; undefined when it is left to whoever decides. */
export type StatesRead = readonly ((Loaded<DeviceState> & { readonly hash: string }) | undefined)[];

/** @param file of the event store */
export function readStatesAhead({ storedLog }: Context, file: string): StatesAhead {
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
    begin() {
      worker ??= start();
    },
    async read(uids) {
      const ends = uids.map(deviceStream).map((stream): StreamEnd => [stream, storedLog.endOf(stream)]);
      worker ??= start();
      worker.postMessage(ends satisfies readonly StreamEnd[]);
      const read = await new Promise<StatesRead>(resolve => asked.push(resolve));
      const states = new Map<string, KnownState>();
      for (const [i, [stream]] of ends.entries()) {
        const found = read[i];
        if (found === undefined) continue;
        const { hash, ...loaded } = found;
        states.set(stream, { decider: device, loaded });
        storedLog.learnEnd(stream, { revision: loaded.revision, position: loaded.position, hash });
      }
      return states;
    },
    async close() {
      if (worker === undefined) return;
      const ending = worker;
      worker = undefined;
      await endWorker(ending);
    },
  };
}
