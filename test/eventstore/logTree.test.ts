import { join } from 'node:path';
import Database from 'better-sqlite3';
import { describe, expect, it } from 'vitest';
import type { EventStore } from '../../src/eventstore/port.ts';
import { openSqliteStore } from '../../src/eventstore/sqlite.ts';
import { createCompactRange } from '../../src/merkle/compactRange.ts';
import { leafOfHash } from '../../src/merkle/hashing.ts';
import { verifyConsistency, verifyInclusion } from '../../src/merkle/proofs.ts';
import { naiveRoot } from '../merkle/naive.ts';
import { openMemoryStore } from './memory.ts';
import { event, temporaryFolder } from './support.ts';

const append = (store: EventStore, count: number, stream = 's') =>
  Promise.all(Array.from({ length: count }, (_, i) => store.append(`${stream}-${i % 7}`, 'any', [event('Happened', { i })])));

async function hashesOf(store: EventStore): Promise<Uint8Array[]> {
  return (await store.readAll(0, 10_000)).map(({ hash }) => Buffer.from(hash, 'hex'));
}

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

describe.each([
  ['memory', async () => openMemoryStore()],
  ['sqlite', async () => openSqliteStore({ file: join(temporaryFolder(), 'events.db') })],
])('the tree over all events, on %s', (_, open) => {
  it('has a leaf for every event in the order of the store, at any size', async () => {
    const store = await open();
    expect(await store.tree.root(0)).toBe(hex(naiveRoot([])));
    for (const count of [1, 2, 250, 10, 600]) {
      await append(store, count);
      const hashes = await hashesOf(store);
      expect(await store.tree.root(hashes.length)).toBe(hex(naiveRoot(hashes)));
      expect(await store.tree.root(1)).toBe(hex(naiveRoot(hashes.slice(0, 1))));
    }
    await store.close();
  });

  it('proves that an event is in it, and that it only grew', async () => {
    const store = await open();
    await append(store, 700);
    const events = await store.readAll(0, 10_000);
    const root = await store.tree.root(700);
    for (const position of [1, 255, 256, 257, 699, 700]) {
      const leaf = leafOfHash(events[position - 1]?.hash ?? '');
      expect(verifyInclusion(leaf, position - 1, 700, await store.tree.inclusion(position, 700), root)).toBe(true);
    }
    for (const first of [0, 1, 256, 300, 512, 700]) {
      expect(verifyConsistency(first, await store.tree.root(first), 700, root, await store.tree.consistency(first, 700))).toBe(true);
    }
    await store.close();
  });

  it('gives what is needed to go on from any size', async () => {
    const store = await open();
    await append(store, 300);
    const leaves = (await store.readAll(0, 10_000)).map(({ hash }) => leafOfHash(hash));
    for (const size of [0, 1, 2, 3, 255, 256, 257, 299, 300]) {
      const peaks = await store.tree.peaks(size);
      const range = createCompactRange(size, peaks);
      expect(range?.root()).toBe(await store.tree.root(size));
      for (const leaf of leaves.slice(size)) range?.add(leaf);
      expect(range?.root()).toBe(await store.tree.root(300));
      expect(createCompactRange(size, [...peaks, 'ab'.repeat(32)])).toBeUndefined();
    }
    await store.close();
  });

  it('gives the tiles that C2SP tlog-tiles names, complete and partial', async () => {
    const store = await open();
    await append(store, 700);
    const leaves = (await store.readAll(0, 10_000)).map(({ hash }) => leafOfHash(hash));
    expect(await store.tree.tile(0, 0, 256)).toEqual(leaves.slice(0, 256));
    expect(await store.tree.tile(0, 2, 188)).toEqual(leaves.slice(512));
    expect(await store.tree.tile(0, 2, 3)).toEqual(leaves.slice(512, 515));
    expect(await store.tree.tile(1, 0, 1)).toEqual([await store.tree.root(256)]);
    await expect(store.tree.tile(0, 2, 189)).rejects.toMatchObject({ code: 'BAD_REQUEST' });
    await expect(store.tree.tile(1, 0, 3)).rejects.toMatchObject({ code: 'BAD_REQUEST' });
    await store.close();
  });

  it('refuses what is beyond the events there are', async () => {
    const store = await open();
    await append(store, 3);
    for (const ask of [
      store.tree.root(4),
      store.tree.inclusion(4, 3),
      store.tree.inclusion(0, 3),
      store.tree.consistency(3, 2),
      store.tree.root(-1),
      store.tree.root(0.5),
    ])
      await expect(ask).rejects.toMatchObject({ code: 'BAD_REQUEST' });
    await store.close();
  });
});

describe('the tree in the file', () => {
  it('is there again after the store was closed, and grows on', async () => {
    const file = join(temporaryFolder(), 'events.db');
    for (const count of [100, 156, 300, 1, 500]) {
      const store = await openSqliteStore({ file });
      await append(store, count);
      await store.close();
    }
    const store = await openSqliteStore({ file });
    expect(await store.tree.root(1057)).toBe(hex(naiveRoot(await hashesOf(store))));
    await store.close();
  });

  it('is one tree for two processes that write in turns', async () => {
    const file = join(temporaryFolder(), 'events.db');
    const [a, b] = [await openSqliteStore({ file }), await openSqliteStore({ file })];
    for (let round = 0; round < 6; round++) {
      await append(a, 77);
      await append(b, 91);
    }
    const root = hex(naiveRoot(await hashesOf(a)));
    expect([await a.tree.root(1008), await b.tree.root(1008)]).toEqual([root, root]);
    await a.close();
    await b.close();
  });

  it('does not keep what a failed commit had added', async () => {
    const store = await openSqliteStore({ file: join(temporaryFolder(), 'events.db'), maxPages: 40 });
    await append(store, 250);
    const big = Array.from({ length: 10 }, () => event('Big', { text: 'x'.repeat(100_000) }));
    await expect(store.append('big', 'any', big)).rejects.toMatchObject({ code: 'STORE_FULL' });
    await append(store, 3);
    expect(await store.tree.root(253)).toBe(hex(naiveRoot(await hashesOf(store))));
    await store.close();
  });

  it('grows over the events of a store from before there was a tree', async () => {
    const file = join(temporaryFolder(), 'events.db');
    const store = await openSqliteStore({ file });
    await append(store, 600);
    const root = await store.tree.root(600);
    await store.close();
    const db = new Database(file);
    db.exec('DROP TABLE tiles; DROP TABLE seal; PRAGMA user_version = 3');
    db.close();
    const upgraded = await openSqliteStore({ file });
    expect(await upgraded.tree.root(600)).toBe(root);
    await append(upgraded, 200);
    expect(await upgraded.tree.root(800)).toBe(hex(naiveRoot(await hashesOf(upgraded))));
    await upgraded.close();
  });

  it('without one of its tiles does not open', async () => {
    const file = join(temporaryFolder(), 'events.db');
    const store = await openSqliteStore({ file });
    await append(store, 300);
    await store.close();
    const db = new Database(file);
    db.exec('DELETE FROM tiles');
    db.close();
    await expect(openSqliteStore({ file })).rejects.toMatchObject({ code: 'STORE_DAMAGED' });
  });
});
