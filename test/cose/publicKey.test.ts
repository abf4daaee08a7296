import { generateKeyPairSync } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { keyIdOf, p256Spki, publicKeyOf } from '../../src/cose/publicKey.ts';
import { covers } from '../support/covers.ts';
import { testKey } from './keys.ts';

const refused = expect.objectContaining({ code: 'KEY_REFUSED' });

describe('publicKeyOf', () => {
  it('takes SubjectPublicKeyInfo and point as the same key', () => {
    const { spki } = testKey();
    expect(p256Spki(spki.slice(-65))).toEqual(spki);
    expect(publicKeyOf(spki.slice(-65))).toBe(publicKeyOf(spki));
    expect(publicKeyOf(spki).curve).toBe('P-256');
    expect(keyIdOf(spki.slice(-65))).toEqual(keyIdOf(spki));
    expect(keyIdOf(spki)).toHaveLength(8);
  });

  it('takes P-384 in both forms, but not where P-256 is asked for', () => {
    const { spki } = testKey('P-384');
    expect(publicKeyOf(spki.slice(-97))).toBe(publicKeyOf(spki));
    expect(publicKeyOf(spki).curve).toBe('P-384');
    expect(keyIdOf(spki.slice(-97))).toEqual(keyIdOf(spki));
    for (const key of [spki, spki.slice(-97)]) expect(() => p256Spki(key)).toThrow(refused);
  });

  it('refuses other curves, hybrid points, points off the curve and other lengths (T27)', () => {
    covers('T27');
    const { spki } = testKey();
    const hybrid = spki.slice();
    hybrid[26] = 6;
    const offCurve = spki.slice();
    offCurve[90] = (offCurve[90] ?? 0) ^ 1;
    const brainpool = generateKeyPairSync('ec', { namedCurve: 'secp256k1' }).publicKey.export({ format: 'der', type: 'spki' });
    const big = testKey('P-384').spki;
    const offBig = big.with(-1, (big.at(-1) ?? 0) ^ 1);
    const others = [spki.slice(1), big.slice(1), new Uint8Array(65), new Uint8Array(97), new Uint8Array()];
    for (const bad of [hybrid, offCurve, offBig, new Uint8Array(brainpool), ...others]) expect(() => publicKeyOf(bad)).toThrow(refused);
  });
});
