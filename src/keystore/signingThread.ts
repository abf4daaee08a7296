import type { KeyObject } from 'node:crypto';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import type { SignedMessage } from '../ecKey.ts';
import { endWorker, moduleBeside } from '../entry.ts';
import { signEc } from './ec.ts';
import { notGenuine, requireGenuine } from './keyRules.ts';

/** A thread that verifies a signature and signs what rests on it, with P-256: what comes in one turn of the event loop goes there and back together,
 *  so that the calling thread has little to do for each (docs/decisions/204). It begins with the first of it. */

export type SigningThread = {
  /** @throws CSR_SIGNATURE when the signature does not hold: then nothing is signed */
  sign(wish: SigningWish): Promise<Uint8Array>;
  /** A key may be destroyed: the thread keeps none. */
  forget(): void;
  close(): Promise<void>;
};

type SigningWish = {
  readonly key: KeyObject;
  readonly message: Uint8Array;
  readonly proof: SignedMessage;
};

/** Four parts for each wish, in `bytes` one after the other: the signed message, its signature, its public key, what is to be signed. One buffer
 *  crosses to the thread in a fraction of the time of many. */
export type SigningTask = {
  /** By the number that the thread knows a key by. */
  readonly newKeys: readonly (readonly [number, KeyObject])[];
  readonly wishes: readonly { readonly key: number; readonly curve: SignedMessage['curve'] }[];
  readonly lengths: readonly number[];
  readonly bytes: Uint8Array<ArrayBuffer>;
};
/** DER signatures one after the other; of length 0 where nothing was signed. */
export type SigningAnswer = { readonly lengths: readonly number[]; readonly bytes: Uint8Array<ArrayBuffer> };

type Job = SigningWish & PromiseWithResolvers<Uint8Array>;

export function createSigningThread(): SigningThread {
  let worker: Worker | undefined;
  /** Keys that the thread has. A key that comes again under the same id is another one. */
  let known = new Map<KeyObject, number>();
  let newKeys: [number, KeyObject][] = [];
  let keys = 0;
  let gathered: Job[] = [];
  let sent: (readonly Job[])[] = [];
  const begin = (): Worker => {
    const begun = new Worker(moduleBeside(import.meta.url, 'signingWorker'));
    begun.unref();
    begun.on('message', (answer: SigningAnswer) => settle(sent.shift() ?? [], answer));
    begun.on('error', () => {
      worker = undefined;
      known = new Map();
      const lost = sent.flat();
      sent = [];
      for (const job of lost) signHere(job);
    });
    return begun;
  };
  const numberOf = (key: KeyObject): number => {
    const number = known.get(key) ?? ++keys;
    if (!known.has(key)) newKeys.push([number, key]);
    known.set(key, number);
    return number;
  };
  const send = (): void => {
    const jobs = gathered;
    gathered = [];
    const parts = jobs.flatMap(({ proof, message }) => [proof.message, proof.signature, proof.publicKey, message]);
    const wishes = jobs.map(({ key, proof }) => ({ key: numberOf(key), curve: proof.curve }));
    const task: SigningTask = { newKeys, wishes, ...packed(parts) };
    newKeys = [];
    sent.push(jobs);
    worker ??= begin();
    worker.postMessage(task, [task.bytes.buffer]);
  };
  return {
    sign(wish) {
      const job = { ...wish, ...Promise.withResolvers<Uint8Array>() };
      gathered.push(job);
      if (gathered.length === 1) setImmediate(send);
      return job.promise;
    },
    forget() {
      known.clear();
      worker?.postMessage('forget');
    },
    async close() {
      // What was gathered before is sent.
      await nextTurn();
      const ending = worker;
      worker = undefined;
      if (ending !== undefined) await endWorker(ending);
    },
  };
}

/** In a buffer of its own, which is handed over. */
export function packed(parts: readonly Uint8Array[]): SigningAnswer {
  const lengths = parts.map(({ length }) => length);
  const bytes = new Uint8Array(lengths.reduce((sum, length) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return { lengths, bytes };
}

/** @returns gives the parts of `packed`, one after the other, in the memory of all of them */
export function unpacking({ lengths, bytes }: SigningAnswer): () => Uint8Array {
  let [index, at] = [0, 0];
  return () => {
    const part = bytes.subarray(at, at + (lengths[index++] ?? 0));
    at += part.length;
    return part;
  };
}

function settle(jobs: readonly Job[], answer: SigningAnswer): void {
  const next = unpacking(answer);
  for (const { resolve, reject } of jobs) {
    const signature = next().slice();
    if (signature.length > 0) resolve(signature);
    else reject(notGenuine());
  }
}

/** When the thread has failed. */
function signHere({ key, message, proof, resolve, reject }: Job): void {
  try {
    requireGenuine(proof);
    signEc('P-256', key, message).then(resolve, reject);
  } catch (error) {
    reject(error);
  }
}
