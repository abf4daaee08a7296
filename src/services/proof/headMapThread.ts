import { Worker } from 'node:worker_threads';
import { endWorker, moduleBeside } from '../../entry.ts';
import type { Reached } from './headMapRows.ts';

/** The thread that brings the map of stream heads up. */

/** Events, as far as the map is made of them: position, revision, hash, `revoking` or nothing, stream; a line for each. One text crosses to the thread
 *  in half of the time that as many objects take. */
export type HeadChanges = string;
/** Stands for an event that changes what is revoked. */
export const revoking = 'R';

/** `begin`: continues from what is in the file. `write`: puts what was taken in into the file. `begin` and `close` are not answered. */
export type HeadMapTask = { readonly take: HeadChanges } | 'begin' | 'write' | 'close';
/** `lost`: another process has written meanwhile, or the events do not continue what is in the file. */
export type HeadMapAnswer = Reached | 'lost';

export type HeadMapThread = {
  begin(): void;
  /** @returns whether the events continue those before */
  take(events: HeadChanges): Promise<boolean>;
  /** @returns what the file has now; undefined when another process has written meanwhile */
  write(): Promise<Reached | undefined>;
  close(): Promise<void>;
};

/** @param onEnd the thread has failed and does nothing more */
export function startHeadMapThread(file: string, onEnd: () => void): HeadMapThread {
  const worker = new Worker(moduleBeside(import.meta.url, 'headMapWorker'), { workerData: file });
  worker.unref();
  const asked: PromiseWithResolvers<HeadMapAnswer>[] = [];
  worker.on('message', (answer: HeadMapAnswer) => asked.shift()?.resolve(answer));
  worker.on('error', error => {
    onEnd();
    for (const { reject } of asked.splice(0)) reject(error);
  });
  const ask = (task: HeadMapTask): Promise<HeadMapAnswer> => {
    const question = Promise.withResolvers<HeadMapAnswer>();
    // Whoever asked may have given up before the answer.
    question.promise.catch(() => undefined);
    asked.push(question);
    worker.postMessage(task);
    return question.promise;
  };
  return {
    begin: () => worker.postMessage('begin' satisfies HeadMapTask),
    take: async events => (await ask({ take: events })) !== 'lost',
    async write() {
      const answer = await ask('write');
      return answer === 'lost' ? undefined : answer;
    },
    close: () => endWorker(worker),
  };
}
