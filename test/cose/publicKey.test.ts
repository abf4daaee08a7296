import { generateKeyPairSync } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { keyIdOf, p256PublicKey, p256Spki } from '../../src/cose/publicKey.ts';
import { testKey } from './keys.ts';

const refused = expect.objectContaining({ code: 'KEY_REFUSED' });

describe('p256PublicKey', () => {
  it('takes SubjectPublicKeyInfo and point as the same key', () => {
    const { spki } = testKey();
    expect(p256Spki(spki.slice(-65))).toEqual(spki);
    expect(p256PublicKey(spki.slice(-65))).toBe(p256PublicKey(spki));
    expect(keyIdOf(spki.slice(-65))).toEqual(keyIdOf(spki));
    expect(keyIdOf(spki)).toHaveLength(8);
  });

  it('refuses other curves, hybrid points, points off the curve and other lengths (T27)', () => {
    const { spki } = testKey();
    const hybrid = spki.slice();
    hybrid[26] = 6;
    const offCurve = spki.slice();
    offCurve[90] = (offCurve[90] ?? 0) ^ 1;
    const brainpool = generateKeyPairSync('ec', { namedCurve: 'secp256k1' }).publicKey.export({ format: 'der', type: 'spki' });
    for (const bad of [hybrid, offCurve, new Uint8Array(brainpool), spki.slice(1), new Uint8Array(65), new Uint8Array()])
      expect(() => p256PublicKey(bad)).toThrow(refused);
  });
});
