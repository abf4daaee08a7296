import { generateKeyPairSync, randomBytes, verify } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { sha256 } from '../../src/digest.ts';
import { scalarOf, signDigest } from '../../src/keystore/signDigest.ts';

describe('a signature over a digest', () => {
  it('is one over the message, for any key and message, and another one each time', () => {
    for (let i = 0; i < 200; i += 1) {
      const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
      const scalar = scalarOf(privateKey);
      const message = randomBytes(i);
      const signatures = [0, 1].map(() => signDigest(scalar, sha256(message)));
      for (const signature of signatures) expect(verify('sha256', message, publicKey, signature)).toBe(true);
      expect(signatures[0]).not.toEqual(signatures[1]);
      expect(verify('sha256', randomBytes(9), publicKey, signatures[0] as Uint8Array)).toBe(false);
    }
  });

  it('takes 32 bytes and nothing else', () => {
    const scalar = scalarOf(generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey);
    for (const length of [0, 31, 33, 64]) expect(() => signDigest(scalar, new Uint8Array(length))).toThrow('a digest of 32 bytes');
  });
});
