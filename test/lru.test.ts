import fc from 'fast-check';
import { expect, it } from 'vitest';
import { loadedOnce, lru } from '../src/lru.ts';

it('keeps what is used and forgets what is not', () => {
  const cache = lru<number>(10);
  cache.set('used', 0);
  for (let n = 0; n < 100; n++) {
    cache.set(`n${n}`, n);
    expect(cache.get('used')).toBe(0);
  }
  expect(cache.get('n99')).toBe(99);
  expect(cache.get('n50')).toBeUndefined();
});

it('never holds more than its weight, nor a value it was not given last', () => {
  const step = fc.record({ key: fc.constantFrom('a', 'b', 'c', 'd', 'e'), weight: fc.integer({ min: 1, max: 8 }), remove: fc.boolean() });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 100 }), steps => {
      const cache = lru<string>(12, text => text.length);
      const given = new Map<string, string>();
      for (const { key, weight, remove } of steps) {
        if (remove) cache.delete(key);
        else cache.set(key, 'x'.repeat(weight));
        if (remove) given.delete(key);
        else given.set(key, 'x'.repeat(weight));
        if (!remove && weight <= 6) expect(cache.get(key)).toBe(given.get(key));
        const kept = ['a', 'b', 'c', 'd', 'e'].map(k => [k, cache.get(k)] as const).filter(([, value]) => value !== undefined);
        for (const [k, value] of kept) expect(value).toBe(given.get(k));
        expect(kept.reduce((sum, [, value]) => sum + (value?.length ?? 0), 0)).toBeLessThanOrEqual(12);
      }
    }),
  );
});

it('forgets everything when it is cleared', () => {
  const cache = lru<number>(10);
  cache.set('a', 1);
  cache.clear();
  expect(cache.get('a')).toBeUndefined();
});

it('loads what is not there once for all who ask meanwhile, and again after a failure', async () => {
  const cache = lru<string>(10);
  const once = loadedOnce(cache);
  let loads = 0;
  const failing = async (): Promise<string> => {
    loads += 1;
    throw new Error('no disk');
  };
  const ends = await Promise.allSettled([once('a', failing), once('a', failing)]);
  expect(ends.map(({ status }) => status)).toEqual(['rejected', 'rejected']);
  expect([loads, cache.get('a')]).toEqual([1, undefined]);
  const load = async (): Promise<string> => `load ${++loads}`;
  expect(await Promise.all([once('a', load), once('a', load), once('b', load)])).toEqual(['load 2', 'load 2', 'load 3']);
  expect(await once('a', load)).toBe('load 2');
});
