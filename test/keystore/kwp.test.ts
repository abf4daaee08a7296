import { createSecretKey } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { fromHex, toHex } from '../../src/bytes.ts';
import { unwrapKey, wrapKey } from '../../src/keystore/kwp.ts';
import { wrapByHand } from './kwpByHand.ts';

const kek = createSecretKey(Buffer.alloc(32, 1));
const bytes = (minLength: number, maxLength: number) => fc.uint8Array({ minLength, maxLength });

describe('AES-KWP (RFC 5649)', () => {
  // The RFC (§6) has AES-192 vectors only; AES-256 is judged by the algorithm written out from its text.
  it('wraps as §4.1 says: one AES block up to 8 bytes, RFC 3394 above', () => {
    fc.assert(
      fc.property(
        bytes(32, 32),
        bytes(1, 160),
        (key, secret) => toHex(wrapKey(createSecretKey(key), secret)) === toHex(wrapByHand(key, secret)),
      ),
    );
  });

  it('gives the vectors of RFC 5649 §6 when written out, so the judge itself is right', () => {
    const key = fromHex('5840df6e29b02af1ab493b705bf16ea1ae8338f4dcc176a8');
    const long = wrapByHand(key, fromHex('c37b7e6492584340bed12207808941155068f738'));
    expect(toHex(long)).toBe('138bdeaa9b8fa7fc61f97742e72248ee5ae6ae5360d1ae6a5f54f373fa543b6a');
    expect(toHex(wrapByHand(key, fromHex('466f7250617369')))).toBe('afbeb0f07dfbf5419200f2ccb50bb24f');
  });

  it('gives back what was wrapped', () => {
    fc.assert(fc.property(bytes(1, 160), secret => toHex(unwrapKey(kek, wrapKey(kek, secret))) === toHex(secret)));
  });

  it('refuses every flipped bit, every other length and another key', () => {
    const wrapped = wrapKey(kek, fromHex('c37b7e6492584340bed12207808941155068f738'));
    for (let bit = 0; bit < wrapped.length * 8; bit += 1) {
      const changed = wrapped.slice();
      changed[bit >> 3]! ^= 1 << (bit & 7);
      expect(() => unwrapKey(kek, changed)).toThrow(expect.objectContaining({ code: 'KEY_REFUSED' }));
    }
    for (let length = 0; length < wrapped.length; length += 1) expect(() => unwrapKey(kek, wrapped.subarray(0, length))).toThrow();
    expect(() => unwrapKey(createSecretKey(Buffer.alloc(32, 2)), wrapped)).toThrow(expect.objectContaining({ code: 'KEY_REFUSED' }));
  });
});
