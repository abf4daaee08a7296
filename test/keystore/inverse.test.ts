import fc from 'fast-check';
import { expect, it } from 'vitest';
import { inverse, order } from '../../src/keystore/inverse.ts';

const isInverse = (value: bigint): boolean => {
  const found = inverse(value);
  return found > 0n && found < order && (found * value) % order === 1n;
};

it('gives the inverse of every number', () => {
  fc.assert(fc.property(fc.bigInt({ min: 1n, max: order - 1n }), isInverse), { numRuns: 2000 });
});

it('also where a quotient is too large for a cofactor, at any length', () => {
  const edges = Array.from({ length: 256 }, (_, bits) => 2n ** BigInt(bits)).flatMap(power => [
    power - 1n,
    power,
    power + 1n,
    order / power,
  ]);
  const values = edges.flatMap(edge => [edge, order - edge]).filter(edge => edge > 0n && edge < order);
  expect(values.filter(value => !isInverse(value))).toEqual([]);
});
