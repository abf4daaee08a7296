import { createHmac } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isOurTicket, ticketIn, ticketSealOf } from '../../../src/gateway/broker/clientHello.ts';
import { covers } from '../../support/covers.ts';

const u8 = (value: number): Buffer => Buffer.of(value);
const u16 = (value: number): Buffer => Buffer.of(value >> 8, value & 255);
const block = (length: (value: number) => Buffer, ...parts: readonly Uint8Array[]): Buffer => {
  const body = Buffer.concat(parts);
  return Buffer.concat([length(body.length), body]);
};
const extension = (type: number, body: Uint8Array): Buffer => Buffer.concat([u16(type), block(u16, body)]);
const preSharedKey = (ticket: Uint8Array): Buffer =>
  extension(41, Buffer.concat([block(u16, block(u16, ticket), Buffer.alloc(4)), block(u16, block(u8, Buffer.alloc(32)))]));

/** ClientHello in its record (RFC 8446 §4.1.2, §5.1). */
function helloWith(extensions: readonly Uint8Array[]): Buffer {
  const hello = Buffer.concat([
    ...[u16(0x0303), Buffer.alloc(32, 7), block(u8, Buffer.alloc(32))],
    ...[block(u16, u16(0x1301)), block(u8, u8(0)), block(u16, ...extensions)],
  ]);
  return Buffer.concat([Buffer.of(0x16, 3, 1), block(u16, Buffer.of(1, 0), block(u16, hello))]);
}

describe('a ClientHello', () => {
  it('shows the ticket it brings, wherever that stands', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 1, maxLength: 400 }),
        fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 5 }),
        (ticket, before) => {
          const others = before.map((body, i) => extension(i, body));
          expect(ticketIn(helloWith([...others, preSharedKey(ticket)]))).toEqual(Buffer.from(ticket));
          expect(ticketIn(helloWith(others))).toBeUndefined();
        },
      ),
    );
  });

  it('that is cut, changed or no hello shows none, or some bytes, and breaks nothing (T27)', () => {
    covers('T27');
    const whole = helloWith([preSharedKey(Buffer.alloc(200, 1))]);
    for (let length = 0; length < whole.length; length += 1) expect(() => ticketIn(whole.subarray(0, length))).not.toThrow();
    fc.assert(fc.property(fc.uint8Array({ maxLength: 300 }), bytes => (ticketIn(bytes)?.length ?? 0) <= bytes.length));
    fc.assert(
      fc.property(fc.nat(whole.length - 1), fc.nat(255), (at, value) => {
        const changed = Buffer.from(whole);
        changed[at] = value;
        ticketIn(changed);
      }),
    );
  });
});

describe('a ticket', () => {
  const keys = Uint8Array.from({ length: 48 }, (_, i) => i);
  const sealed = (name: Uint8Array, key: Uint8Array): Buffer => {
    const head = Buffer.concat([name, Buffer.alloc(100, 9)]);
    return Buffer.concat([head, createHmac('sha256', key).update(head).digest()]);
  };

  it('is ours with our name and our seal', () => {
    const [name, key] = [keys.subarray(0, 16), keys.subarray(16, 32)];
    const seal = ticketSealOf(keys);
    expect(isOurTicket(sealed(name, key), seal)).toBe(true);
    expect(isOurTicket(sealed(Buffer.alloc(16), key), seal)).toBe(false);
    expect(isOurTicket(sealed(name, Buffer.alloc(16)), seal)).toBe(false);
    expect(isOurTicket(sealed(name, key).subarray(0, 48), seal)).toBe(false);
    expect(isOurTicket(new Uint8Array(), seal)).toBe(false);
  });
});
