import { randomFillSync } from 'node:crypto';

const poolBytes = 4096;

/** A source of random bytes for protocols that need a few at a time, such as nonces and pads: drawn from the system's generator in pieces of 4 KiB,
 *  which costs as much as 32 bytes do. What has been given out is wiped from the pool.
 *  @returns a source with a pool of its own */
export function pooledRandom(): (length: number) => Uint8Array {
  const pool = new Uint8Array(poolBytes);
  let used = poolBytes;
  return length => {
    if (length > poolBytes) return randomFillSync(new Uint8Array(length));
    if (length > poolBytes - used) {
      randomFillSync(pool);
      used = 0;
    }
    const bytes = pool.slice(used, used + length);
    pool.fill(0, used, used + length);
    used += length;
    return bytes;
  };
}
