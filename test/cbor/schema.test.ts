import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { concat, fromHex, toHex } from '../../src/bytes.ts';
import { decodeCbor } from '../../src/cbor/decode.ts';
import { encodeCbor } from '../../src/cbor/encode.ts';
import {
  array,
  bool,
  bytes,
  bytesUpTo,
  type CodecType,
  decodeAs,
  encodeAs,
  encodePartsAs,
  field,
  literal,
  mapped,
  nullable,
  oneOf,
  optionalField,
  record,
  refine,
  text,
  uint,
} from '../../src/cbor/schema.ts';
import type { CborKey, CborValue } from '../../src/cbor/value.ts';
import { covers } from '../support/covers.ts';

const sample = record({
  version: field(1, literal(1)),
  uid: field(2, bytes(4)),
  kind: field(3, oneOf({ import: 1, reserve: 2 })),
  counts: field(4, array(uint(255), 3, 1)),
  note: optionalField(5, text(8)),
  parent: field(6, nullable(bytesUpTo(2))),
  last: field(7, bool),
  even: field(
    8,
    refine(uint(), 'an even number', n => n % 2 === 0),
  ),
  hex: field(9, mapped(bytes(1), toHex, fromHex)),
});

const valid: CodecType<typeof sample> = {
  version: 1,
  uid: Uint8Array.of(1, 2, 3, 4),
  kind: 'reserve',
  counts: [1, 255],
  parent: null,
  last: true,
  even: 8,
  hex: 'ff',
};

const refusedFor = (at: string) => expect.objectContaining({ code: 'CBOR_MALFORMED', message: expect.stringContaining(at) });

/** The encoded sample with one entry changed, or removed when undefined. */
function withEntry(key: CborKey, value: CborValue | undefined): Uint8Array {
  const map = new Map(decodeCbor(encodeAs(sample, valid)) as Map<CborKey, CborValue>);
  if (value === undefined) map.delete(key);
  else map.set(key, value);
  return encodeCbor(map);
}

describe('record', () => {
  it('gives back what it wrote, with and without the optional field', () => {
    expect(decodeAs(sample, encodeAs(sample, valid))).toEqual(valid);
    const full = { ...valid, note: 'n', parent: Uint8Array.of(7) };
    expect(decodeAs(sample, encodeAs(sample, full))).toEqual(full);
  });

  it.each<[string, CborKey, CborValue | undefined]>([
    ['version', 1, 2],
    ['version', 1, undefined],
    ['uid', 2, Uint8Array.of(1, 2, 3)],
    ['uid', 2, 'text'],
    ['kind', 3, 3],
    ['kind', 3, 'import'],
    ['counts', 4, []],
    ['counts', 4, [1, 2, 3, 4]],
    ['counts', 4, [256]],
    ['counts', 4, [-1]],
    ['counts', 4, [2n ** 60n]],
    ['counts', 4, 1],
    ['note', 5, '123456789'],
    ['note', 5, null],
    ['parent', 6, Uint8Array.of(1, 2, 3)],
    ['last', 7, 1],
    ['even', 8, 7],
    ['hex', 9, new Uint8Array()],
    ['message', 10, 0],
    ['message', 'x', 0],
  ])('refuses %s with key %s set to %s (T27)', (at, key, value) => {
    covers('T27');
    expect(() => decodeAs(sample, withEntry(key, value))).toThrow(refusedFor(at));
  });

  it('refuses anything that is not a map', () => {
    for (const other of [[], 1, null, 'x', { tag: 1, value: 0 }])
      expect(() => decodeAs(sample, encodeCbor(other))).toThrow(refusedFor('message'));
  });

  it('refuses to write what it would not read', () => {
    expect(() => encodeAs(sample, { ...valid, uid: new Uint8Array(5) })).toThrow(refusedFor('uid'));
    expect(() => encodeAs(sample, { ...valid, kind: 'toString' as 'import' })).toThrow(refusedFor('kind'));
    expect(() => encodeAs(sample, { ...valid, counts: [] })).toThrow(refusedFor('counts'));
    expect(() => encodeAs(sample, { ...valid, even: 3 })).toThrow(refusedFor('even'));
    expect(() => encodeAs(sample, { ...valid, last: undefined as unknown as boolean })).toThrow(refusedFor('last'));
  });

  it('round-trips any record inside its limits', () => {
    const arbitrary = fc.record(
      {
        version: fc.constant(1 as const),
        uid: fc.uint8Array({ minLength: 4, maxLength: 4 }),
        kind: fc.constantFrom('import' as const, 'reserve' as const),
        counts: fc.array(fc.nat(255), { minLength: 1, maxLength: 3 }),
        note: fc.string({ maxLength: 8 }),
        parent: fc.option(fc.uint8Array({ maxLength: 2 })),
        last: fc.boolean(),
        even: fc.nat().map(n => n * 2),
        hex: fc.constantFrom('00', 'a5', 'ff'),
      },
      { requiredKeys: ['version', 'uid', 'kind', 'counts', 'parent', 'last', 'even', 'hex'] },
    );
    fc.assert(fc.property(arbitrary, item => void expect(decodeAs(sample, encodeAs(sample, item))).toEqual(item)));
  });
});

describe('a message in parts', () => {
  const blocks = record({ name: field(0, text(9)), blocks: field(1, array(bytesUpTo(99_999), 9)), end: field(2, uint()) });

  it('has the same bytes, whatever is in it', () => {
    const long = fc.uint8Array({ minLength: 4000, maxLength: 5000 });
    const given = fc.record({
      name: fc.constant('blocks'),
      blocks: fc.array(fc.oneof(long, fc.uint8Array()), { maxLength: 5 }),
      end: fc.nat(),
    });
    fc.assert(
      fc.property(given, value => {
        expect(concat(...encodePartsAs(blocks, value))).toEqual(encodeAs(blocks, value));
      }),
    );
  });

  it('does not copy a long byte string, and leaves nothing to the next message when it is refused', () => {
    const block = new Uint8Array(16_384);
    expect(encodePartsAs(blocks, { name: '', blocks: [block], end: 1 })[1]).toBe(block);
    expect(() => encodePartsAs(array(array(bytesUpTo(99_999), 1), 9), Array(10).fill([block]))).toThrow();
    expect(toHex(encodeCbor(1))).toBe('01');
  });
});
