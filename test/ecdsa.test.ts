import { generateKeyPairSync, sign } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { fromHex } from '../src/bytes.ts';
import { derToRaw, rawToDer } from '../src/ecdsa.ts';

describe('ECDSA signature forms', () => {
  it.each([
    ['P-256', 32],
    ['P-384', 48],
  ] as const)('agrees with node:crypto for %s signatures', (namedCurve, size) => {
    const { privateKey } = generateKeyPairSync('ec', { namedCurve });
    for (let i = 0; i < 50; i++) {
      const der = sign('sha256', Buffer.from([i]), privateKey);
      const raw = derToRaw(new Uint8Array(der), size);
      expect(raw).toHaveLength(2 * size);
      expect(Buffer.from(rawToDer(raw!, namedCurve))).toEqual(der);
    }
  });

  it('gives back every r and s, leading zeros included', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 64, maxLength: 64 }), fc.integer({ min: 0, max: 32 }), (raw, zeros) => {
        raw.fill(0, 0, zeros);
        expect(derToRaw(rawToDer(raw), 32)).toEqual(raw);
      }),
    );
  });

  it('refuses every length but that of the curve', () => {
    for (let length = 0; length <= 200; length += 1) {
      for (const [curve, size] of [
        ['P-256', 64],
        ['P-384', 96],
      ] as const) {
        const write = () => rawToDer(new Uint8Array(length).fill(1), curve);
        if (length === size) expect(derToRaw(write(), size / 2)).toHaveLength(size);
        else expect(write, `${curve}, ${length} bytes`).toThrow(expect.objectContaining({ code: 'KEY_REFUSED' }));
      }
    }
  });

  it.each([
    ['non-minimal integer', '3007020200010201' + '01'],
    ['negative integer', '3006020180020101'],
    ['trailing byte', '300602010102010100'],
    ['wrong outer length', '3007020101020101'],
    ['long form for a short length', '308106020101020101'],
    ['empty integer', '30050200020101'],
    ['empty', ''],
  ])('refuses %s (T27)', (_what, hex) => {
    expect(derToRaw(fromHex(hex), 32)).toBeUndefined();
  });

  it('never throws on arbitrary bytes (T27)', () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 80 }), bytes => void derToRaw(bytes, 32)));
  });
});
