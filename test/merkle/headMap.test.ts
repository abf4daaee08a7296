import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  emptyHeads,
  type Head,
  type HeadTile,
  type HeadTiles,
  proveHead,
  provenHead,
  setHeads,
  streamKey,
} from '../../src/merkle/headMap.ts';

function memoryTiles(): HeadTiles {
  const tiles = new Map<string, HeadTile>();
  return { load: prefix => tiles.get(prefix), save: (prefix, tile) => void tiles.set(prefix, tile) };
}

const headOf = (stream: string, revision: number): Head => ({
  key: streamKey(stream),
  revision,
  hash: createHash('sha256').update(`${stream} ${revision}`).digest('hex'),
});

/** The definition as the table in headMap.ts has it, bit by bit over the whole key. */
function naive(heads: readonly Head[], depth = 0): string {
  if (heads.length === 0) return '0'.repeat(64);
  const [only] = heads;
  if (heads.length === 1 && only !== undefined) {
    const revision = Buffer.alloc(8);
    revision.writeBigUInt64BE(BigInt(only.revision));
    const parts = [Uint8Array.of(0), Buffer.from(only.key, 'hex'), revision, Buffer.from(only.hash, 'hex')];
    return createHash('sha256').update(Buffer.concat(parts)).digest('hex');
  }
  const bit = ({ key }: Head) => ((Buffer.from(key, 'hex')[depth >> 3] as number) >> (7 - (depth & 7))) & 1;
  const sides = [0, 1].map(side =>
    Buffer.from(
      naive(
        heads.filter(head => bit(head) === side),
        depth + 1,
      ),
      'hex',
    ),
  );
  return createHash('sha256')
    .update(Buffer.concat([Uint8Array.of(1), ...sides]))
    .digest('hex');
}

/** Rounds of changes: in each, some streams move on. */
const rounds = fc.array(fc.uniqueArray(fc.integer({ min: 0, max: 60 }), { minLength: 1, maxLength: 30 }), { minLength: 1, maxLength: 6 });

function play(changes: readonly (readonly number[])[]) {
  const tiles = memoryTiles();
  const heads = new Map<string, Head>();
  let root = emptyHeads;
  for (const streams of changes) {
    const moved = streams.map(n => headOf(`device-${n}`, (heads.get(`device-${n}`)?.revision ?? -1) + 1));
    streams.forEach((n, i) => void heads.set(`device-${n}`, moved[i] as Head));
    root = setHeads(tiles, moved);
  }
  return { tiles, heads, root };
}

describe('the map from streams to their newest events', () => {
  it('has the root of the definition, in whatever steps it was filled', () => {
    fc.assert(
      fc.property(rounds, changes => {
        const { heads, root } = play(changes);
        expect(root).toBe(naive([...heads.values()]));
        const atOnce = memoryTiles();
        expect(setHeads(atOnce, [...heads.values()])).toBe(root);
      }),
      { numRuns: 60 },
    );
  });

  it('proves the newest event of every stream, and that others have none', () => {
    fc.assert(
      fc.property(rounds, changes => {
        const { tiles, heads, root } = play(changes);
        for (const [stream, head] of heads) expect(provenHead(root, stream, proveHead(tiles, stream))).toEqual(head);
        for (const stream of ['device-x', 'device-y', 'gateway-1']) expect(provenHead(root, stream, proveHead(tiles, stream))).toBe('none');
      }),
      { numRuns: 40 },
    );
  });

  it('proves nothing else: no older event, no other stream, no absence of what is there', () => {
    fc.assert(
      fc.property(rounds, fc.nat(), (changes, pick) => {
        const { tiles, heads, root } = play(changes);
        const [stream, head] = [...heads][pick % heads.size] as [string, Head];
        const proof = proveHead(tiles, stream);
        const older = { ...proof, leaf: { ...head, revision: head.revision + 1 } };
        expect(provenHead(root, stream, older)).toBeUndefined();
        expect(provenHead(root, stream, { siblings: proof.siblings })).toBeUndefined();
        expect(provenHead(root, stream, { ...proof, siblings: [...proof.siblings, emptyHeads] })).toBeUndefined();
        expect(provenHead(naive([headOf('device-z', 0)]), stream, proof)).toBeUndefined();
        const foreign = proveHead(tiles, 'device-x');
        const shown = provenHead(root, stream, foreign);
        // The path of another stream may be the same one; then it ends in the same leaf.
        if (shown !== undefined) expect(shown).toEqual(head);
      }),
      { numRuns: 60 },
    );
  });

  it('without a stream has a root of zeros, and proves absence by it', () => {
    const tiles = memoryTiles();
    expect(emptyHeads).toBe('0'.repeat(64));
    expect(provenHead(emptyHeads, 'device-1', proveHead(tiles, 'device-1'))).toBe('none');
  });
});
