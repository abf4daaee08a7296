/** Token buckets. Times are milliseconds of the clock that is passed in. */

export type Bucket = { readonly perSecond: number; readonly burst: number; tokens: number; at: number };

export const createBucket = (perSecond: number, burst: number, now: number): Bucket => ({ perSecond, burst, tokens: burst, at: now });

/** Takes one token if there is one. */
export function tryTake(bucket: Bucket, now: number): boolean {
  refill(bucket, now);
  if (bucket.tokens < 1) return false;
  bucket.tokens -= 1;
  return true;
}

/** Takes tokens in any case, one when it is not said, and says how long their holder has to wait for them. */
export function reserveMs(bucket: Bucket, now: number, tokens = 1): number {
  refill(bucket, now);
  bucket.tokens -= tokens;
  return bucket.tokens >= 0 ? 0 : Math.ceil((-bucket.tokens / bucket.perSecond) * 1000);
}

function refill(bucket: Bucket, now: number): void {
  const elapsedMs = Math.max(0, now - bucket.at);
  bucket.tokens = Math.min(bucket.burst, bucket.tokens + (elapsedMs / 1000) * bucket.perSecond);
  bucket.at = now;
}

/** One bucket per key; the key that was used least recently is forgotten beyond `maxKeys`. */
export function createKeyedBuckets(perMinute: number, burst: number, maxKeys: number) {
  const buckets = new Map<string, Bucket>();
  return {
    tryTake(key: string, now: number): boolean {
      const bucket = buckets.get(key) ?? createBucket(perMinute / 60, burst, now);
      buckets.delete(key);
      buckets.set(key, bucket);
      if (buckets.size > maxKeys) buckets.delete(buckets.keys().next().value as string);
      return tryTake(bucket, now);
    },
    /** What was taken last does not count. */
    giveBack(key: string): void {
      const bucket = buckets.get(key);
      if (bucket !== undefined) bucket.tokens = Math.min(bucket.burst, bucket.tokens + 1);
    },
  };
}
