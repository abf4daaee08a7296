import { once } from 'node:events';
import { createReadStream, createWriteStream } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { finished } from 'node:stream/promises';
import { fromHex } from '../src/bytes.ts';
import { blobFile, openBlobStore } from '../src/eventstore/blobs.ts';
import { writeLeafHash } from '../src/uidlists/tree.ts';
import { openTreeFile } from '../src/uidlists/treeFile.ts';
import { openUidLists } from '../src/uidlists/uidLists.ts';
import { inTemporaryFolder, median, type Report } from './parts/measure.ts';

/** UID lists: how long one takes to come in and how long other work waits meanwhile, and what one proof costs. */

const sizes = [100_000, 1_000_000, ...(process.env.BENCH_LARGE ? [10_000_000] : [])];
const proofs = 20_000;
const tickMs = 1;

export const run = (report: Report): Promise<void> => inTemporaryFolder(folder => measure(folder, report));

async function measure(folder: string, report: Report): Promise<void> {
  const blobs = join(folder, 'blobs');
  const lists = openUidLists(join(folder, 'trees'), openBlobStore(blobs), sha256 => blobFile(blobs, sha256));
  for (const size of sizes) {
    const file = join(folder, 'lot.txt');
    await writeLot(file, size);
    const waits = watchWaits();
    const begin = performance.now();
    const list = await lists.store(Readable.toWeb(createReadStream(file)) as ReadableStream<Uint8Array>);
    const tookMs = performance.now() - begin;
    const name = size.toLocaleString('en');
    report({ figure: `list of ${name}: stored`, value: tookMs / 1000, unit: 's', bound: size / 1e6, boundWhat: 'a million per second' });
    report({ figure: `list of ${name}: longest wait of others`, value: waits(), unit: 'ms', bound: 50, boundWhat: 'the goal' });
    const tree = await openTreeFile(join(folder, 'trees', `${list.sha256}.tree`), list.count);
    const asked = Array.from({ length: proofs }, (_, n) => uidOf((n * 7919) % size));
    const each = await perCallUs(asked, uid => tree?.find(uid));
    const checked = await perCallUs(asked, uid => lists.prove(list, uid));
    const hash = new Uint8Array(32);
    const oneHash = await perCallUs(asked, uid => writeLeafHash(uid, hash, 0));
    report({ figure: `list of ${name}: one proof`, value: each, unit: 'µs', bound: 10, boundWhat: 'the goal' });
    const depth = Math.ceil(Math.log2(size));
    report({ figure: `list of ${name}: proof, checked`, value: checked, unit: 'µs', bound: oneHash * depth, boundWhat: `${depth} hashes` });
    tree?.close();
  }
  await lists.close();
}

const uidOf = (n: number): Uint8Array =>
  fromHex(
    BigInt.asUintN(128, BigInt(n) * 0x9e3779b97f4a7c15f39cc0605cedc835n)
      .toString(16)
      .padStart(32, '0'),
  );

async function writeLot(file: string, size: number): Promise<void> {
  const out = createWriteStream(file);
  for (let n = 0; n < size; n += 10_000) {
    const lines = Array.from({ length: Math.min(10_000, size - n) }, (_, i) => `${Buffer.from(uidOf(n + i)).toString('hex')}\n`);
    if (!out.write(lines.join(''))) await once(out, 'drain');
  }
  out.end();
  await finished(out);
}

/** Processor time of this thread, so that others on the machine do not count. */
async function perCallUs(uids: readonly Uint8Array[], call: (uid: Uint8Array) => unknown): Promise<number> {
  const rounds: number[] = [];
  for (let round = 0; round < 5; round++) {
    const begin = process.threadCpuUsage();
    for (const uid of uids) await call(uid);
    const { user, system } = process.threadCpuUsage(begin);
    rounds.push((user + system) / uids.length);
  }
  return median(rounds);
}

/** @returns stops and gives the longest time between two turns of the event loop beyond the pause */
function watchWaits(): () => number {
  let [longest, last] = [0, performance.now()];
  const timer = setInterval(() => {
    const now = performance.now();
    longest = Math.max(longest, now - last - tickMs);
    last = now;
  }, tickMs);
  return () => {
    clearInterval(timer);
    return longest;
  };
}
