import { NusecError } from '../errors.ts';

/** PEM, the text form of DER (RFC 7468), strict form: 64 characters a line, nothing around it but white space. */

export type PemLabel = 'CERTIFICATE' | 'CERTIFICATE REQUEST' | 'PUBLIC KEY' | 'X509 CRL';

/** Most blocks and characters that are read from one text. */
const maxPemBlocks = 64;
const maxPemCharacters = 1 << 20;

export function toPem(label: PemLabel, der: Uint8Array): string {
  const lines =
    Buffer.from(der.buffer, der.byteOffset, der.length)
      .toString('base64')
      .match(/.{1,64}/g) ?? [];
  return `-----BEGIN ${label}-----\n${lines.join('\n')}\n-----END ${label}-----\n`;
}

/** All blocks of a text, in order. @throws NusecError DER_MALFORMED when there is none, another label, text between blocks, or invalid base64 */
export function fromPem(label: PemLabel, pem: string): readonly Uint8Array[] {
  const block = new RegExp(`\\s*-----BEGIN ${label}-----\\r?\\n([A-Za-z0-9+/=\\r\\n]+)-----END ${label}-----\\s*`, 'y');
  const found: Uint8Array[] = [];
  while (pem.length <= maxPemCharacters && found.length < maxPemBlocks && block.lastIndex < pem.length) {
    const body = block.exec(pem)?.[1];
    if (body === undefined) break;
    found.push(base64(body.replace(/\r?\n/g, '')));
    if (block.lastIndex === pem.length) return found;
  }
  throw new NusecError('DER_MALFORMED', `not PEM of type ${label}`);
}

function base64(text: string): Uint8Array {
  const bytes = Buffer.from(text, 'base64');
  if (bytes.toString('base64') !== text) throw new NusecError('DER_MALFORMED', 'not base64');
  return new Uint8Array(bytes);
}
