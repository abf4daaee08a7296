import { encode as encodeWithCborX } from 'cbor-x';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { fromHex } from '../../src/bytes.ts';
import { decodeCbor, decodeForeignCbor } from '../../src/cbor/decode.ts';
import { encodeCbor } from '../../src/cbor/encode.ts';
import type { CborKey, CborValue } from '../../src/cbor/value.ts';
import { NusecError } from '../../src/errors.ts';
import { covers } from '../support/covers.ts';

const refused = expect.objectContaining({ code: 'CBOR_MALFORMED' });

const integer = fc.oneof(
  fc.integer(),
  fc.maxSafeInteger(),
  fc.bigInt({ min: 2n ** 53n, max: 2n ** 64n - 1n }),
  fc.bigInt({ min: -(2n ** 64n), max: -(2n ** 53n) }),
);
const leaf = fc.oneof(integer, fc.string({ unit: 'grapheme' }), fc.uint8Array({ maxLength: 300 }), fc.boolean(), fc.constant(null));
const key = fc.oneof(fc.maxSafeInteger(), fc.string({ unit: 'grapheme' }));
const value = fc.letrec<{ value: CborValue }>(tie => ({
  value: fc.oneof(
    { maxDepth: 6 },
    leaf,
    fc.array(tie('value'), { maxLength: 5 }),
    fc.array(fc.tuple(key, tie('value')), { maxLength: 5 }).map(entries => new Map<CborKey, CborValue>(entries)),
    fc.record({ tag: fc.maxSafeInteger().map(Math.abs), value: tie('value') }),
  ),
})).value;

describe('decodeCbor', () => {
  it('reads back what encodeCbor wrote', () => {
    fc.assert(fc.property(value, item => void expect(decodeCbor(encodeCbor(item))).toEqual(item)));
  });

  it('accepts only what encodes again to the same bytes (T27)', () => {
    covers('T27');
    const mutated = fc.tuple(value, fc.nat(), fc.nat(255)).map(([item, at, byte]) => {
      const bytes = encodeCbor(item);
      bytes[at % bytes.length] = byte;
      return bytes;
    });
    fc.assert(fc.property(fc.oneof(mutated, fc.uint8Array({ maxLength: 64 })), reencodesOrIsRefused), { numRuns: 3000 });
  });

  it.each([
    ['1817', 'a one-byte head for 23'],
    ['1900ff', 'a two-byte head for 255'],
    ['1a0000ffff', 'a four-byte head for 65535'],
    ['1b00000000ffffffff', 'an eight-byte head for 2^32 − 1'],
    ['3817', 'a long negative integer'],
    ['580100', 'a long byte-string length'],
    ['a201020103', 'a repeated integer key'],
    ['a2616101616102', 'a repeated text key'],
    ['a203040102', 'unsorted integer keys'],
    ['a2616201616101', 'unsorted text keys'],
    ['a220010102', 'a negative key before a positive one'],
    ['a14100f6', 'a byte-string key'],
    ['a1f500', 'a boolean key'],
    ['a11b002000000000000000', 'a key beyond 2^53'],
    ['0000', 'trailing bytes'],
    ['', 'nothing'],
    ['62c328', 'bad UTF-8'],
    ['63eda080', 'a surrogate in UTF-8'],
    ['420', 'half a byte string'],
    ['82', 'an array without items'],
    ['1c', 'a reserved length'],
    ['ff', 'a break alone'],
    ['9b7fffffffffffffff', 'an array of 2^63 items'],
    ['bb0000000100000000', 'a map of 2^32 entries'],
    ['5b000000ffffffffff', 'a byte string longer than memory'],
    ['dbffffffffffffffff00', 'a tag beyond 2^53'],
  ])('refuses %s: %s (T27)', hex => {
    covers('T27');
    expect(() => decodeCbor(fromHex(hex.length % 2 ? `${hex}0` : hex))).toThrow(refused);
  });

  it('keeps a byte-order mark as text, so that the bytes stay the same', () => {
    expect(decodeCbor(fromHex('63efbbbf'))).toBe('\ufeff');
  });

  it('goes as deep as it is told and no deeper (T27)', () => {
    covers('T27');
    const nested = (depth: number) => new Uint8Array(depth + 1).fill(0x81, 0, depth);
    expect(decodeCbor(nested(8))).toBeDefined();
    expect(() => decodeCbor(nested(9))).toThrow(refused);
    expect(() => decodeCbor(nested(5), 4)).toThrow(refused);
    expect(() => decodeCbor(nested(1_000_000))).toThrow(refused);
    expect(() => decodeCbor(new Uint8Array(1_000_000).fill(0xc1))).toThrow(refused);
  });

  it('copies byte strings, so that a later change of the input changes nothing', () => {
    const input = Buffer.from('4401020304', 'hex');
    const bytes = decodeCbor(input);
    input.fill(0);
    expect(bytes).toEqual(fromHex('01020304'));
  });

  it('agrees with an independent encoder on plain values', () => {
    const plain = fc.oneof(fc.integer(), fc.string({ unit: 'grapheme-ascii' }), fc.boolean(), fc.constant(null));
    fc.assert(fc.property(fc.array(plain), items => void expect(decodeCbor(encodeWithCborX(items))).toEqual(items)));
  });
});

describe('encodeCbor', () => {
  it('refuses what it could not read back', () => {
    const endless: CborValue[] = [];
    endless.push(endless);
    expect(() => encodeCbor(1.5)).toThrow(refused);
    expect(() => encodeCbor(Number.NaN)).toThrow(refused);
    expect(() => encodeCbor(2 ** 53)).toThrow(refused);
    expect(() => encodeCbor(2n ** 64n)).toThrow(refused);
    expect(() => encodeCbor(-(2n ** 64n) - 1n)).toThrow(refused);
    expect(() => encodeCbor('\ud800')).toThrow(refused);
    expect(() => encodeCbor({ tag: -1, value: 0 })).toThrow(refused);
    expect(() => encodeCbor(undefined as unknown as CborValue)).toThrow(refused);
    expect(() => encodeCbor(endless)).toThrow(refused);
  });
});

function reencodesOrIsRefused(bytes: Uint8Array): void {
  let decoded: CborValue;
  try {
    decoded = decodeCbor(bytes);
  } catch (error) {
    expect(error).toBeInstanceOf(NusecError);
    expect(error).toMatchObject({ code: 'CBOR_MALFORMED' });
    return;
  }
  expect(encodeCbor(decoded)).toEqual(new Uint8Array(bytes));
}

describe('decodeForeignCbor', () => {
  it('reads what is deterministic as decodeCbor does', () => {
    fc.assert(fc.property(value, item => void expect(decodeForeignCbor(encodeCbor(item))).toEqual(item)));
  });

  it.each<[string, CborValue, string]>([
    ['1817', 23, 'a head longer than needed'],
    ['1b00000000000000ff', 255, 'eight bytes for 255'],
    [
      'a203040102',
      new Map([
        [3, 4],
        [1, 2],
      ]),
      'unsorted keys',
    ],
    ['82f93c00f7', [null, null], 'a float and undefined'],
    ['f8ff', null, 'a simple value'],
    ['a1414001', new Map([['0x4140', 1]]), 'a key of bytes'],
  ])('reads %s', (hex, expected) => {
    expect(decodeForeignCbor(fromHex(hex))).toEqual(expected);
  });

  it.each(['a201020103', 'a20102180103', '9f01ff', '5f4100ff', 'f81f', 'fc', '1c', '8201', 'f93c', '00ff'])('refuses %s', hex => {
    expect(() => decodeForeignCbor(fromHex(hex))).toThrow(refused);
  });
});
