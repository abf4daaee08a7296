import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { fromHex, toHex } from '../../src/bytes.ts';
import { checkDer, malformed, maxNestingLevels, tags } from '../../src/pki/der.ts';
import { cursor, finish, only, read, readAny, readBits, readNumber, readOid, readTime, readUnsigned } from '../../src/pki/derReader.ts';
import { bitString, boolean, context, integer, integerOf, octetString, oid, sequence, setOf, text, time } from '../../src/pki/derWriter.ts';
import { covers } from '../support/covers.ts';

const refuses = (hex: string) => expect(() => checkDer(fromHex(hex)), hex).toThrow(expect.objectContaining({ code: 'DER_MALFORMED' }));
const accepts = (hex: string) => expect(() => checkDer(fromHex(hex)), hex).not.toThrow();

const bytes = fc.uint8Array({ maxLength: 300 });
const leaf = fc.oneof(
  bytes.map(octetString),
  bytes.map(bitString),
  bytes.map(integer),
  fc.boolean().map(boolean),
  fc.string({ unit: 'binary' }).map(value => text(tags.utf8String, value)),
  fc.stringMatching(/^[A-Za-z0-9 ]*$/).map(value => text(tags.printableString, value)),
);
const { tree } = fc.letrec<{ tree: Uint8Array }>(tie => ({
  tree: fc.oneof(
    { maxDepth: 6 },
    leaf,
    fc.array(tie('tree'), { maxLength: 4 }).map(children => sequence(...children)),
    fc.array(tie('tree'), { maxLength: 4 }).map(children => setOf(...children)),
    fc.tuple(fc.nat(30), tie('tree')).map(([number, child]) => context(number, child)),
  ),
}));

describe('the DER writer', () => {
  it('writes what the strict reader accepts, any tree', () => {
    fc.assert(
      fc.property(tree, der => checkDer(der)),
      { numRuns: 500 },
    );
  });

  it('writes integers, numbers, bits and identifiers that read back', () => {
    fc.assert(
      fc.property(
        bytes,
        fc.nat({ max: 2 ** 48 - 1 }),
        fc.array(fc.nat(2 ** 31 - 1), { maxLength: 6 }),
        fc.nat(39),
        (raw, number, arcs, second) => {
          const magnitude = BigInt(`0x0${toHex(raw)}`);
          expect(BigInt(`0x${toHex(readUnsigned(cursor(integer(raw))))}`)).toBe(magnitude);
          expect(readNumber(cursor(integerOf(number)))).toBe(number);
          expect(toHex(readBits(cursor(bitString(raw))))).toBe(toHex(raw));
          const dotted = ['1', second, ...arcs].join('.');
          expect(readOid(cursor(oid(dotted)))).toBe(dotted);
        },
      ),
    );
  });

  it('writes every second of X.509 time so that it reads back', () => {
    const seconds = fc.integer({ min: Date.UTC(1950, 0) / 1000, max: Date.UTC(9999, 11, 31, 23, 59, 59) / 1000 });
    fc.assert(
      fc.property(seconds, second => {
        const iso = new Date(second * 1000).toISOString();
        expect(readTime(cursor(time(iso)))).toBe(iso);
      }),
    );
    expect(toHex(time('2049-12-31T23:59:59.000Z')).slice(0, 4)).toBe('170d');
    expect(toHex(time('2050-01-01T00:00:00.000Z')).slice(0, 4)).toBe('180f');
    expect(() => time('yesterday')).toThrow();
  });

  it('writes known encodings (X.690 §8)', () => {
    expect(toHex(integerOf(0))).toBe('020100');
    expect(toHex(integerOf(128))).toBe('02020080');
    expect(toHex(integer(new Uint8Array()))).toBe('020100');
    expect(toHex(oid('1.2.840.113549'))).toBe('06062a864886f70d');
    expect(toHex(oid('2.999.3'))).toBe('0603883703');
    expect(readOid(cursor(oid('2.999.3')))).toBe('2.999.3');
    expect(toHex(setOf(integerOf(2), integerOf(1)))).toBe('3106020101020102');
    expect(octetString(new Uint8Array(70_000)).subarray(0, 5)).toEqual(fromHex('0483011170'));
    expect(() => text(tags.printableString, 'a@b')).toThrow();
  });
});

describe('the strict reader (T27)', () => {
  it('refuses lengths that are indefinite, not minimal, too long or beyond the end', () => {
    covers('T27');
    for (const hex of [
      '30800000',
      '04810141',
      '0482000141',
      '048500000000ff',
      '0484ffffffff',
      '30050481010500',
      '0402aa',
      '04',
      '',
      '048180',
    ])
      refuses(hex);
    accepts(`048180${'00'.repeat(128)}`);
  });

  it('refuses trailing bytes', () => {
    covers('T27');
    refuses('020100ff');
    refuses('3003020100ff');
    expect(() => only(fromHex('020100ff'), tags.integer)).toThrow('trailing bytes');
    expect(() => finish(cursor(fromHex('00')))).toThrow('trailing bytes');
  });

  it('refuses integers, booleans, bit strings, identifiers and nulls not in their only form', () => {
    for (const hex of [
      '0200',
      '02020001',
      '0202ff80',
      '0a0200ff7f',
      '010101',
      '01020000',
      '0100',
      '0300',
      '030101',
      '030108',
      '030201ff',
      '0603808001',
      '060180',
      '0600',
      '06062b8f8f8f8f8f',
      '0501ff',
    ])
      refuses(hex);
    for (const hex of ['02020080', '0201ff', '0202ff7f', '0101ff', '010100', '030100', '030201fe', '0500']) accepts(hex);
    expect(() => readUnsigned(cursor(fromHex('0201ff')))).toThrow();
    expect(() => readNumber(cursor(fromHex('02080100000000000000')))).toThrow();
    expect(() => readBits(cursor(fromHex('030201fe')))).toThrow();
  });

  it('refuses strings with characters of another type, and string types outside X.509', () => {
    for (const hex of [
      '0c02c328',
      '130140',
      '160180',
      '170a3236303130313030305a',
      '180141',
      '140141',
      '1e020041',
      '1c0400000041',
      '0f00',
      '2403040100',
      '3f00',
    ])
      refuses(hex);
    for (const hex of ['0c02c3a9', '130141', '160140']) accepts(hex);
  });

  it('refuses high tag numbers, application and private classes, and sets out of order', () => {
    for (const hex of ['1f8100', '4000', 'c000', '9f1f00', '3106020102020101']) refuses(hex);
    accepts('8000');
  });

  it('reads to 16 levels and no deeper', () => {
    const nested = (levels: number) => Array.from({ length: levels }).reduce<Uint8Array>(inner => sequence(inner), new Uint8Array());
    expect(() => checkDer(nested(maxNestingLevels))).not.toThrow();
    expect(() => checkDer(nested(maxNestingLevels + 1))).toThrow('nested too deeply');
    expect(() => checkDer(nested(10_000))).toThrow('nested too deeply');
  });

  it('reads exactly the times that there are', () => {
    const two = (most: number) => fc.integer({ min: 0, max: most }).map(value => String(value).padStart(2, '0'));
    const generalized = (digits: string) => Uint8Array.from([tags.generalizedTime, digits.length, ...Buffer.from(digits)]);
    fc.assert(
      fc.property(
        fc.integer({ min: 2050, max: 2500 }),
        two(13),
        two(32),
        two(24),
        two(60),
        two(60),
        (year, month, day, hour, minute, second) => {
          const iso = `${year}-${month}-${day}T${hour}:${minute}:${second}.000Z`;
          const date = new Date(iso);
          const exists = !Number.isNaN(date.getTime()) && date.toISOString() === iso;
          const read = () => readTime(cursor(generalized(`${year}${month}${day}${hour}${minute}${second}Z`)));
          if (exists) expect(read()).toBe(iso);
          else expect(read).toThrow('no such time');
        },
      ),
      { numRuns: 2000 },
    );
    for (const digits of ['20960229000000Z', '24000229000000Z']) expect(readTime(cursor(generalized(digits)))).toMatch(/-02-29T/);
    expect(() => readTime(cursor(generalized('21000229000000Z')))).toThrow('no such time');
  });

  it('refuses times that do not exist or are in the wrong type', () => {
    const encoded = (tag: number, digits: string) => Uint8Array.from([tag, digits.length, ...Buffer.from(digits)]);
    const isTime = (tag: number, digits: string) => {
      try {
        return readTime(cursor(encoded(tag, digits)));
      } catch {
        return undefined;
      }
    };
    expect(isTime(tags.utcTime, '500101000000Z')).toBe('1950-01-01T00:00:00.000Z');
    expect(isTime(tags.generalizedTime, '99991231235959Z')).toBe('9999-12-31T23:59:59.000Z');
    for (const [tag, digits] of [
      [tags.utcTime, '260230000000Z'],
      [tags.utcTime, '260101250000Z'],
      [tags.generalizedTime, '20260101000000Z'],
      [tags.utcTime, '2601010000Z'],
    ] as const) {
      expect(isTime(tag, digits)).toBeUndefined();
    }
  });

  it('gives views with the whole element, and refuses another tag than asked for', () => {
    const element = readAny(cursor(fromHex('020105')));
    expect({ ...element, content: toHex(element.content), whole: toHex(element.whole) }).toEqual({
      tag: 2,
      content: '05',
      whole: '020105',
    });
    expect(() => read(cursor(fromHex('020105')), tags.oid)).toThrow(expect.objectContaining({ code: 'DER_MALFORMED' }));
    expect(() => malformed('x')).toThrow('x');
  });

  it('survives any bytes (T27)', () => {
    covers('T27');
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), input => {
        try {
          checkDer(input);
        } catch (error) {
          expect(error).toMatchObject({ code: 'DER_MALFORMED' });
        }
      }),
      { numRuns: 5000 },
    );
  });
});
