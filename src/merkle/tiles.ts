import { type Lru, lru } from '../lru.ts';
import { tileHeight, tileWidth } from './edge.ts';
import { fromBytes, type Hash, hashBytes, nodeHash, toBytes } from './hashing.ts';
import type { Subtrees } from './proofs.ts';

/** The tree as its tiles give it. Every hash above a tile is computed once, as long as there is room: a complete tile never changes, and one at the
 *  right edge only grows. */

/** The first `width` hashes of a tile, complete or partial. */
export type ReadTile = (level: number, number: number, width: number) => readonly Hash[];

/** Complete tiles kept with all their inner nodes, 16 KiB each. */
const maxTilesInMemory = 2048;

/** The hashes of a tile, and above each row the roots of its complete pairs. */
type Rows = Hash[][];
type OpenTile = { readonly number: number; readonly rows: Rows };

/** Subtrees from tiles. Complete tiles are kept: neighbours are proven by the same ones.
 *  @param size leaves of the tree, so that the width of a partial tile is known */
export function tileSubtrees(read: ReadTile, size: () => number): Subtrees {
  const complete: Lru<Uint8Array> = lru(maxTilesInMemory);
  /** By level: the one at the right edge. */
  const open = new Map<number, OpenTile>();
  const completeTile = (level: number, number: number): Uint8Array => {
    const key = `${level}/${number}`;
    const known = complete.get(key);
    if (known !== undefined) return known;
    const made = nodesOf(read(level, number, tileWidth));
    complete.set(key, made);
    return made;
  };
  const openRows = (level: number, number: number, width: number): Rows => {
    const known = open.get(level);
    const rows = known?.number === number ? known.rows : [];
    if ((rows[0]?.length ?? 0) < width) grow(rows, read(level, number, width));
    open.set(level, { number, rows });
    return rows;
  };
  return (height, index) => {
    // The root of a complete tile is taken from the tile itself: it is complete earlier than the one above.
    const level = Math.max(0, Math.ceil(height / tileHeight) - 1);
    const row = height - level * tileHeight;
    const inTile = 2 ** (tileHeight - row);
    const number = Math.floor(index / inTile);
    const width = Math.min(tileWidth, Math.floor(size() / tileWidth ** level) - number * tileWidth);
    if (width < tileWidth) return openRows(level, number, width)[row]?.[index % inTile] as Hash;
    return nodeIn(completeTile(level, number), row, index % inTile);
  };
}

/** Adds what is new in the lowest row, and above it what has become complete. */
function grow(rows: Rows, hashes: readonly Hash[]): void {
  let below: Hash[] = rows[0] ?? [];
  rows[0] = below;
  for (let i = below.length; i < hashes.length; i++) below.push(hashes[i] as Hash);
  for (let row = 1; below.length > 1; row++) {
    const above: Hash[] = rows[row] ?? [];
    rows[row] = above;
    while (above.length < Math.floor(below.length / 2))
      above.push(nodeHash(below[2 * above.length] as Hash, below[2 * above.length + 1] as Hash));
    below = above;
  }
}

/** All rows of a complete tile one after the other: 256 + 128 + … + 1 hashes. */
function nodesOf(hashes: readonly Hash[]): Uint8Array {
  const rows: Rows = [];
  grow(rows, hashes);
  return toBytes(rows.flat());
}

function nodeIn(nodes: Uint8Array, row: number, index: number): Hash {
  const before = 2 * tileWidth - 2 ** (tileHeight + 1 - row);
  const start = (before + index) * hashBytes;
  return fromBytes(nodes.subarray(start, start + hashBytes))[0] as Hash;
}
