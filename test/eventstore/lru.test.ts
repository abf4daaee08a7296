import { expect, it } from 'vitest';
import { lru } from '../../src/eventstore/lru.ts';

it('forgets the entry used longest ago when the weights pass the limit', () => {
  const cache = lru<string>(10, text => text.length);
  cache.set('a', 'xxxx');
  cache.set('b', 'yyyy');
  expect(cache.get('a')).toBe('xxxx');
  cache.set('c', 'zzzz');
  expect([cache.get('a'), cache.get('b'), cache.get('c')]).toEqual(['xxxx', undefined, 'zzzz']);
  cache.set('a', 'x');
  cache.set('d', 'wwwww');
  expect([cache.get('a'), cache.get('c'), cache.get('d')]).toEqual(['x', 'zzzz', 'wwwww']);
  cache.delete('c');
  cache.set('e', 'vvvv');
  expect([cache.get('a'), cache.get('d'), cache.get('e')]).toEqual(['x', 'wwwww', 'vvvv']);
  cache.set('huge', 'x'.repeat(11));
  expect([cache.get('huge'), cache.get('e')]).toEqual([undefined, undefined]);
});
