import { createHash } from 'node:crypto';

/** The definitions of RFC 9162 §2.1 as they stand there, without any shortcut: what the product's code is compared with. */

const sha256 = (...parts: Uint8Array[]): Uint8Array => createHash('sha256').update(Buffer.concat(parts)).digest();

/** MTH(D[n]) */
export function naiveRoot(entries: readonly Uint8Array[]): Uint8Array {
  if (entries.length === 0) return sha256();
  if (entries.length === 1) return sha256(Uint8Array.of(0), entries[0] as Uint8Array);
  const k = split(entries.length);
  return sha256(Uint8Array.of(1), naiveRoot(entries.slice(0, k)), naiveRoot(entries.slice(k)));
}

/** PATH(m, D[n]) */
export function naivePath(m: number, entries: readonly Uint8Array[]): Uint8Array[] {
  if (entries.length === 1) return [];
  const k = split(entries.length);
  if (m < k) return [...naivePath(m, entries.slice(0, k)), naiveRoot(entries.slice(k))];
  return [...naivePath(m - k, entries.slice(k)), naiveRoot(entries.slice(0, k))];
}

/** PROOF(m, D[n]) */
export const naiveConsistency = (m: number, entries: readonly Uint8Array[]): Uint8Array[] => subproof(m, entries, true);

function subproof(m: number, entries: readonly Uint8Array[], complete: boolean): Uint8Array[] {
  if (m === entries.length) return complete ? [] : [naiveRoot(entries)];
  const k = split(entries.length);
  if (m <= k) return [...subproof(m, entries.slice(0, k), complete), naiveRoot(entries.slice(k))];
  return [...subproof(m - k, entries.slice(k), false), naiveRoot(entries.slice(0, k))];
}

function split(n: number): number {
  let k = 1;
  while (k * 2 < n) k *= 2;
  return k;
}
