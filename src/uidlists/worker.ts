import { hash } from 'node:crypto';
import { closeSync, fsyncSync, openSync, readFileSync, writeSync } from 'node:fs';
import { pipeline } from 'node:stream';
import { parentPort, workerData } from 'node:worker_threads';
import { createGunzip } from 'node:zlib';
import { toHex } from '../bytes.ts';
import { NusecError } from '../errors.ts';
import { readUidLines } from './readLines.ts';
import { firstTwice, sortUids } from './sort.ts';
import { uidBytes } from './tree.ts';
import { writeTreeFile } from './treeFile.ts';
import type { WorkerAnswer, WorkerTask } from './uidLists.ts';

/** The thread behind uidLists.ts: a list is read, sorted and hashed here, so that nobody waits for it. */

const task = workerData as WorkerTask;

/** The UIDs that stream in, or those that are stored. */
async function sortedUids(): Promise<Uint8Array> {
  if ('listFile' in task) return new Uint8Array(readFileSync(task.listFile));
  const uids = await readUidLines(unpacked(process.stdin));
  sortUids(uids);
  const twice = firstTwice(uids);
  if (twice !== undefined) throw new NusecError('UID_CONFLICT', `the UID ${toHex(twice)} stands twice in the list`);
  return uids;
}

/** A text does not begin as a gzip file does (RFC 1952 §2.3.1). @throws NusecError BAD_REQUEST */
async function* unpacked(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const chunks = source[Symbol.asyncIterator]();
  const first = await chunks.next();
  const whole = async function* (): AsyncGenerator<Uint8Array> {
    if (!first.done) yield first.value;
    for (let next = await chunks.next(); !next.done; next = await chunks.next()) yield next.value;
  };
  const isPacked = !first.done && first.value[0] === 0x1f && first.value[1] === 0x8b;
  if (!isPacked) return yield* whole();
  try {
    yield* pipeline(whole, createGunzip(), () => undefined) as AsyncIterable<Uint8Array>;
  } catch (cause) {
    throw new NusecError('BAD_REQUEST', 'the gzip file of the UID list is damaged', { cause });
  }
}

async function answer(): Promise<WorkerAnswer> {
  const uids = await sortedUids();
  const sha256 = hash('sha256', uids, 'hex');
  if ('newListFile' in task) writeDurably(task.newListFile, uids);
  return { sha256, count: uids.length / uidBytes, merkleRoot: toHex(writeTreeFile(task.treeFile, uids)) };
}

function writeDurably(path: string, bytes: Uint8Array): void {
  const file = openSync(path, 'wx', 0o600);
  try {
    for (let at = 0; at < bytes.length; ) at += writeSync(file, bytes, at);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}

function refusalOf(error: unknown): WorkerAnswer {
  if (error instanceof NusecError) return { code: error.code, detail: error.message };
  const { code, syscall } = error as NodeJS.ErrnoException;
  if (syscall !== undefined) return { code: 'STORE_UNAVAILABLE', detail: `the UID list: ${syscall} ${code}` };
  throw error;
}

parentPort?.postMessage(await answer().catch(refusalOf));
