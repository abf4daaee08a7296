import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { NusecError } from '../../src/errors.ts';
import { flashBytesOf } from '../../src/ota/firmwareFile.ts';

const code = (name: string) => expect.objectContaining({ code: name });
const file = (...lines: string[]): Uint8Array => new TextEncoder().encode(lines.join('\r\n'));
const digits = (...bytes: number[]): string => Buffer.from(bytes).toString('hex').toUpperCase();
const sum = (bytes: readonly number[]): number => bytes.reduce((total, byte) => total + byte, 0) & 0xff;

const ihex = (type: number, address: number, data: readonly number[]): string => {
  const bytes = [data.length, address >> 8, address & 0xff, type, ...data];
  return `:${digits(...bytes, (256 - sum(bytes)) & 0xff)}`;
};
const srec = (type: number, address: readonly number[], data: readonly number[]): string => {
  const bytes = [address.length + data.length + 1, ...address, ...data];
  return `S${type}${digits(...bytes, 0xff - sum(bytes))}`;
};

/** A file as arm-none-eabi-ld writes it: code that is linked for flash, data that is loaded there and runs elsewhere, a part without bytes. */
function elf(parts: readonly { physical: number; virtual?: number; data: Uint8Array; type?: number }[]): Uint8Array {
  const headers = 52 + 32 * parts.length;
  const out = Buffer.alloc(headers + parts.reduce((total, { data }) => total + data.length, 0));
  out.set([0x7f, 0x45, 0x4c, 0x46, 1, 1, 1]);
  out.writeUInt32LE(52, 28);
  out.writeUInt16LE(32, 42);
  out.writeUInt16LE(parts.length, 44);
  let at = headers;
  parts.forEach(({ physical, virtual = physical, data, type = 1 }, index) => {
    [type, at, virtual, physical, data.length].forEach((value, field) => void out.writeUInt32LE(value, 52 + 32 * index + 4 * field));
    out.set(data, at);
    at += data.length;
  });
  return new Uint8Array(out);
}

describe('firmware as tools write it', () => {
  it('Intel HEX: parts in any order, upper and segment addresses, gaps as erased flash', () => {
    const text = file(ihex(4, 0, [0x08, 0x00]), ihex(0, 4, [5, 6]), ihex(0, 0, [1, 2, 3]), ihex(5, 0, [8, 0, 0, 1]), ihex(1, 0, []), '');
    expect(flashBytesOf(text)).toEqual(Uint8Array.of(1, 2, 3, 0xff, 5, 6));
    const segments = file(ihex(2, 0, [0x10, 0x00]), ihex(0, 0, [1]), ihex(2, 0, [0x10, 0x01]), ihex(0, 0, [2]), ihex(1, 0, []));
    expect(flashBytesOf(segments)).toEqual(Uint8Array.of(1, ...new Array(15).fill(0xff), 2));
    // The example of the format's description.
    expect(flashBytesOf(file(':10010000214601360121470136007EFE09D2190140', ':00000001FF'))).toHaveLength(16);
  });

  it('S-records with addresses of two, three and four bytes', () => {
    for (const address of [
      [0x10, 0],
      [0, 0x10, 0],
      [8, 0, 0x10, 0],
    ]) {
      const type = address.length - 1;
      const text = file(
        srec(0, [0, 0], [0x48, 0x44]),
        srec(type, address, [1, 2]),
        srec(type, address.with(-1, 3), [9]),
        srec(9, [0, 0], []),
      );
      expect(flashBytesOf(text)).toEqual(Uint8Array.of(1, 2, 0xff, 9));
    }
  });

  it('ELF: what is loaded to flash, by its physical address', () => {
    const code = new Uint8Array(randomBytes(64));
    const data = Uint8Array.of(7, 8, 9);
    const bytes = elf([
      { physical: 0x0802_0000, data: code },
      { physical: 0x0802_0050, virtual: 0x2000_0000, data },
      { physical: 0x2000_1000, data: new Uint8Array() },
      { physical: 0, data: Uint8Array.of(1), type: 4 },
    ]);
    const flash = flashBytesOf(bytes);
    expect(flash).toHaveLength(0x53);
    expect(flash.subarray(0, 64)).toEqual(code);
    expect(flash.subarray(0x50)).toEqual(data);
  });

  it('raw bytes stay as they are, also those that begin like another format', () => {
    for (const raw of [randomBytes(100), Uint8Array.of(0x3a, 0x31, 0, 1), Uint8Array.of(0x53, 0x31, 0x80)]) {
      expect(flashBytesOf(new Uint8Array(raw))).toEqual(new Uint8Array(raw));
    }
  });

  it.each<readonly [string, Uint8Array, string]>([
    ['a wrong checksum', file(':0100000001FF', ':00000001FF'), 'IMAGE_MALFORMED'],
    ['a missing end', file(ihex(0, 0, [1])), 'IMAGE_MALFORMED'],
    ['a line after the end', file(ihex(0, 0, [1]), ihex(1, 0, []), ihex(0, 1, [2])), 'IMAGE_MALFORMED'],
    ['another length than it says', file(':0200000001FD', ':00000001FF'), 'IMAGE_MALFORMED'],
    ['an unknown type', file(ihex(9, 0, [1]), ihex(1, 0, [])), 'IMAGE_MALFORMED'],
    ['parts that overlap', file(ihex(0, 0, [1, 2]), ihex(0, 1, [3]), ihex(1, 0, [])), 'IMAGE_MALFORMED'],
    ['parts far apart', file(ihex(0, 0, [1]), ihex(4, 0, [0x20, 0]), ihex(0, 0, [1]), ihex(1, 0, [])), 'BODY_TOO_LARGE'],
    ['no data', file(ihex(1, 0, [])), 'IMAGE_MALFORMED'],
    ['an S-record with a wrong checksum', file('S1050000010200', 'S9030000FC'), 'IMAGE_MALFORMED'],
    ['an S-record file without end', file(srec(1, [0, 0], [1])), 'IMAGE_MALFORMED'],
    ['an ELF of 64 bits', Uint8Array.of(0x7f, 0x45, 0x4c, 0x46, 2, 1, ...new Array(60).fill(0)), 'IMAGE_MALFORMED'],
    ['a cut ELF', elf([{ physical: 0, data: randomBytes(40) }]).slice(0, 90), 'IMAGE_MALFORMED'],
  ])('is refused with %s', (_, bytes, refusal) => {
    expect(() => flashBytesOf(bytes)).toThrow(code(refusal));
  });

  it('never ends in anything but bytes or a code, whatever the file is', () => {
    const start = fc.constantFrom([0x7f, 0x45, 0x4c, 0x46, 1, 1], [...Buffer.from(':10')], [...Buffer.from('S1')], []);
    fc.assert(
      fc.property(start, fc.uint8Array({ maxLength: 200 }), fc.boolean(), (head, rest, asDigits) => {
        const tail = asDigits ? [...Buffer.from(Buffer.from(rest).toString('hex'))] : [...rest];
        try {
          expect(flashBytesOf(Uint8Array.from([...head, ...tail])).length).toBeLessThanOrEqual(4 * 1024 * 1024);
        } catch (error) {
          expect(error).toBeInstanceOf(NusecError);
        }
      }),
    );
  });
});
