import { describe, expect, it } from 'vitest';
import { toHex } from '../src/bytes.ts';
import { pooledRandom } from '../src/random.ts';

describe('random bytes out of a pool', () => {
  it('have the length asked for, also beyond the pool, and never come twice', () => {
    const random = pooledRandom();
    const other = pooledRandom();
    const seen = new Set<string>();
    for (let i = 0; i < 500; i += 1) for (const source of [random, other]) seen.add(toHex(source(32)));
    expect(seen.size).toBe(1000);
    for (const length of [0, 1, 31, 4095, 4096, 4097, 10_000]) expect(random(length)).toHaveLength(length);
    expect(new Set(random(10_000)).size).toBe(256);
  });

  it('are the caller’s own: changing them changes nothing that comes later', () => {
    const random = pooledRandom();
    const first = random(16).fill(7);
    const later = Array.from({ length: 300 }, () => random(16));
    expect(first).toEqual(new Uint8Array(16).fill(7));
    expect(later.map(toHex)).not.toContain(toHex(first));
    expect(new Set(later.map(bytes => bytes.buffer)).size).toBe(300);
  });
});
