import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { fromHex, toHex, utf8 } from '../../../src/bytes.ts';
import { encodeCbor } from '../../../src/cbor/encode.ts';
import { type Codec, decodeAs, encodeAs } from '../../../src/cbor/schema.ts';
import { NusecError } from '../../../src/errors.ts';
import { commandNameOf, commands } from '../../../src/production/devauth/commands.ts';
import { decodeMessage, encodeMessage } from '../../../src/production/devauth/header.ts';
import { crc32c, decodeVendorMessage, encodeVendorMessage } from '../../../src/production/devauth/vendor.ts';
import { everyByteFlipped } from '../../cose/keys.ts';
import { decodeWithCborX } from '../../support/cborX.ts';
import { covers } from '../../support/covers.ts';
import { fill } from '../samples.ts';
import { names, samples } from './samples.ts';

const code = (name: string) => expect.objectContaining({ code: name });
const message = { op: 2, sequence: 7, command: 3, body: encodeCbor(new Map([[1, 2]])) };

describe('DevAuth header', () => {
  it('is the 8-byte SMP header of group 64 (R98, RULE-21)', () => {
    covers('R98', 'RULE-21');
    expect(toHex(encodeMessage(message))).toBe('0200000300400703a10102');
    expect(decodeMessage(encodeMessage(message))).toEqual(message);
  });

  it.each(['', '02000003004007', '0200000300410703a10102', '0400000300400703a10102', '0201000300400703a10102', '0200000400400703a10102'])(
    'refuses %s: short, other group, op, flags or length (T27)',
    hex => {
      covers('T27');
      expect(() => decodeMessage(fromHex(hex))).toThrow(code('DEVAUTH_MALFORMED'));
    },
  );
});

describe('vendor-defined MCTP message', () => {
  const open = encodeVendorMessage(encodeMessage(message), { integrityCheck: true });

  it('has type FF, the enterprise number and a CRC-32C trailer in the open, and neither bit nor trailer in a session (R98)', () => {
    covers('R98');
    expect(crc32c(utf8('123456789'))).toBe(0xe306_9283);
    expect(toHex(open.slice(0, 5))).toBe('ff00007ed9');
    expect(decodeVendorMessage(open)).toEqual({ message: encodeMessage(message), integrityCheck: true });
    const sealed = encodeVendorMessage(encodeMessage(message), { integrityCheck: false });
    expect(toHex(sealed)).toBe('7f00007ed90200000300400703a10102');
    expect(decodeVendorMessage(sealed)).toEqual({ message: encodeMessage(message), integrityCheck: false });
  });

  it('shows every changed byte and every cut (T27)', () => {
    covers('T27');
    for (const changed of everyByteFlipped(open)) expect(() => decodeVendorMessage(changed)).toThrow(code('DEVAUTH_MALFORMED'));
    for (let length = 0; length < open.length; length += 1) {
      expect(() => decodeVendorMessage(open.slice(0, length))).toThrow(code('DEVAUTH_MALFORMED'));
    }
  });
});

describe('DevAuth commands', () => {
  it('have the numbers and directions of the protocol page (R98)', () => {
    covers('R98');
    expect(names.map(name => [commands[name].id, commands[name].op])).toEqual(
      [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 13, 14, 15].map(id => [id, [0, 9, 15].includes(id) ? 0 : 2]),
    );
    expect(names.map(name => commandNameOf(commands[name].id))).toEqual(names);
    expect(commandNameOf(10)).toBeUndefined();
  });

  it.each(names)('%s is read back as it was written, both ways, at a depth of 4', name => {
    const { request, response } = samples[name];
    const command = commands[name] as unknown as { request: Codec<object>; response: Codec<object> };
    expect(decodeAs(command.request, encodeAs(command.request, request, 4), 4)).toEqual(request);
    expect(decodeAs(command.response, encodeAs(command.response, response, 4), 4)).toEqual(response);
  });

  it('have integer keys from 1 up for an independent decoder', () => {
    const put = encodeAs(commands.put.request, samples.put.request);
    const map: Map<number, unknown> = decodeWithCborX(put);
    expect([...map.keys()]).toEqual([1, 2, 3, 4, 5]);
    expect([map.get(1), map.get(2), map.get(3)]).toEqual([1, 0, 800]);
  });

  it('keep their limits in both directions (T27)', () => {
    covers('T27');
    const refused = code('CBOR_MALFORMED');
    const { put, otp, keygen, signCri, fwChunk } = samples;
    const { sha256: _, ...withoutHash } = put.request;
    expect(() => encodeAs(commands.put.request, withoutHash)).toThrow(refused);
    expect(() => encodeAs(commands.put.request, { ...put.request, offset: 400 })).toThrow(refused);
    expect(() => encodeAs(commands.put.request, { ...withoutHash, offset: 401 })).toThrow(refused);
    expect(() => encodeAs(commands.put.request, { ...put.request, totalBytes: 65_537 })).toThrow(refused);
    expect(() => encodeAs(commands.otp.request, { ...otp.request, slot: 8 })).toThrow(refused);
    expect(() => encodeAs(commands.otp.request, { ...otp.request, kind: 'secret' })).toThrow(refused);
    expect(() => encodeAs(commands.keygen.request, { ...keygen.request, minEntropyBits: 255 })).toThrow(refused);
    expect(() => encodeAs(commands.signCri.request, { ...signCri.request, cri: fill(1, 2049) })).toThrow(refused);
    expect(() => encodeAs(commands.fwChunk.request, { ...fwChunk.request, data: fill(1, 0) })).toThrow(refused);
  });

  it('refuse changed bytes with a code or read them whole (T27)', () => {
    covers('T27');
    const edits = fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 4 });
    fc.assert(
      fc.property(fc.constantFrom(...names), edits, (name, list) => {
        const codec = commands[name].request as unknown as Codec<object>;
        const bytes = encodeAs(codec, samples[name].request);
        for (const [at, byte] of list) bytes[at % bytes.length] = byte;
        try {
          expect(encodeAs(codec, decodeAs(codec, bytes))).toEqual(bytes);
        } catch (error) {
          expect(error).toBeInstanceOf(NusecError);
        }
      }),
      { numRuns: 2000 },
    );
  });
});
