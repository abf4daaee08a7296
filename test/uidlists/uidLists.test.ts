import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { fromHex, toHex } from '../../src/bytes.ts';
import { blobFile, openBlobStore } from '../../src/eventstore/blobs.ts';
import { isUidAllowed } from '../../src/production/uidList.ts';
import { sortUids } from '../../src/uidlists/sort.ts';
import { openUidLists, type UidLists } from '../../src/uidlists/uidLists.ts';
import { naivePath, naiveRoot } from '../merkle/naive.ts';
import { covers } from '../support/covers.ts';

const code = (name: string) => expect.objectContaining({ code: name });
const uidOf = (n: number): Uint8Array => fromHex(n.toString(16).padStart(32, '0'));
const uidsUpTo = (count: number) => Array.from({ length: count }, (_, n) => uidOf(3 * n + 1));
const linesOf = (uids: readonly Uint8Array[]) => uids.map(toHex).join('\n');
const streamOf = (text: string | Uint8Array): ReadableStream<Uint8Array> => new Blob([text as string]).stream();

let folder: string;
let lists: UidLists;
const open = (): UidLists => {
  const blobs = join(folder, 'blobs');
  return openUidLists(join(folder, 'trees'), openBlobStore(blobs), sha256 => blobFile(blobs, sha256));
};
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'nusec-lists-'));
  lists = open();
});
afterEach(async () => {
  await lists.close();
  rmSync(folder, { recursive: true, force: true });
});

describe('a UID list', () => {
  it('has the tree of RFC 9162 §2.1 for every size, and a proof of each chip (RULE-7, T7)', async () => {
    covers('RULE-7', 'T7');
    for (const count of [1, 2, 3, 255, 256, 257, 511, 513, 1025]) {
      const uids = uidsUpTo(count);
      const list = await lists.store(streamOf(linesOf(uids.toReversed())));
      expect(list).toMatchObject({ count, merkleRoot: toHex(naiveRoot(uids)) });
      const rule = { merkleRoot: fromHex(list.merkleRoot), count };
      for (const index of [...new Set([0, 1, 254, 255, 256, 511, count - 2, count - 1].filter(at => at >= 0 && at < count))]) {
        const proof = await lists.prove(list, uids[index]!);
        expect(proof).toEqual({ index, path: naivePath(index, uids).map(hash => new Uint8Array(hash)) });
        expect(isUidAllowed(rule, uids[index]!, proof)).toBe(true);
      }
      for (const other of [0, 2, 3 * count]) expect(await lists.prove(list, uidOf(other))).toBeUndefined();
    }
  });

  it('is the same as text, as gzip, in any order, with comments and short UIDs', async () => {
    const uids = [...uidsUpTo(300), fromHex('aabbccddeeff001122334455'.padEnd(32, '0'))];
    const plain = await lists.store(streamOf(linesOf(uids)));
    const text = `# lot 7\r\n\r\n  AABBCCDDEEFF001122334455 \r\n${uidsUpTo(300).toReversed().map(toHex).join('\r\n')}\r\n# end`;
    expect(await lists.store(streamOf(text))).toEqual(plain);
    expect(await lists.store(streamOf(gzipSync(text)))).toEqual(plain);
  });

  it('may have two hundred thousand lines', async () => {
    const list = await lists.store(streamOf(gzipSync(linesOf(uidsUpTo(200_000)))));
    expect(list.count).toBe(200_000);
    expect((await lists.prove(list, uidOf(3 * 123_456 + 1)))?.index).toBe(123_456);
    expect(await lists.prove(list, uidOf(3))).toBeUndefined();
  });

  it('is refused with the line or the UID that is wrong', async () => {
    const [uid] = uidsUpTo(1).map(toHex);
    const refused = async (text: string | Uint8Array, refusal: string, detail: string) =>
      await expect(lists.store(streamOf(text))).rejects.toMatchObject({ code: refusal, message: expect.stringContaining(detail) });
    await refused('', 'BAD_REQUEST', 'empty');
    await refused('# nothing\n', 'BAD_REQUEST', 'empty');
    await refused(`${uid}\n\nxyz`, 'BAD_REQUEST', 'line 3');
    await refused(`${uid}\n${uid}0`, 'BAD_REQUEST', 'line 2');
    await refused(`${uid} ${uid}`, 'BAD_REQUEST', 'line 1');
    await refused(uid!.slice(1), 'BAD_REQUEST', 'line 1');
    await refused(`${uid}\n${uid}`, 'UID_CONFLICT', uid!);
    await refused(gzipSync(uid!.repeat(999)).subarray(0, 30), 'BAD_REQUEST', 'gzip');
    expect(readdirSync(join(folder, 'trees'))).toEqual([]);
  });

  it('is answered for while others come in', async () => {
    const stored = await Promise.all([7, 300, 8].map(count => lists.store(streamOf(linesOf(uidsUpTo(count))))));
    expect(stored.map(({ count }) => count)).toEqual([7, 300, 8]);
  });
});

describe('the tree of a UID list', () => {
  const treeFile = () => join(folder, 'trees', readdirSync(join(folder, 'trees'))[0] ?? '');
  const reopened = async (): Promise<void> => {
    await lists.close();
    lists = open();
  };

  it('is made again from the list when its file is gone, also for a list whose root nobody has recorded', async () => {
    const uids = uidsUpTo(600);
    const { merkleRoot, ...old } = await lists.store(streamOf(linesOf(uids)));
    rmSync(treeFile());
    await reopened();
    expect((await lists.prove({ ...old, merkleRoot }, uids[77]!))?.index).toBe(77);
    expect(toHex(await lists.rootOf(old))).toBe(merkleRoot);
    await reopened();
    expect((await lists.prove(old, uids[77]!))?.index).toBe(77);
  });

  it('does not let a chip in or keep one out when its file was changed (T30)', async () => {
    covers('T30');
    const uids = uidsUpTo(600);
    const list = await lists.store(streamOf(linesOf(uids)));
    await reopened();
    const bytes = readFileSync(treeFile());
    bytes[77 * 16 + 15]! ^= 2;
    writeFileSync(treeFile(), bytes);
    await expect(lists.prove(list, uids[77]!)).rejects.toThrow(code('BLOB_DAMAGED'));
    // It is made again from the list itself.
    expect((await lists.prove(list, uids[77]!))?.index).toBe(77);
  });

  it('is not made from a list that was changed (T30)', async () => {
    covers('T30');
    const list = await lists.store(streamOf(linesOf(uidsUpTo(600))));
    rmSync(treeFile());
    await reopened();
    const file = blobFile(join(folder, 'blobs'), list.sha256);
    const bytes = readFileSync(file);
    bytes[15]! ^= 2;
    writeFileSync(file, bytes);
    await expect(lists.prove(list, uidOf(1))).rejects.toThrow(code('BLOB_DAMAGED'));
  });
});

it('sorts UIDs as bytes', () => {
  const uid = fc.uint8Array({ minLength: 16, maxLength: 16 });
  fc.assert(
    fc.property(fc.array(uid, { minLength: 1, maxLength: 50 }), fc.boolean(), (uids, sameStart) => {
      if (sameStart) for (const each of uids) each.fill(7, 0, 12);
      const joined = new Uint8Array(Buffer.concat(uids));
      sortUids(joined);
      expect(Buffer.compare(joined, Buffer.concat(uids.toSorted(Buffer.compare)))).toBe(0);
    }),
  );
});
