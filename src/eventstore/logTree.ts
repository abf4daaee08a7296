import { NusecError } from '../errors.ts';
import { peakHeights } from '../merkle/compactRange.ts';
import { createEdge, type Edge, perfectRoot, tileWidth } from '../merkle/edge.ts';
import { type Hash, leafOfHash } from '../merkle/hashing.ts';
import { consistencyProof, inclusionProof, rootOf } from '../merkle/proofs.ts';
import { type ReadTile, tileSubtrees } from '../merkle/tiles.ts';
import type { LogTree } from './port.ts';
import type { Storage } from './storage.ts';
import { damaged } from './storeError.ts';

/** The Merkle tree over the order of all events. Leaf n is RFC 9162's leaf hash of the 32 bytes of the hash of the event at position n + 1: it
 *  commits to the event and, through the chain, to everything before it in its stream. */

type Stored = Pick<Storage, 'tile' | 'hashes'>;

/** The right edge of a stored tree, from its complete tiles and the events after the last of them.
 *  @param size events of the store @throws NusecError STORE_DAMAGED (a tile or an event is missing) */
export function loadEdge(storage: Stored, size: number): Edge {
  const partial: Hash[][] = [];
  for (let level = 0, count = size; count > 0; level += 1, count = Math.floor(count / tileWidth)) {
    const first = Math.floor(count / tileWidth) * tileWidth;
    partial.push(hashesOf(storage, level, first, count - first));
  }
  return createEdge(partial);
}

/** Hashes of one level, from `first` on, that are not in a complete tile of this level yet. */
function hashesOf(storage: Stored, level: number, first: number, count: number): Hash[] {
  if (level > 0) return Array.from({ length: count }, (_, i) => perfectRoot(requireTile(storage, level - 1, first + i), 0, tileWidth));
  const hashes = storage.hashes(first, count);
  if (hashes.length !== count) throw damaged(`the event at position ${first + hashes.length + 1} is missing`);
  return hashes.map(leafOfHash);
}

function requireTile(storage: Stored, level: number, number: number): readonly Hash[] {
  const hashes = storage.tile(level, number);
  if (hashes?.length === tileWidth) return hashes;
  throw damaged(`tile ${level}/${number} of the log's tree is missing`);
}

/** Reads tiles of a growing tree: complete ones from the storage, the incomplete one of each level from the edge. */
function readTiles(storage: Pick<Storage, 'tile'>, edge: Edge): ReadTile {
  return (level, number, width) => {
    const hashes = storage.tile(level, number) ?? edge.partial()[level] ?? [];
    if (hashes.length < width) throw damaged(`tile ${level}/${number} of the log's tree is missing`);
    return hashes.slice(0, width);
  };
}

/** @param sizeOnDisk how many events are on the disk now; at least all that were committed before the call */
export function createLogTree(storage: Pick<Storage, 'tile'>, edge: Edge, sizeOnDisk: () => Promise<number>): LogTree {
  const read = readTiles(storage, edge);
  const subtrees = tileSubtrees(read, edge.size);
  const requireSize = async (size: number): Promise<void> => {
    const head = await sizeOnDisk();
    if (!(Number.isSafeInteger(size) && size >= 0 && size <= head)) throw refuse(`the log has ${head} events, not ${size}`);
  };
  return {
    async root(size) {
      await requireSize(size);
      return rootOf(subtrees, size);
    },
    async inclusion(position, size) {
      await requireSize(size);
      if (!(position >= 1 && position <= size)) throw refuse(`there is no event ${position} among the first ${size}`);
      return inclusionProof(subtrees, position - 1, size);
    },
    async consistency(first, second) {
      await requireSize(second);
      if (!(first >= 0 && first <= second)) throw refuse('the first size is above the second');
      return consistencyProof(subtrees, first, second);
    },
    async peaks(size) {
      await requireSize(size);
      // The subtree of height h that ends where the larger ones before it do is number floor(size / 2^h) - 1 of its height.
      return peakHeights(size).map(height => subtrees(height, Math.floor(size / 2 ** height) - 1));
    },
    async tile(level, number, width) {
      if (!(width >= 1 && width <= tileWidth)) throw refuse('not the width of a tile');
      await requireSize((number * tileWidth + width) * tileWidth ** level);
      return read(level, number, width);
    },
  };
}

const refuse = (detail: string): NusecError => new NusecError('BAD_REQUEST', detail);
