import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { createEdge } from '../../src/merkle/edge.ts';
import { emptyRoot, fromBytes, leafHash, leafOfHash, nodeHash, toBytes } from '../../src/merkle/hashing.ts';
import { consistencyProof, inclusionProof, rootOf, verifyConsistency, verifyInclusion } from '../../src/merkle/proofs.ts';
import { naiveConsistency, naivePath, naiveRoot } from './naive.ts';
import { grow, numbered } from './tree.ts';

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

/** Entries and roots of the first n of them that implementations of RFC 6962 share as known answers. */
const knownEntries = ['', '00', '10', '2021', '3031', '40414243', '5051525354555657', '606162636465666768696a6b6c6d6e6f'];
const knownRoots = [
  '6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d',
  'fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125',
  'aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77',
  'd37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7',
  '4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4',
  '76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef',
  'ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c',
  '5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328',
];

describe('hashes of RFC 9162 §2.1.1', () => {
  test('the tree without leaves is the hash of nothing', () => {
    expect(createEdge().root()).toBe(emptyRoot);
    expect(emptyRoot).toBe(hex(naiveRoot([])));
  });

  test('the known entries give the known roots', () => {
    const entries = knownEntries.map(entry => Buffer.from(entry, 'hex'));
    expect(entries.map((_, i) => grow(entries.slice(0, i + 1)).edge.root())).toEqual(knownRoots);
  });

  test('an entry that is a hash has the leaf of its bytes', () => {
    const entry = 'ab'.repeat(32);
    expect(leafOfHash(entry)).toBe(leafHash(Buffer.from(entry, 'hex')));
  });

  test('a tile has the bytes of its hashes, one after the other', () => {
    const hashes = ['01'.repeat(32), 'fe'.repeat(32)];
    expect(hex(toBytes(hashes))).toBe(hashes.join(''));
    expect(fromBytes(toBytes(hashes))).toEqual(hashes);
  });
});

describe('the example of RFC 9162 §2.1.5', () => {
  const entries = numbered(7);
  const [a, b, c, d, e, f, j] = entries.map(leafHash) as [string, string, string, string, string, string, string];
  const [g, h, i] = [nodeHash(a, b), nodeHash(c, d), nodeHash(e, f)];
  const [k, l] = [nodeHash(g, h), nodeHash(i, j)];
  const { subtrees } = grow(entries);

  test('inclusion proofs of d0, d3, d4 and d6', () => {
    expect(inclusionProof(subtrees, 0, 7)).toEqual([b, h, l]);
    expect(inclusionProof(subtrees, 3, 7)).toEqual([c, g, l]);
    expect(inclusionProof(subtrees, 4, 7)).toEqual([f, j, k]);
    expect(inclusionProof(subtrees, 6, 7)).toEqual([i, k]);
  });

  test('consistency proofs from 3, 4 and 6 to 7', () => {
    expect(consistencyProof(subtrees, 3, 7)).toEqual([c, d, g, l]);
    expect(consistencyProof(subtrees, 4, 7)).toEqual([l]);
    expect(consistencyProof(subtrees, 6, 7)).toEqual([i, j, k]);
  });
});

/** Sizes around the edges of tiles and everything small. */
const sizes = fc.oneof(fc.integer({ min: 1, max: 40 }), fc.constantFrom(255, 256, 257, 511, 512, 513, 700));

describe('a tree that grows', () => {
  test('has the root, the inclusion and the consistency proofs of the definitions', () => {
    fc.assert(
      fc.property(sizes, fc.nat(), fc.nat(), (size, anyIndex, anyFirst) => {
        const entries = numbered(size);
        const { edge, subtrees } = grow(entries);
        const [index, first] = [anyIndex % size, 1 + (anyFirst % size)];
        expect(edge.root()).toBe(hex(naiveRoot(entries)));
        expect(rootOf(subtrees, size)).toBe(edge.root());
        expect(rootOf(subtrees, first)).toBe(hex(naiveRoot(entries.slice(0, first))));
        expect(inclusionProof(subtrees, index, size)).toEqual(naivePath(index, entries).map(hex));
        expect(consistencyProof(subtrees, first, size)).toEqual(naiveConsistency(first, entries).map(hex));
      }),
      { numRuns: 60 },
    );
  });

  test('goes on from the hashes of its incomplete tiles', () => {
    fc.assert(
      fc.property(sizes, fc.integer({ min: 0, max: 300 }), (size, more) => {
        const entries = numbered(size + more);
        const edge = createEdge(grow(entries.slice(0, size)).edge.partial());
        expect(edge.size()).toBe(size);
        for (const entry of entries.slice(size)) edge.add(leafHash(entry));
        expect(edge.root()).toBe(grow(entries).edge.root());
      }),
      { numRuns: 40 },
    );
  });

  test('goes back to a mark as if nothing had been added', () => {
    fc.assert(
      fc.property(sizes, fc.integer({ min: 0, max: 600 }), (size, undone) => {
        const entries = numbered(size);
        const { edge } = grow(entries);
        const before = { root: edge.root(), partial: edge.partial() };
        const mark = edge.mark();
        for (let i = 0; i < undone; i++) edge.add(leafHash(Buffer.from(`undone ${i}`)));
        edge.restore(mark);
        expect({ root: edge.root(), partial: edge.partial() }).toEqual(before);
        edge.add(leafHash(Buffer.from('next')));
        expect(edge.root()).toBe(hex(naiveRoot([...entries, Buffer.from('next')])));
      }),
      { numRuns: 40 },
    );
  });

  test('hands out each tile once, complete, level by level', () => {
    const { tiles, edge } = grow(numbered(70_000));
    const names = [...tiles.keys()];
    expect(names.filter(name => name.startsWith('0/'))).toHaveLength(273);
    expect(names.filter(name => name.startsWith('1/'))).toEqual(['1/0']);
    expect(names.indexOf('1/0')).toBe(names.indexOf('0/255') + 1);
    expect([...tiles.values()].every(hashes => hashes.length === 256)).toBe(true);
    expect(edge.partial().map(hashes => hashes.length)).toEqual([112, 17, 1]);
  });

  test('proves across the tiles of two levels', () => {
    const size = 70_000;
    const { edge, subtrees } = grow(numbered(size));
    for (const index of [0, 255, 256, 65_535, 65_536, 69_887, 69_999]) {
      const path = inclusionProof(subtrees, index, size);
      expect(verifyInclusion(leafHash(Buffer.from(`entry ${index}`)), index, size, path, edge.root())).toBe(true);
    }
    for (const first of [1, 256, 65_535, 65_536, 65_537, 69_999]) {
      const path = consistencyProof(subtrees, first, size);
      expect(verifyConsistency(first, rootOf(subtrees, first), size, edge.root(), path)).toBe(true);
    }
  });
});

describe('a proof', () => {
  test('holds for the leaf, index, size and root it was made for, and for no other', () => {
    fc.assert(
      fc.property(sizes, fc.nat(), fc.nat(), (size, anyIndex, other) => {
        const entries = numbered(size);
        const { edge, subtrees } = grow(entries);
        const index = anyIndex % size;
        const path = inclusionProof(subtrees, index, size);
        const leaf = leafHash(entries[index] as Uint8Array);
        expect(verifyInclusion(leaf, index, size, path, edge.root())).toBe(true);
        expect(verifyInclusion(leafHash(Buffer.from('another')), index, size, path, edge.root())).toBe(false);
        const otherIndex = other % size;
        if (otherIndex !== index) expect(verifyInclusion(leaf, otherIndex, size, path, edge.root())).toBe(false);
        expect(verifyInclusion(leaf, index, size, [...path, leaf], edge.root())).toBe(false);
        expect(verifyInclusion(leaf, index, size, path.slice(1), edge.root())).toBe(size === 1);
        expect(verifyInclusion(leaf, index, size, path, emptyRoot)).toBe(false);
        expect(verifyInclusion(leaf, size, size, path, edge.root())).toBe(false);
      }),
      { numRuns: 60 },
    );
  });

  test('of consistency fails for a log that was written anew, cut or put in another order', () => {
    fc.assert(
      fc.property(sizes, fc.nat(), fc.nat(), (size, anyFirst, anyChanged) => {
        const entries = numbered(size);
        const first = 1 + (anyFirst % size);
        const honest = grow(entries);
        const firstRoot = hex(naiveRoot(entries.slice(0, first)));
        expect(verifyConsistency(first, firstRoot, size, honest.edge.root(), consistencyProof(honest.subtrees, first, size))).toBe(true);
        const changed = entries.with(anyChanged % first, Buffer.from('rewritten'));
        const rewritten = grow(changed);
        const path = consistencyProof(rewritten.subtrees, first, size);
        expect(verifyConsistency(first, firstRoot, size, rewritten.edge.root(), path)).toBe(false);
        expect(verifyConsistency(first, firstRoot, first - 1, honest.edge.root(), [])).toBe(false);
      }),
      { numRuns: 60 },
    );
  });

  test('from the empty tree needs no hashes and takes none', () => {
    const { edge } = grow(numbered(5));
    expect(verifyConsistency(0, emptyRoot, 5, edge.root(), [])).toBe(true);
    expect(verifyConsistency(0, emptyRoot, 5, edge.root(), [emptyRoot])).toBe(false);
    expect(verifyConsistency(0, edge.root(), 5, edge.root(), [])).toBe(false);
  });
});
