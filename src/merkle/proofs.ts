import { emptyRoot, type Hash, nodeHash } from './hashing.ts';

/** Roots, inclusion proofs and consistency proofs (RFC 9162 §2.1) from the perfect subtrees of a tree that grows. */

/** Root of the perfect subtree over the 2^height leaves from index × 2^height on. All of these leaves must be in the tree. */
export type Subtrees = (height: number, index: number) => Hash;

/** Root of the tree of the first `size` leaves. */
export function rootOf(subtrees: Subtrees, size: number): Hash {
  return size === 0 ? emptyRoot : rangeRoot(subtrees, 0, size);
}

/** PATH(index, D[0:size]) (RFC 9162 §2.1.3.1): from the leaf's sibling up to the child of the root.
 *  @param index of the leaf, below `size` */
export function inclusionProof(subtrees: Subtrees, index: number, size: number): Hash[] {
  const path: Hash[] = [];
  let [start, length] = [0, size];
  while (length > 1) {
    const left = largestPowerBelow(length);
    const isLeft = index - start < left;
    path.push(isLeft ? rangeRoot(subtrees, start + left, length - left) : rangeRoot(subtrees, start, left));
    [start, length] = isLeft ? [start, left] : [start + left, length - left];
  }
  return path.reverse();
}

/** PROOF(first, D[0:second]) (RFC 9162 §2.1.4.1); empty when first is 0 or equals second. */
export function consistencyProof(subtrees: Subtrees, first: number, second: number): Hash[] {
  if (first === 0 || first === second) return [];
  const path: Hash[] = [];
  let [start, length, known] = [0, second, true];
  while (first - start !== length) {
    const left = largestPowerBelow(length);
    if (first - start <= left) {
      path.push(rangeRoot(subtrees, start + left, length - left));
      length = left;
    } else {
      path.push(rangeRoot(subtrees, start, left));
      [start, length, known] = [start + left, length - left, false];
    }
  }
  if (!known) path.push(rangeRoot(subtrees, start, length));
  return path.reverse();
}

/** Whether the leaf is in the tree of this root, at this index (RFC 9162 §2.1.3.2). */
export function verifyInclusion(leaf: Hash, index: number, size: number, path: readonly Hash[], root: Hash): boolean {
  if (!(index >= 0 && index < size)) return false;
  let [fn, sn, r] = [index, size - 1, leaf];
  for (const p of path) {
    if (sn === 0) return false;
    if (isOdd(fn) || fn === sn) {
      r = nodeHash(p, r);
      while (!isOdd(fn) && fn !== 0) [fn, sn] = [half(fn), half(sn)];
    } else r = nodeHash(r, p);
    [fn, sn] = [half(fn), half(sn)];
  }
  return sn === 0 && r === root;
}

/** Whether the tree of the second root begins with the whole tree of the first one (RFC 9162 §2.1.4.2). */
export function verifyConsistency(first: number, firstRoot: Hash, second: number, secondRoot: Hash, path: readonly Hash[]): boolean {
  if (!(first >= 0 && first <= second)) return false;
  if (first === second) return path.length === 0 && firstRoot === secondRoot;
  if (first === 0) return path.length === 0 && firstRoot === emptyRoot;
  const [seed, ...rest] = isPowerOfTwo(first) ? [firstRoot, ...path] : path;
  if (seed === undefined) return false;
  let [fn, sn] = [first - 1, second - 1];
  while (isOdd(fn)) [fn, sn] = [half(fn), half(sn)];
  let [fr, sr] = [seed, seed];
  for (const c of rest) {
    if (sn === 0) return false;
    if (isOdd(fn) || fn === sn) {
      [fr, sr] = [nodeHash(c, fr), nodeHash(c, sr)];
      while (!isOdd(fn) && fn !== 0) [fn, sn] = [half(fn), half(sn)];
    } else sr = nodeHash(sr, c);
    [fn, sn] = [half(fn), half(sn)];
  }
  return sn === 0 && fr === firstRoot && sr === secondRoot;
}

/** MTH(D[start : start + length]); `start` is a multiple of the largest power of two that is not above `length`. */
function rangeRoot(subtrees: Subtrees, start: number, length: number): Hash {
  if (isPowerOfTwo(length)) return subtrees(Math.log2(length), start / length);
  const left = largestPowerBelow(length);
  return nodeHash(rangeRoot(subtrees, start, left), rangeRoot(subtrees, start + left, length - left));
}

// Sizes may be above 2^31: no bit operators.
const isOdd = (value: number): boolean => value % 2 === 1;
const half = (value: number): number => Math.floor(value / 2);
const isPowerOfTwo = (value: number): boolean => largestPowerBelow(value) * 2 === value || value === 1;

/** The largest power of two below `value`, which is at least 2. */
function largestPowerBelow(value: number): number {
  let power = 1;
  while (power * 2 < value) power *= 2;
  return power;
}
