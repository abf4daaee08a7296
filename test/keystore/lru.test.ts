import { expect, it } from 'vitest';
import { createLru } from '../../src/keystore/lru.ts';

it('holds so many entries and drops the one used longest ago', () => {
  const lru = createLru<{ readonly n: number }>(2);
  lru.set('a', { n: 1 });
  lru.set('b', { n: 2 });
  expect(lru.get('a')).toEqual({ n: 1 });
  lru.set('c', { n: 3 });
  expect(['a', 'b', 'c'].map(key => lru.get(key)?.n)).toEqual([1, undefined, 3]);
  lru.set('a', { n: 4 });
  expect(['a', 'c'].map(key => lru.get(key)?.n)).toEqual([4, 3]);
  lru.clear();
  expect(lru.get('a')).toBeUndefined();
});
