import { closeSync, fsyncSync, openSync, readSync, writeSync } from 'node:fs';
import { open } from 'node:fs/promises';
import type { UidProof } from '../production/uidList.ts';
import { hashBytes, levelSizes, levelsAbove, pathIn, uidBytes, writeLeafHash } from './tree.ts';

/** A sorted UID list with its tree in one file, so that a proof takes one read and no hash but the neighbour's.
 *
 *  | part | bytes |
 *  | tiles of 128 UIDs: the UIDs, then the levels above their leaf hashes up to the root of the tile | 6 112 each, the last one padded |
 *  | first UID of each tile | 16 each |
 *  | roots of the tiles, then the levels above them up to the root of the tree | 32 per hash |
 *
 *  The last two parts, 56 bytes for 128 UIDs, are in memory while the file is open. */

const tileUids = 128;
const sum = (sizes: readonly number[]): number => sizes.reduce((total, size) => total + size, 0);
const tileBytes = tileUids * uidBytes + sum(levelSizes(tileUids)) * hashBytes;

function layoutOf(count: number) {
  const tiles = Math.ceil(count / tileUids);
  const sizes = [tiles, ...levelSizes(tiles)];
  const firstBytes = tiles * uidBytes;
  return { tiles, sizes, topAt: tiles * tileBytes, firstBytes, topBytes: firstBytes + sum(sizes) * hashBytes };
}

/** Writes the file of a list that is sorted and has no UID twice, and waits until it is on the disk. Blocks for seconds when the list is long.
 *  @returns root of the tree, 32 bytes */
export function writeTreeFile(path: string, uids: Uint8Array): Uint8Array {
  const { tiles } = layoutOf(uids.length / uidBytes);
  const first = new Uint8Array(tiles * uidBytes);
  const roots = new Uint8Array(tiles * hashBytes);
  const file = openSync(path, 'wx', 0o600);
  try {
    for (let tile = 0; tile < tiles; tile++) {
      const own = uids.subarray(tile * tileUids * uidBytes, (tile + 1) * tileUids * uidBytes);
      const { bytes, root } = tileOf(own);
      first.set(own.subarray(0, uidBytes), tile * uidBytes);
      roots.set(root, tile * hashBytes);
      writeSync(file, bytes);
    }
    writeSync(file, first);
    const top = levelsAbove(roots);
    writeSync(file, roots);
    writeSync(file, top);
    fsyncSync(file);
    return top.length === 0 ? roots : top.slice(-hashBytes);
  } finally {
    closeSync(file);
  }
}

function tileOf(uids: Uint8Array): { readonly bytes: Uint8Array; readonly root: Uint8Array } {
  const bytes = new Uint8Array(tileBytes);
  bytes.set(uids);
  const leaves = new Uint8Array((uids.length / uidBytes) * hashBytes);
  for (let leaf = 0; leaf * uidBytes < uids.length; leaf++) {
    writeLeafHash(uids.subarray(leaf * uidBytes, (leaf + 1) * uidBytes), leaves, leaf * hashBytes);
  }
  const levels = levelsAbove(leaves);
  bytes.set(levels, tileUids * uidBytes);
  return { bytes, root: levels.length === 0 ? leaves : levels.slice(-hashBytes) };
}

const tileBuffer = new Uint8Array(tileBytes);
const tileCompared = Buffer.from(tileBuffer.buffer);

/** A UID of the list with its proof. */
export type Place = { readonly uid: Uint8Array; readonly proof: UidProof };
/** What was looked for, or what is on both sides of its place. */
export type Found = { readonly isListed: boolean; readonly neighbours: readonly Place[] };

export type TreeFile = {
  readonly root: Uint8Array;
  find(uid: Uint8Array): Found;
  close(): void;
};

/** @returns undefined when there is no such file, or not with so many UIDs */
export async function openTreeFile(path: string, count: number): Promise<TreeFile | undefined> {
  const { tiles, sizes, topAt, firstBytes, topBytes } = layoutOf(count);
  const top = await readEnd(path, topAt, topBytes);
  if (top === undefined) return undefined;
  const file = openSync(path, 'r');
  const levels = top.subarray(firstBytes);
  const firsts = Buffer.from(top.buffer, top.byteOffset, firstBytes);

  /** Until the next call: what is kept of it is copied. */
  const readTile = (tile: number): Uint8Array => {
    readSync(file, tileBuffer, 0, tileBytes, tile * tileBytes);
    return tileBuffer;
  };
  const placeAt = (index: number, bytes: Uint8Array): Place => {
    const [tile, leaf] = [Math.floor(index / tileUids), index % tileUids];
    const size = Math.min(tileUids, count - tile * tileUids);
    const uidAt = (at: number): Uint8Array => bytes.slice(at * uidBytes, (at + 1) * uidBytes);
    const path: Uint8Array[] = [];
    const sibling = leaf % 2 === 0 ? leaf + 1 : leaf - 1;
    if (sibling < size) {
      const neighbour = new Uint8Array(hashBytes);
      writeLeafHash(uidAt(sibling), neighbour, 0);
      path.push(neighbour);
    }
    path.push(...pathIn(bytes.subarray(tileUids * uidBytes), levelSizes(size), Math.floor(leaf / 2)), ...pathIn(levels, sizes, tile));
    return { uid: uidAt(leaf), proof: { index, path } };
  };
  const place = (index: number): Place => placeAt(index, readTile(Math.floor(index / tileUids)));

  return {
    root: levels.slice(-hashBytes),
    find(uid) {
      const tile = Math.max(0, searchAbove(tiles, firsts, uid) - 1);
      const bytes = readTile(tile);
      const size = Math.min(tileUids, count - tile * tileUids);
      const above = searchAbove(size, tileCompared, uid);
      const index = tile * tileUids + above - 1;
      const below = above > 0 ? placeAt(index, bytes) : undefined;
      if (below !== undefined && Buffer.compare(below.uid, uid) === 0) return { isListed: true, neighbours: [below] };
      return { isListed: false, neighbours: [...(below ? [below] : []), ...(index + 1 < count ? [place(index + 1)] : [])] };
    },
    close: () => closeSync(file),
  };
}

/** How many of the first `count` UIDs, which are sorted, are not above `uid`. */
function searchAbove(count: number, uids: Buffer, uid: Uint8Array): number {
  let [low, high] = [0, count];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (uids.compare(uid, 0, uidBytes, middle * uidBytes, (middle + 1) * uidBytes) <= 0) low = middle + 1;
    else high = middle;
  }
  return low;
}

async function readEnd(path: string, at: number, length: number): Promise<Uint8Array | undefined> {
  const file = await open(path, 'r').catch(() => undefined);
  if (file === undefined) return undefined;
  try {
    if ((await file.stat()).size !== at + length) return undefined;
    const { buffer } = await file.read(new Uint8Array(length), 0, length, at);
    return buffer;
  } finally {
    await file.close();
  }
}
