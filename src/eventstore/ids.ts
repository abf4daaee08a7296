import { randomBytes } from 'node:crypto';

/** A UUIDv7 (RFC 9562 §5.7): 48 bits of time, version, 74 random bits.
 *  @param unixMs milliseconds since 1970
 *  @param random at least 10 bytes */
export function uuidv7(unixMs: number, random: Uint8Array): string {
  const bytes = Buffer.alloc(16);
  bytes.writeUIntBE(unixMs, 0, 6);
  bytes.set(random.subarray(0, 10), 6);
  bytes[6] = ((bytes[6] as number) & 0x0f) | 0x70;
  bytes[8] = ((bytes[8] as number) & 0x3f) | 0x80;
  const hex = bytes.toString('hex');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}

const poolBytes = 10 * 256;

/** Ids with the given clock and random source; random bytes are drawn in blocks of 256 ids. */
export function createIdSource(nowMs: () => number = Date.now, random: (bytes: number) => Uint8Array = randomBytes): () => string {
  let pool: Uint8Array = new Uint8Array(0);
  let used = 0;
  return () => {
    if (used === pool.length) {
      pool = random(poolBytes);
      used = 0;
    }
    used += 10;
    return uuidv7(nowMs(), pool.subarray(used - 10, used));
  };
}
