import { createCipheriv, randomBytes } from 'node:crypto';
import { encode as encodeWithCborX } from 'cbor-x';
import { describe, expect, it } from 'vitest';
import { concat, utf8 } from '../../src/bytes.ts';
import { encodeCbor } from '../../src/cbor/encode.ts';
import { aes256GcmOpen, assembleEncrypt0, encodeEncrypt0Protected, encrypt0Aad, openEncrypt0 } from '../../src/cose/encrypt0.ts';
import { NusecError } from '../../src/errors.ts';
import { decodeWithCborX } from '../support/cborX.ts';
import { covers } from '../support/covers.ts';
import { everyByteFlipped } from './keys.ts';

const code = (name: string) => expect.objectContaining({ code: name });
const key = randomBytes(32);
const iv = new Uint8Array(randomBytes(12));
const externalAad = utf8('file head');
const plaintext = utf8('This is the content.');
const protectedBytes = encodeEncrypt0Protected({ kid: utf8('k'), type: 'application/test' });
const sealed = assembleEncrypt0({ protectedBytes, iv, ciphertext: gcm(encrypt0Aad(protectedBytes, externalAad)) });
const options = { open: aes256GcmOpen(key), externalAad };

function gcm(aad: Uint8Array): Uint8Array {
  const cipher = createCipheriv('aes-256-gcm', key, iv);
  cipher.setAAD(aad);
  return concat(cipher.update(plaintext), cipher.final(), cipher.getAuthTag());
}

describe('COSE_Encrypt0', () => {
  it('opens what was sealed and tells kid and type', async () => {
    expect(await openEncrypt0(sealed, { ...options, expectedType: 'application/test' })).toEqual({
      plaintext,
      headers: { kid: utf8('k'), type: 'application/test' },
    });
  });

  it('has the form of RFC 9052 §5.2 and the AAD of §5.3 for an independent codec', () => {
    const decoded = decodeWithCborX(sealed);
    expect(decoded.tag).toBe(16);
    expect(decoded.value[1]).toEqual(new Map([[5, iv]]));
    expect(decodeWithCborX(decoded.value[0]).get(1)).toBe(3);
    const aad = encodeWithCborX(['Encrypt0', Buffer.from(protectedBytes), Buffer.from(externalAad)]);
    expect(encrypt0Aad(protectedBytes, externalAad)).toEqual(new Uint8Array(aad));
  });

  it('refuses every changed byte (T4)', async () => {
    covers('T4');
    for (const changed of everyByteFlipped(sealed)) await expect(openEncrypt0(changed, options)).rejects.toThrow(NusecError);
  });

  it('refuses another key, other external data and another type', async () => {
    await expect(openEncrypt0(sealed, { ...options, open: aes256GcmOpen(randomBytes(32)) })).rejects.toThrow(code('COSE_DECRYPT'));
    await expect(openEncrypt0(sealed, { ...options, externalAad: utf8('other') })).rejects.toThrow(code('COSE_DECRYPT'));
    await expect(openEncrypt0(sealed, { ...options, expectedType: 'application/other' })).rejects.toThrow(code('COSE_MALFORMED'));
  });

  it('refuses a short iv, a missing tag, another algorithm and another COSE type (T27)', async () => {
    covers('T27');
    const message = (protectedHeader: Uint8Array, usedIv: Uint8Array, ciphertext: Uint8Array | null, tag = 16) =>
      encodeCbor({ tag, value: [protectedHeader, new Map([[5, usedIv]]), ciphertext] });
    const a128 = encodeCbor(new Map([[1, 1]]));
    for (const bad of [
      message(protectedBytes, iv.slice(1), new Uint8Array(16)),
      message(protectedBytes, iv, new Uint8Array(15)),
      message(protectedBytes, iv, null),
      message(a128, iv, new Uint8Array(16)),
      message(protectedBytes, iv, new Uint8Array(16), 96),
    ])
      await expect(openEncrypt0(bad, options)).rejects.toThrow(code('COSE_MALFORMED'));
  });
});
