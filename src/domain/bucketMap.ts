/** An immutable map for states that grow with production: a write copies one bucket instead of all entries,
 *  so the fold of an allotment of 100 000 units stays fast. Keys are ids (hex or UUID text). */

const bucketCount = 256;

export type BucketMap<T> = { readonly size: number; readonly buckets: readonly (ReadonlyMap<string, T> | undefined)[] };

export const emptyBucketMap: BucketMap<never> = { size: 0, buckets: [] };

export function getEntry<T>(map: BucketMap<T>, key: string): T | undefined {
  return map.buckets[bucketOf(key)]?.get(key);
}

export function withEntry<T>(map: BucketMap<T>, key: string, value: T): BucketMap<T> {
  const index = bucketOf(key);
  const old = map.buckets[index];
  const bucket = new Map(old).set(key, value);
  const buckets = [...map.buckets];
  buckets[index] = bucket;
  return { size: map.size + bucket.size - (old?.size ?? 0), buckets };
}

export function withoutEntry<T>(map: BucketMap<T>, key: string): BucketMap<T> {
  if (getEntry(map, key) === undefined) return map;
  const index = bucketOf(key);
  const bucket = new Map(map.buckets[index]);
  bucket.delete(key);
  const buckets = [...map.buckets];
  buckets[index] = bucket;
  return { size: map.size - 1, buckets };
}

/** FNV-1a over the characters, folded to the bucket number. */
function bucketOf(key: string): number {
  const text = String(key);
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  return ((hash >>> 16) ^ hash) & (bucketCount - 1);
}
