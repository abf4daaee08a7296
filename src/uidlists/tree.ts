import { hash } from 'node:crypto';

/** The tree over a sorted UID list (RFC 9162 §2.1), level by level, on bytes.
 *
 *  A level has the hashes of the one below in pairs; a last one without partner goes up as it is. That is the tree of §2.1.1 for every size. */

export const uidBytes = 16;
export const hashBytes = 32;

const leafBlock = Buffer.alloc(1 + uidBytes, 0);
const nodeBlock = Buffer.alloc(1 + 2 * hashBytes, 1);

/** SHA-256(00 ‖ UID), written to `into` at `at`. */
export function writeLeafHash(uid: Uint8Array, into: Uint8Array, at: number): void {
  leafBlock.set(uid, 1);
  into.set(hash('sha256', leafBlock, 'buffer'), at);
}

/** How many hashes each level has, from the one above `size` up to the root. */
export function levelSizes(size: number): readonly number[] {
  const sizes: number[] = [];
  for (let next = size; next > 1; ) {
    next = Math.ceil(next / 2);
    sizes.push(next);
  }
  return sizes;
}

/** The levels above `hashes`, one after the other, up to the root; nothing for a single hash, which is its own root. */
export function levelsAbove(hashes: Uint8Array): Uint8Array {
  const size = hashes.length / hashBytes;
  const total = levelSizes(size).reduce((sum, count) => sum + count, 0);
  const out = new Uint8Array(total * hashBytes);
  let [below, at] = [hashes, 0];
  for (const count of levelSizes(size)) {
    const level = out.subarray(at, at + count * hashBytes);
    for (let node = 0; node < count; node++) writeNode(below, node, level);
    [below, at] = [level, at + level.length];
  }
  return out;
}

function writeNode(below: Uint8Array, node: number, level: Uint8Array): void {
  const pair = below.subarray(2 * node * hashBytes, (2 * node + 2) * hashBytes);
  if (pair.length === 2 * hashBytes) nodeBlock.set(pair, 1);
  level.set(pair.length === hashBytes ? pair : hash('sha256', nodeBlock, 'buffer'), node * hashBytes);
}

/** The sibling hashes on the way from a hash up to the root.
 *  @param levels one after the other @param sizes how many hashes each of them has; the last one has the root @param index of the hash in the first */
export function pathIn(levels: Uint8Array, sizes: readonly number[], index: number): readonly Uint8Array[] {
  const path: Uint8Array[] = [];
  let [at, node] = [0, index];
  for (const count of sizes) {
    const sibling = node % 2 === 0 ? node + 1 : node - 1;
    if (sibling < count) path.push(levels.slice(at + sibling * hashBytes, at + (sibling + 1) * hashBytes));
    [at, node] = [at + count * hashBytes, Math.floor(node / 2)];
  }
  return path;
}
