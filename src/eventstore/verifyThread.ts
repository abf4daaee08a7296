import { Worker } from 'node:worker_threads';
import { moduleBeside } from '../entry.ts';
import { NusecError } from '../errors.ts';
import type { StoreVerdict } from './verify.ts';
import type { SignedTree } from './verifyTree.ts';

/** Verifies a store's file in a thread of its own. */

export type VerifyData = { readonly file: string; readonly signed: readonly SignedTree[]; readonly marked: boolean };
export type VerifyAnswer = StoreVerdict | { readonly error: string };

export type RunningVerification = {
  /** @throws NusecError STORE_DAMAGED when the file cannot be read */
  readonly verdict: Promise<StoreVerdict>;
  /** Ends it before its time; then there is no verdict. */
  close(): Promise<void>;
};

export function startVerification(workerData: VerifyData): RunningVerification {
  const worker = new Worker(moduleBeside(import.meta.url, 'verifyWorker'), { workerData });
  worker.unref();
  const { promise: verdict, resolve, reject } = Promise.withResolvers<StoreVerdict>();
  worker.on('message', (answer: VerifyAnswer) => {
    if ('error' in answer) reject(new NusecError('STORE_DAMAGED', answer.error));
    else resolve(answer);
  });
  worker.on('error', reject);
  return { verdict, close: async () => void (await worker.terminate()) };
}
