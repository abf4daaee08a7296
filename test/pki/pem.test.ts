import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { fromPem, toPem } from '../../src/pki/pem.ts';
import { covers } from '../support/covers.ts';

const some = Uint8Array.of(1, 2, 3);
const refused = (text: string) =>
  expect(() => fromPem('CERTIFICATE', text), text).toThrow(expect.objectContaining({ code: 'DER_MALFORMED' }));

describe('PEM (RFC 7468)', () => {
  it('reads back any blocks in their order', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ minLength: 1, maxLength: 200 }), { minLength: 1, maxLength: 5 }), blocks => {
        expect(fromPem('X509 CRL', blocks.map(block => toPem('X509 CRL', block)).join('\n'))).toEqual(blocks);
      }),
    );
  });

  it('accepts Windows line ends and space around, as files come', () => {
    expect(fromPem('CERTIFICATE', `\n${toPem('CERTIFICATE', some).replaceAll('\n', '\r\n')}\r\n `)).toEqual([some]);
  });

  it('refuses another label, text between, bad base64, nothing, and too much (T27)', () => {
    covers('T27');
    refused('');
    refused('hello');
    refused(toPem('X509 CRL', some));
    refused(`${toPem('CERTIFICATE', some)}x`);
    refused(toPem('CERTIFICATE', some).replace('AQID', 'AQI'));
    refused(toPem('CERTIFICATE', some).replace('AQID', 'AQJ='));
    refused(toPem('CERTIFICATE', some).repeat(65));
    refused(toPem('CERTIFICATE', new Uint8Array(1 << 20)));
  });
});
