import { type KeyObject, sign } from 'node:crypto';
import { parentPort } from 'node:worker_threads';
import { digestOf, type SignedMessage } from '../ecKey.ts';
import { isProven } from './keyRules.ts';
import { packed, type SigningTask } from './signingThread.ts';

/** The thread behind signingThread.ts. */

const keys = new Map<number, KeyObject>();
const nothing = new Uint8Array();

parentPort?.on('message', (task: SigningTask | 'forget' | 'close') => {
  if (task === 'close') return parentPort?.close();
  if (task === 'forget') return keys.clear();
  for (const [number, key] of task.newKeys) keys.set(number, key);
  const { next } = reader(task);
  const signatures = task.wishes.map(({ key, curve }) => {
    const [message, signature, publicKey, toSign] = [next(), next(), next(), next()];
    return signOne(keys.get(key), { curve, message, signature, publicKey }, toSign);
  });
  const answer = packed(signatures);
  return parentPort?.postMessage(answer, [answer.bytes.buffer]);
});

function reader({ lengths, bytes }: SigningTask): { next(): Uint8Array } {
  let [index, at] = [0, 0];
  return {
    next() {
      const part = bytes.subarray(at, at + (lengths[index++] ?? 0));
      at += part.length;
      return part;
    },
  };
}

function signOne(key: KeyObject | undefined, proof: SignedMessage, message: Uint8Array): Uint8Array {
  if (key === undefined) throw new Error('a key is missing in the signing thread');
  return isProven(proof) ? sign(digestOf['P-256'], message, key) : nothing;
}
