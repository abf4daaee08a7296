import { type Lru, lru } from '../lru.ts';
import { tileHeight, tileWidth } from './edge.ts';
import { type Hash, nodeHash } from './hashing.ts';
import type { Subtrees } from './proofs.ts';

/** The tree as its tiles give it. */

/** The first `width` hashes of a tile, complete or partial. */
export type ReadTile = (level: number, number: number, width: number) => readonly Hash[];

/** Complete tiles kept with all their inner nodes, 64 KiB each. */
const maxTilesInMemory = 256;

/** Subtrees from tiles. Complete tiles are kept: neighbours are proven by the same ones.
 *  @param size leaves of the tree, so that the width of a partial tile is known */
export function tileSubtrees(read: ReadTile, size: () => number): Subtrees {
  const known: Lru<readonly (readonly Hash[])[]> = lru(maxTilesInMemory);
  const rowsOf = (level: number, number: number): readonly (readonly Hash[])[] => {
    const key = `${level}/${number}`;
    const rows = known.get(key);
    if (rows !== undefined) return rows;
    const width = Math.min(tileWidth, Math.floor(size() / tileWidth ** level) - number * tileWidth);
    const made = rowsAbove(read(level, number, width));
    if (width === tileWidth) known.set(key, made);
    return made;
  };
  return (height, index) => {
    // The root of a complete tile is taken from the tile itself: it is complete earlier than the one above.
    const level = Math.max(0, Math.ceil(height / tileHeight) - 1);
    const row = height - level * tileHeight;
    const inTile = 2 ** (tileHeight - row);
    return rowsOf(level, Math.floor(index / inTile))[row]?.[index % inTile] as Hash;
  };
}

/** The hashes of a tile, and above each row the roots of its complete pairs. */
function rowsAbove(hashes: readonly Hash[]): readonly (readonly Hash[])[] {
  const rows = [hashes];
  for (let row = hashes; row.length > 1; ) {
    const below = row;
    row = Array.from({ length: Math.floor(below.length / 2) }, (_, i) => nodeHash(below[2 * i] as Hash, below[2 * i + 1] as Hash));
    rows.push(row);
  }
  return rows;
}
