import { createCipheriv, createDecipheriv, type KeyObject } from 'node:crypto';
import { concat, fromHex } from '../bytes.ts';
import { NusecError } from '../errors.ts';

/** AES key wrap with padding, AES-KWP (RFC 5649): the form of key material at rest. */

const cipherName = 'id-aes256-wrap-pad';
/** RFC 5649 §3: the constant half of the alternative initial value; the length half is added by the cipher. */
const alternativeIv = fromHex('a65959a6');
/** RFC 5649 §4: one block of AIV and length, then data padded to 8 bytes. */
const blockBytes = 8;
const minWrappedBytes = 2 * blockBytes;

/** @param kek AES-256  @returns 8 bytes more than `secret` padded to a multiple of 8 (152 bytes for a P-256 PKCS#8 with its public key) */
export function wrapKey(kek: KeyObject, secret: Uint8Array): Uint8Array {
  const cipher = createCipheriv(cipherName, kek, alternativeIv);
  return concat(cipher.update(secret), cipher.final());
}

/** @returns the secret; the caller wipes it  @throws KEY_REFUSED when `wrapped` was not made under this key, or was changed */
export function unwrapKey(kek: KeyObject, wrapped: Uint8Array): Uint8Array {
  if (wrapped.length < minWrappedBytes || wrapped.length % blockBytes !== 0) throw refused();
  try {
    const decipher = createDecipheriv(cipherName, kek, alternativeIv);
    // One call gives all of it; final() of this mode is empty.
    const secret = decipher.update(wrapped);
    decipher.final();
    return secret;
  } catch {
    throw refused();
  }
}

const refused = (): NusecError => new NusecError('KEY_REFUSED', 'the wrapped key does not open under this key and context');
