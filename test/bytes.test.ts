import fc from 'fast-check';
import { expect, it } from 'vitest';
import { fromBase64url, isBase64, isBase64url, toBase64url } from '../src/bytes.ts';

/** A text of bytes has one spelling: whoever signs or compares texts compares what they stand for. */

const bytes = fc.uint8Array({ minLength: 1, maxLength: 64 });
const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';

it('of all last characters, one is that of the bytes', () => {
  fc.assert(
    fc.property(bytes, given => {
      const text = toBase64url(given);
      expect(fromBase64url(text)).toEqual(given);
      const same = [...alphabet]
        .map(last => text.slice(0, -1) + last)
        .filter(each => isBase64url(each) && Buffer.from(each, 'base64url').equals(given));
      expect(same).toEqual([text]);
    }),
  );
});

it('what is no base64url is refused: another alphabet, padding, one character too many', () => {
  for (const text of ['A', 'AAAAA', 'AB', 'AAB', 'AA==', 'A+', 'A/A', 'AA\n']) expect(() => fromBase64url(text), text).toThrow(TypeError);
  for (const text of ['', 'AA', 'AAA', 'AAAA']) expect(isBase64url(text), text).toBe(true);
});

it('base64 is refused in another spelling', () => {
  for (const text of ['AA', 'AB==', 'AAB=', 'AA==\n', 'A-==']) expect(isBase64(text), text).toBe(false);
  for (const text of ['', 'AA==', 'AAA=', 'AAAA', '+/+/']) expect(isBase64(text), text).toBe(true);
});
