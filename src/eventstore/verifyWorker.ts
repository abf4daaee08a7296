import { parentPort, workerData } from 'node:worker_threads';
import { verifyStore } from './verify.ts';
import type { VerifyAnswer, VerifyData } from './verifyThread.ts';

/** The thread behind verifyThread.ts. */

const { file, signed, marked } = workerData as VerifyData;

function answer(): VerifyAnswer {
  try {
    return verifyStore(file, signed, marked);
  } catch (error) {
    return { error: (error as Error).message };
  }
}

parentPort?.postMessage(answer());
