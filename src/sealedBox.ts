import { type CipherKey, createCipheriv, createDecipheriv } from 'node:crypto';
import { concat } from './bytes.ts';

/** iv[12] ‖ AES-256-GCM ciphertext ‖ tag[16] (NIST SP 800-38D), bound to its place by associated data. */

export const ivBytes = 12;
export const tagBytes = 16;
const cipherName = 'aes-256-gcm';

/** @param key 32 bytes @param iv 12 bytes, never twice under a key with another content */
export function sealBox(key: CipherKey, iv: Uint8Array, aad: Uint8Array, plaintext: Uint8Array): Uint8Array {
  const cipher = createCipheriv(cipherName, key, iv).setAAD(aad);
  return concat(iv, cipher.update(plaintext), cipher.final(), cipher.getAuthTag());
}

/** @returns undefined when it was changed, cut, or is of another key or place */
export function openBox(key: CipherKey, aad: Uint8Array, box: Uint8Array): Uint8Array | undefined {
  if (box.length < ivBytes + tagBytes) return undefined;
  const decipher = createDecipheriv(cipherName, key, box.subarray(0, ivBytes), { authTagLength: tagBytes });
  decipher.setAAD(aad).setAuthTag(box.subarray(-tagBytes));
  try {
    // All of the plaintext comes from update(), in one buffer that can be wiped; final() only judges the tag.
    const plaintext = decipher.update(box.subarray(ivBytes, -tagBytes));
    decipher.final();
    return plaintext;
  } catch {
    return undefined;
  }
}
