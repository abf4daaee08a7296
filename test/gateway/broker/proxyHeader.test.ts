import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type ProxyHeader, readProxyHeader } from '../../../src/gateway/broker/proxyHeader.ts';
import { covers } from '../../support/covers.ts';

/** Headers as HAProxy 2.6 writes them (doc/proxy-protocol.txt §2.2). */

const signature = Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1');
const u16 = (value: number): Buffer => Buffer.from([value >> 8, value & 0xff]);
const field = (type: number, value: Uint8Array): Buffer => Buffer.concat([Buffer.of(type), u16(value.length), value]);
function header(family: number, addresses: Uint8Array, ...fields: readonly Uint8Array[]): Buffer {
  const rest = Buffer.concat([addresses, ...fields]);
  return Buffer.concat([signature, Buffer.of(0x21, family), u16(rest.length), rest]);
}
const v4 = Buffer.from([192, 0, 2, 1, 127, 0, 0, 1, 0x11, 0x22, 0x22, 0xb3]);
const v6 = Buffer.concat([Buffer.from('20010db8000000000000000000000001', 'hex'), Buffer.alloc(16), Buffer.alloc(4)]);
const fingerprint = 'ab'.repeat(32);
const id = field(0x05, Buffer.from(fingerprint.toUpperCase()));
/** Flags, the result of the check (ignored: we check), and the version of TLS as a field of its own. */
const tls = (flags: number): Buffer => field(0x20, Buffer.concat([Buffer.of(flags, 0, 0, 0, 1), field(0x21, Buffer.from('TLSv1.3'))]));
const whole = header(0x11, v4, id, tls(7));
const read = (bytes: Buffer): ProxyHeader => readProxyHeader(bytes) as ProxyHeader;

describe('a header of a TLS terminator', () => {
  it('names the address of the client and its certificate, for IPv4 and IPv6', () => {
    expect(read(Buffer.concat([whole, Buffer.from('MQTT')]))).toEqual({
      bytes: whole.length,
      remoteAddress: '192.0.2.1',
      certificateSha256: fingerprint,
    });
    expect(read(header(0x21, v6, tls(5), id))).toMatchObject({ remoteAddress: '2001:db8:0:0:0:0:0:1', certificateSha256: fingerprint });
  });

  it('names no certificate that was not proved, or has no fingerprint (RULE-9)', () => {
    covers('RULE-9');
    expect(read(header(0x11, v4, id, tls(1))).certificateSha256).toBeUndefined();
    expect(read(header(0x11, v4, tls(7))).certificateSha256).toBeUndefined();
    expect(read(header(0x11, v4, field(0x05, Buffer.from(fingerprint.slice(2))), tls(7))).certificateSha256).toBeUndefined();
  });

  it.each([
    ['another signature', Buffer.concat([Buffer.from('GET / HTTP/1.1\r\n'), whole])],
    ['version 1', Buffer.from('PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n')],
    ['no TLS', header(0x11, v4, id)],
    ['TLS that was not used', header(0x11, v4, id, tls(0))],
    ['a health check', Buffer.from(whole).fill(0x20, 12, 13)],
    ['UDP', Buffer.from(whole).fill(0x12, 13, 14)],
    ['a field that ends behind it', header(0x11, v4, tls(7), Buffer.of(5, 0, 9, 1))],
    ['fewer bytes than its addresses', header(0x11, v4.subarray(0, 6))],
    ['a kilobyte and more', header(0x11, v4, tls(7), field(4, Buffer.alloc(1_000)))],
  ])('is none with %s', (_name, bytes) => {
    expect(readProxyHeader(bytes)).toBe('none');
  });

  it('is waited for byte by byte', () => {
    for (let length = 0; length < whole.length; length += 1) expect(readProxyHeader(whole.subarray(0, length))).toBe('more');
  });

  it('is read from any bytes without a fault', () => {
    const bytes = fc
      .tuple(fc.nat(whole.length), fc.uint8Array({ maxLength: 100 }))
      .map(([at, more]) => Buffer.concat([whole.subarray(0, at), more]));
    fc.assert(fc.property(bytes, sent => void readProxyHeader(sent)));
  });
});
