import { hash } from 'node:crypto';
import { type Hash, nodeHash } from './hashing.ts';

/** The map from every stream to its newest event, as a sparse Merkle tree: one root for all of them, and a short proof of what is the newest event of
 *  one stream, or that there is none. The root is a function of the log alone: it can be computed again from the events.
 *
 *  | part | hash |
 *  |---|---|
 *  | key | SHA-256 of the stream's name; its bits lead from the root to the leaf, 0 to the left |
 *  | leaf | SHA-256(0x00 ‖ key ‖ revision, 8 bytes ‖ hash of the event) |
 *  | subtree with one leaf | that leaf, at any depth |
 *  | subtree with more | SHA-256(0x01 ‖ left ‖ right) |
 *  | subtree without a leaf | 32 zero bytes |
 *
 *  It is kept in tiles of four bits of the key: a tile has 16 slots, each empty, one leaf, or the root of a tile below. */

/** Newest event of a stream. */
export type Head = { readonly key: Hash; readonly revision: number; readonly hash: Hash };
type Slot = undefined | Head | { readonly root: Hash };
export type HeadTile = readonly Slot[];

/** @property prefix hex digits of the key that lead to a tile; '' is the topmost one */
export type HeadTiles = { load(prefix: string): HeadTile | undefined; save(prefix: string, tile: HeadTile): void };

/** The leaf at the end of a key's path, and the hashes beside the path, from the root down.
 *  @property leaf of this key, or of another one that the path ends in; absent when there is none */
export type HeadProof = { readonly siblings: readonly Hash[]; readonly leaf?: Head };

const slots = 16;
export const emptyHeads: Hash = '0'.repeat(64);

export const streamKey = (stream: string): Hash => hash('sha256', stream, 'hex');

function leafOf({ key, revision, hash: newest }: Head): Hash {
  const bytes = Buffer.alloc(73);
  bytes.write(key, 1, 'hex');
  bytes.writeBigUInt64BE(BigInt(revision), 33);
  bytes.write(newest, 41, 'hex');
  return hash('sha256', bytes, 'hex');
}

const isLeaf = (slot: Slot): slot is Head => slot !== undefined && 'key' in slot;
const nibbleAt = (key: Hash, depth: number): number => Number.parseInt(key.charAt(depth), 16);

/** Root of the subtree over `count` slots from `first` on. */
function rangeRoot(tile: HeadTile, first: number, count: number): Hash {
  const taken = tile.slice(first, first + count).filter(slot => slot !== undefined);
  const [only] = taken;
  if (only === undefined) return emptyHeads;
  if (taken.length === 1 && isLeaf(only)) return leafOf(only);
  if (count === 1 && !isLeaf(only)) return only.root;
  return nodeHash(rangeRoot(tile, first, count / 2), rangeRoot(tile, first + count / 2, count / 2));
}

/** Sets the newest events of some streams. @param heads of different streams @returns the new root */
export function setHeads(tiles: HeadTiles, heads: readonly Head[], prefix = ''): Hash {
  const tile: Slot[] = [...(tiles.load(prefix) ?? new Array<Slot>(slots).fill(undefined))];
  for (const [nibble, group] of Map.groupBy(heads, ({ key }) => nibbleAt(key, prefix.length))) {
    const slot = tile[nibble];
    const displaced = isLeaf(slot) && !group.some(({ key }) => key === slot.key) ? [slot] : [];
    const all = [...group, ...displaced];
    const isAlone = all.length === 1 && (slot === undefined || isLeaf(slot));
    tile[nibble] = isAlone ? all[0] : { root: setHeads(tiles, all, prefix + nibble.toString(16)) };
  }
  tiles.save(prefix, tile);
  return rangeRoot(tile, 0, slots);
}

export function proveHead(tiles: HeadTiles, stream: string): HeadProof {
  const key = streamKey(stream);
  const siblings: Hash[] = [];
  for (let depth = 0; ; depth++) {
    const tile = tiles.load(key.slice(0, depth)) ?? [];
    const nibble = nibbleAt(key, depth);
    let [first, count] = [0, slots];
    for (;;) {
      const taken = tile.slice(first, first + count).filter(slot => slot !== undefined);
      const [only] = taken;
      if (only === undefined) return { siblings };
      if (taken.length === 1 && isLeaf(only)) return { siblings, leaf: only };
      if (count === 1) break;
      count /= 2;
      const isLeft = nibble < first + count;
      siblings.push(rangeRoot(tile, isLeft ? first + count : first, count));
      if (!isLeft) first += count;
    }
  }
}

/** What a proof shows: the newest event of the stream under this root, or `none`. @returns undefined when the proof does not hold */
export function provenHead(root: Hash, stream: string, { siblings, leaf }: HeadProof): Head | 'none' | undefined {
  const key = streamKey(stream);
  const bits = (of: Hash, depth: number): number => (nibbleAt(of, depth >> 2) >> (3 - (depth & 3))) & 1;
  if (siblings.length > 256) return undefined;
  let above = leaf === undefined ? emptyHeads : leafOf(leaf);
  for (let depth = siblings.length - 1; depth >= 0; depth--) {
    const sibling = siblings[depth] as Hash;
    if (leaf !== undefined && bits(leaf.key, depth) !== bits(key, depth)) return undefined;
    above = bits(key, depth) === 0 ? nodeHash(above, sibling) : nodeHash(sibling, above);
  }
  if (above !== root) return undefined;
  return leaf?.key === key ? leaf : 'none';
}
