import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, statSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Writable } from 'node:stream';
import { Worker } from 'node:worker_threads';
import { fromHex, toHex } from '../bytes.ts';
import { moduleBeside } from '../entry.ts';
import { type ErrorCode, NusecError } from '../errors.ts';
import type { BlobStore } from '../eventstore/blobs.ts';
import { isUidAllowed, type UidProof } from '../production/uidList.ts';
import { hourMs } from '../times.ts';
import { maxTextBytes } from './readLines.ts';
import { openTreeFile, type Place, type TreeFile } from './treeFile.ts';

/** UID lists of chip vendors (RULE-7, T7): up to ten million chips, stored sorted as a blob, with a tree file beside it that proves one of them
 *  with one read. The tree file follows from the blob: it may be deleted and is made again. */

export type UidListName = {
  /** Of the sorted UIDs, 16 bytes each. */
  readonly sha256: string;
  readonly count: number;
  /** Root of the tree (RFC 9162 §2.1), 64 hex; lists of older jobs do not name it. */
  readonly merkleRoot?: string;
};

export type UidLists = {
  /** Stores a list as it streams in, one UID per line, gzip or not; what is answered meanwhile does not wait.
   *  @throws NusecError BAD_REQUEST naming the line, UID_CONFLICT, BODY_TOO_LARGE, RATE_LIMITED, STORE_UNAVAILABLE */
  store(text: ReadableStream<Uint8Array>): Promise<Required<UidListName>>;
  /** @returns undefined when the UID is not listed @throws NusecError BLOB_NOT_FOUND, BLOB_DAMAGED, STORE_UNAVAILABLE */
  prove(list: UidListName, uid: Uint8Array): Promise<UidProof | undefined>;
  /** Root of the tree, 32 bytes. @throws as `prove` */
  rootOf(list: UidListName): Promise<Uint8Array>;
  close(): Promise<void>;
};

export type WorkerTask = { readonly treeFile: string } & ({ readonly newListFile: string } | { readonly listFile: string });
export type WorkerAnswer = Required<UidListName> | { readonly code: ErrorCode; readonly detail: string };

/** Lists that come in at the same time wait for each other: each takes up to half a gigabyte of memory while it is sorted. */
const maxWaiting = 8;
/** Of a list of ten million 2.2 MB are held in memory. */
const maxOpenTrees = 16;
const partial = '.part';
/** Written by nobody any more: no list takes that long. */
const abandonedMs = hourMs;

/** @param folder of the tree files @param blobFileOf where a blob is that is a file */
export function openUidLists(folder: string, blobs: BlobStore, blobFileOf: (sha256: string) => string): UidLists {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const trees = new Map<string, TreeFile>();
  const opening = new Map<string, Promise<TreeFile>>();
  const running = new Set<Worker>();
  let turn: Promise<unknown> = Promise.resolve();
  let waiting = 0;

  const treePath = (sha256: string): string => join(folder, `${sha256}.tree`);
  const scratch = (): string => join(folder, `${randomBytes(8).toString('hex')}${partial}`);

  /** One at a time. @throws NusecError RATE_LIMITED */
  const inTurn = async <Result>(work: () => Promise<Result>): Promise<Result> => {
    if (waiting >= maxWaiting) throw new NusecError('RATE_LIMITED', 'other UID lists are being read; try again in a minute');
    waiting += 1;
    const mine = turn.then(work, work).finally(() => {
      waiting -= 1;
    });
    turn = mine.catch(() => undefined);
    return mine;
  };
  const inWorker = async (task: WorkerTask, text?: ReadableStream<Uint8Array>): Promise<Required<UidListName>> => {
    const worker = new Worker(moduleBeside(import.meta.url, 'worker'), { workerData: task, stdin: true });
    running.add(worker);
    const answered = Promise.withResolvers<WorkerAnswer>();
    worker.on('message', answered.resolve).on('error', answered.reject);
    worker.on('exit', () => answered.reject(new NusecError('STORE_UNAVAILABLE', 'the UID list was not read to its end')));
    try {
      if (text !== undefined) void feed(text, worker.stdin as Writable, answered.promise).catch(answered.reject);
      const answer = await answered.promise;
      if ('code' in answer) throw new NusecError(answer.code, answer.detail);
      return answer;
    } finally {
      running.delete(worker);
      await worker.terminate();
    }
  };
  const make = async (list: UidListName): Promise<TreeFile> => {
    const [treeFile, copy] = [scratch(), scratch()];
    try {
      let listFile = blobFileOf(list.sha256);
      if (!existsSync(listFile)) {
        await writeFile(copy, await blobs.get(list.sha256), { mode: 0o600 });
        listFile = copy;
      }
      const made = await inTurn(() => inWorker({ treeFile, listFile }));
      if (made.sha256 !== list.sha256) throw damaged(list);
      renameSync(treeFile, treePath(list.sha256));
    } finally {
      for (const file of [treeFile, copy]) rmSync(file, { force: true });
    }
    const tree = await openTreeFile(treePath(list.sha256), list.count);
    if (tree === undefined) throw damaged(list);
    return tree;
  };
  /** A root that is not recorded is computed once in each process: the file alone proves nothing. */
  const open = async (list: UidListName): Promise<TreeFile> => {
    const found = list.merkleRoot === undefined ? undefined : await openTreeFile(treePath(list.sha256), list.count);
    if (found !== undefined && toHex(found.root) === list.merkleRoot) return found;
    found?.close();
    const made = await make(list);
    if (list.merkleRoot !== undefined && toHex(made.root) !== list.merkleRoot) throw damaged(list);
    return made;
  };
  const forget = (sha256: string): void => {
    trees.get(sha256)?.close();
    trees.delete(sha256);
  };
  const keep = (sha256: string, tree: TreeFile): TreeFile => {
    const [oldest] = trees.keys();
    if (trees.size >= maxOpenTrees && oldest !== undefined) forget(oldest);
    trees.set(sha256, tree);
    return tree;
  };
  const treeOf = async (list: UidListName): Promise<TreeFile> => {
    const known = trees.get(list.sha256) ?? opening.get(list.sha256);
    if (known !== undefined) return known;
    const loading = open(list)
      .then(tree => keep(list.sha256, tree))
      .finally(() => opening.delete(list.sha256));
    opening.set(list.sha256, loading);
    return loading;
  };

  removeAbandoned(folder);
  return {
    store: text =>
      inTurn(async () => {
        const [treeFile, newListFile] = [scratch(), scratch()];
        try {
          const list = await inWorker({ treeFile, newListFile }, text);
          await blobs.putFile(newListFile, list.sha256);
          renameSync(treeFile, treePath(list.sha256));
          return list;
        } finally {
          for (const file of [treeFile, newListFile]) rmSync(file, { force: true });
        }
      }),
    async prove(list, uid) {
      const tree = await treeOf(list);
      const { isListed, neighbours } = tree.find(uid);
      const rule = { merkleRoot: list.merkleRoot === undefined ? tree.root : fromHex(list.merkleRoot), count: list.count };
      const isProven = neighbours.every(near => isUidAllowed(rule, near.uid, near.proof));
      if (isProven && (isListed || isGap(neighbours, uid, list.count))) return isListed ? neighbours[0]?.proof : undefined;
      forget(list.sha256);
      rmSync(treePath(list.sha256), { force: true });
      throw damaged(list);
    },
    rootOf: async list => (list.merkleRoot === undefined ? (await treeOf(list)).root : fromHex(list.merkleRoot)),
    async close() {
      await Promise.all([...running].map(worker => worker.terminate()));
      for (const sha256 of [...trees.keys()]) forget(sha256);
    },
  };
}

/** Whether nothing can be where the UID would be: its neighbours are side by side, or the list ends there. */
function isGap(neighbours: readonly Place[], uid: Uint8Array, count: number): boolean {
  const below = neighbours.filter(near => Buffer.compare(near.uid, uid) < 0);
  const above = neighbours.filter(near => Buffer.compare(near.uid, uid) > 0);
  return (above[0]?.proof.index ?? count) - (below[0]?.proof.index ?? -1) === 1;
}

/** Streams a text to the worker, no faster than it reads. What comes after its answer is read and dropped, so that whoever sends it gets to the
 *  answer. @throws NusecError BODY_TOO_LARGE, and what reading throws */
async function feed(text: ReadableStream<Uint8Array>, into: Writable, answered: Promise<unknown>): Promise<void> {
  let isOver = false;
  const over = answered
    .catch(() => undefined)
    .finally(() => {
      isOver = true;
    });
  into.on('error', () => undefined);
  let total = 0;
  for await (const chunk of text) {
    total += chunk.length;
    if (total > maxTextBytes) throw new NusecError('BODY_TOO_LARGE', `a UID list has at most ${maxTextBytes} bytes`);
    if (!isOver && !into.write(chunk)) await Promise.race([once(into, 'drain'), over]);
  }
  if (!isOver) into.end();
}

const damaged = ({ sha256 }: UidListName): NusecError => new NusecError('BLOB_DAMAGED', `the UID list ${sha256} is not what was stored`);

function removeAbandoned(folder: string): void {
  for (const name of readdirSync(folder)) {
    const path = join(folder, name);
    const writtenMs = name.endsWith(partial) ? statSync(path, { throwIfNoEntry: false })?.mtimeMs : undefined;
    if (writtenMs !== undefined && Date.now() - writtenMs > abandonedMs) rmSync(path, { force: true });
  }
}
