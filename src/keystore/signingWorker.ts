import { type KeyObject, sign } from 'node:crypto';
import { parentPort } from 'node:worker_threads';
import { digestOf, type SignedMessage } from '../ecKey.ts';
import { isProven } from './keyRules.ts';
import { packed, type SigningTask, unpacking } from './signingThread.ts';

/** The thread behind signingThread.ts. */

const keys = new Map<number, KeyObject>();
const nothing = new Uint8Array();

parentPort?.on('message', (task: SigningTask | 'forget' | 'close') => {
  if (task === 'close') return parentPort?.close();
  if (task === 'forget') return keys.clear();
  for (const [number, key] of task.newKeys) keys.set(number, key);
  const next = unpacking(task);
  const signatures = task.wishes.map(({ key, curve }) => {
    const [message, signature, publicKey, toSign] = [next(), next(), next(), next()];
    return signOne(keys.get(key), { curve, message, signature, publicKey }, toSign);
  });
  const answer = packed(signatures);
  return parentPort?.postMessage(answer, [answer.bytes.buffer]);
});

function signOne(key: KeyObject | undefined, proof: SignedMessage, message: Uint8Array): Uint8Array {
  if (key === undefined) throw new Error('a key is missing in the signing thread');
  return isProven(proof) ? sign(digestOf['P-256'], message, key) : nothing;
}
