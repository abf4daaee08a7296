import { createEdge, type Edge } from '../../src/merkle/edge.ts';
import { type Hash, leafHash } from '../../src/merkle/hashing.ts';
import type { Subtrees } from '../../src/merkle/proofs.ts';
import { tileSubtrees } from '../../src/merkle/tiles.ts';

export type GrownTree = { readonly edge: Edge; readonly tiles: Map<string, readonly Hash[]>; readonly subtrees: Subtrees };

/** A tree grown leaf by leaf, with the tiles that were handed out on the way. */
export function grow(entries: readonly Uint8Array[]): GrownTree {
  const edge = createEdge();
  const tiles = new Map<string, readonly Hash[]>();
  for (const entry of entries) for (const { level, number, hashes } of edge.add(leafHash(entry))) tiles.set(`${level}/${number}`, hashes);
  const read = (level: number, number: number, width: number) =>
    (tiles.get(`${level}/${number}`) ?? edge.partial()[level] ?? []).slice(0, width);
  return { edge, tiles, subtrees: tileSubtrees(read, edge.size) };
}

/** Entries that differ: their number as text. */
export const numbered = (count: number): Uint8Array[] => Array.from({ length: count }, (_, i) => Buffer.from(`entry ${i}`));
