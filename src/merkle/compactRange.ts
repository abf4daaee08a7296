import { emptyRoot, type Hash, nodeHash } from './hashing.ts';

/** A tree of which only the roots of its perfect subtrees are known, to which leaves are added: enough for the root, in constant space. */
export type CompactRange = {
  add(leaf: Hash): void;
  root(): Hash;
};

/** Heights of the perfect subtrees of a tree, the smallest first. */
export function peakHeights(size: number): readonly number[] {
  const heights: number[] = [];
  for (let rest = size, height = 0; rest > 0; rest = Math.floor(rest / 2), height += 1) if (rest % 2 === 1) heights.push(height);
  return heights;
}

/** @param size leaves that are there already
 *  @param peaks roots of its perfect subtrees, the smallest first; as many as `size` has bits that are set
 *  @returns undefined when there are more or fewer */
export function createCompactRange(size = 0, peaks: readonly Hash[] = []): CompactRange | undefined {
  const heights = peakHeights(size);
  if (heights.length !== peaks.length) return undefined;
  const known = heights.map((height, i) => ({ height, hash: peaks[i] as Hash }));
  return {
    add(leaf) {
      let merged = { height: 0, hash: leaf };
      while (known[0]?.height === merged.height) {
        const left = known.shift() as { hash: Hash };
        merged = { height: merged.height + 1, hash: nodeHash(left.hash, merged.hash) };
      }
      known.unshift(merged);
    },
    root() {
      const [first, ...higher] = known;
      return first === undefined ? emptyRoot : higher.reduce((right, left) => nodeHash(left.hash, right), first.hash);
    },
  };
}
