import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { toHex } from '../../src/bytes.ts';
import { combineShares, splitSecret } from '../../src/keystore/shamir.ts';
import { shareFromText, shareToText } from '../../src/keystore/shareText.ts';

const secret = new Uint8Array(randomBytes(32));

/** All choices of `count` out of `list`. */
function choices<Item>(list: readonly Item[], count: number): readonly (readonly Item[])[] {
  if (count === 0) return [[]];
  return list.flatMap((item, at) => choices(list.slice(at + 1), count - 1).map(rest => [item, ...rest]));
}

describe('Shamir shares over GF(2⁸)', () => {
  it('any three of five give the secret, in any order; any two or one do not', () => {
    const shares = splitSecret(secret, 3, 5, randomBytes);
    for (const three of choices(shares, 3)) {
      expect(toHex(combineShares(three))).toBe(toHex(secret));
      expect(toHex(combineShares(three.toReversed()))).toBe(toHex(secret));
    }
    expect(toHex(combineShares(shares))).toBe(toHex(secret));
    for (const few of [...choices(shares, 2), ...choices(shares, 1)]) expect(toHex(combineShares(few))).not.toBe(toHex(secret));
  });

  it('multiplies as FIPS 197 §4.2 says: shares worked out by hand', () => {
    // f(x) = {c1} + {83}•x, which is zero at {57}: {57}•{83} = {c1} is the example of FIPS 197 §4.2.
    const shares = splitSecret(Uint8Array.of(0xc1), 2, 255, () => Uint8Array.of(0x83));
    expect(shares[0x57 - 1]?.bytes).toEqual(Uint8Array.of(0xc1 ^ 0xc1));
    expect(shares[0]?.bytes).toEqual(Uint8Array.of(0xc1 ^ 0x83));
    expect(shares[0x13 - 1]?.bytes).toEqual(Uint8Array.of(0xc1 ^ byHand(0x83, 0x13)));
  });

  it('holds for every threshold and number of shares', () => {
    const plan = fc.integer({ min: 2, max: 12 }).chain(shares => fc.tuple(fc.integer({ min: 2, max: shares }), fc.constant(shares)));
    fc.assert(
      fc.property(plan, fc.uint8Array({ minLength: 1, maxLength: 40 }), fc.nat(), ([threshold, count], value, turn) => {
        const shares = splitSecret(value, threshold, count, randomBytes);
        const chosen = Array.from({ length: threshold }, (_, at) => shares[(turn + at) % count]!);
        return toHex(combineShares(chosen)) === toHex(value);
      }),
    );
  });

  it('says nothing with fewer: every secret is possible for two shares of three', () => {
    const [first, second] = splitSecret(Uint8Array.of(42), 3, 3, () => Uint8Array.of(7));
    const thirds = Array.from(
      { length: 256 },
      (_, value) => combineShares([first!, second!, { index: 3, bytes: Uint8Array.of(value) }])[0],
    );
    expect(new Set(thirds).size).toBe(256);
  });

  it('refuses senseless plans, a share given twice and shares of different lengths', () => {
    const refused = expect.objectContaining({ code: 'BAD_REQUEST' });
    for (const [threshold, shares] of [
      [1, 5],
      [6, 5],
      [2, 256],
      [2.5, 5],
      [0, 0],
    ] as const)
      expect(() => splitSecret(secret, threshold, shares, randomBytes), `${threshold} of ${shares}`).toThrow(refused);
    const [first, second] = splitSecret(secret, 2, 3, randomBytes);
    expect(() => combineShares([first!, first!])).toThrow(refused);
    expect(() => combineShares([])).toThrow(refused);
    expect(() => combineShares([first!, { index: 0, bytes: second!.bytes }])).toThrow(refused);
    expect(() => combineShares([first!, { index: 2, bytes: second!.bytes.subarray(1) }])).toThrow(refused);
  });
});

describe('a share on paper', () => {
  const share = { backupIdHex: '0123456789abcdef', threshold: 3, index: 4, bytes: secret };

  it('is read back, typed in capitals or with blanks', () => {
    const text = shareToText(share);
    expect(shareFromText(text)).toEqual(share);
    expect(shareFromText(`  ${text.toUpperCase().replace(/-/g, ' -')}\n`)).toEqual(share);
  });

  it('is refused with any one character changed', () => {
    const text = shareToText(share);
    for (let at = 0; at < text.length; at += 1) {
      const other = text[at] === '1' ? '2' : '1';
      expect(() => shareFromText(text.slice(0, at) + other + text.slice(at + 1)), `character ${at}`).toThrow();
    }
  });
});

/** Multiplication in GF(2⁸) as long multiplication and division of polynomials. */
function byHand(a: number, b: number): number {
  let product = 0;
  for (let bit = 0; bit < 8; bit += 1) if ((b >> bit) & 1) product ^= a << bit;
  for (let bit = 14; bit >= 8; bit -= 1) if ((product >> bit) & 1) product ^= 0x11b << (bit - 8);
  return product;
}
