import { emptyRoot, type Hash, nodeHash } from './hashing.ts';

/** The right edge of a growing Merkle tree: what is needed to add leaves and to know the root, in constant space.
 *
 *  Complete subtrees of height 8 are tiles as C2SP tlog-tiles lays them out: tile (level, number) holds the 256 hashes of height 8 × level from
 *  index 256 × number on. A tile is handed out once, when it is complete. */

/** Hashes in a complete tile. */
export const tileWidth = 256;
/** Heights of the tree that one tile spans. */
export const tileHeight = 8;

export type Tile = { readonly level: number; readonly number: number; readonly hashes: readonly Hash[] };

/** A state of the edge to go back to. */
export type EdgeMark = { readonly size: number; readonly peaks: readonly Hash[]; readonly tiles: readonly (readonly [Hash[], number])[] };

export type Edge = {
  /** Leaves of the tree. */
  size(): number;
  /** Adds one leaf. @returns the tiles that it completes, the lowest first; mostly none */
  add(leaf: Hash): readonly Tile[];
  root(): Hash;
  /** Roots of the perfect subtrees that the tree consists of, the smallest first: with the size they determine the whole tree. */
  peaks(): readonly Hash[];
  /** Hashes of the incomplete tile of each level. */
  partial(): readonly (readonly Hash[])[];
  mark(): EdgeMark;
  /** Forgets what was added since. */
  restore(mark: EdgeMark): void;
};

const noTiles: readonly Tile[] = [];

/** @param partial the hashes of the incomplete tile of each level, from level 0; none: the empty tree */
export function createEdge(partial: readonly (readonly Hash[])[] = []): Edge {
  let tiles = partial.map(hashes => [...hashes]);
  let size = tiles.reduce((sum, hashes, level) => sum + hashes.length * tileWidth ** level, 0);
  /** By height; only those whose bit is set in `size` count. */
  let peaks = peaksOf(tiles);

  const put = (level: number, hash: Hash): Hash[] | undefined => {
    let tile = tiles[level];
    if (tile === undefined) {
      tile = [];
      tiles[level] = tile;
    }
    tile.push(hash);
    return tile.length === tileWidth ? tile : undefined;
  };

  return {
    size: () => size,
    add(leaf) {
      let full = put(0, leaf);
      let completed: Tile[] | undefined;
      let hash = leaf;
      let height = 0;
      for (let rest = size; rest % 2 === 1; rest = (rest - 1) / 2) {
        hash = nodeHash(peaks[height] as Hash, hash);
        height += 1;
        if (height % tileHeight !== 0) continue;
        const level = height / tileHeight;
        completed ??= [];
        completed.push({ level: level - 1, number: (size + 1) / tileWidth ** level - 1, hashes: full as Hash[] });
        tiles[level - 1] = [];
        full = put(level, hash);
      }
      peaks[height] = hash;
      size += 1;
      return completed ?? noTiles;
    },
    root() {
      const [first, ...higher] = peaksOfSize(peaks, size);
      return first === undefined ? emptyRoot : higher.reduce((right, left) => nodeHash(left, right), first);
    },
    peaks: () => peaksOfSize(peaks, size),
    partial: () => tiles.map(hashes => [...hashes]),
    mark: () => ({ size, peaks: [...peaks], tiles: tiles.map(hashes => [hashes, hashes.length] as const) }),
    restore(mark) {
      size = mark.size;
      peaks = [...mark.peaks];
      tiles = mark.tiles.map(([hashes, length]) => {
        hashes.length = length;
        return hashes;
      });
    },
  };
}

/** Of the perfect subtrees, the smallest first. */
function peaksOfSize(byHeight: readonly Hash[], size: number): readonly Hash[] {
  const found: Hash[] = [];
  for (let rest = size, height = 0; rest > 0; rest = Math.floor(rest / 2), height += 1) {
    if (rest % 2 === 1) found.push(byHeight[height] as Hash);
  }
  return found;
}

function peaksOf(tiles: readonly (readonly Hash[])[]): Hash[] {
  const peaks: Hash[] = [];
  tiles.forEach((hashes, level) => {
    let start = 0;
    for (let bit = tileHeight - 1; bit >= 0; bit--) {
      if ((hashes.length & (1 << bit)) === 0) continue;
      peaks[level * tileHeight + bit] = perfectRoot(hashes, start, 1 << bit);
      start += 1 << bit;
    }
  });
  return peaks;
}

/** Root of the perfect subtree over `count` hashes, a power of two. */
export function perfectRoot(hashes: readonly Hash[], start: number, count: number): Hash {
  if (count === 1) return hashes[start] as Hash;
  const half = count / 2;
  return nodeHash(perfectRoot(hashes, start, half), perfectRoot(hashes, start + half, half));
}
