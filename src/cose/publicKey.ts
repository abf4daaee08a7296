import { createHash, createPublicKey, type KeyObject } from 'node:crypto';
import { concat, equalBytes, fromHex, toHex } from '../bytes.ts';
import { NusecError } from '../errors.ts';

/** SubjectPublicKeyInfo of a P-256 key up to the point (RFC 5480 §2): 26 bytes, then 04 ‖ X[32] ‖ Y[32]. */
const spkiHead = fromHex('3059301306072a8648ce3d020106082a8648ce3d030107034200');
const pointBytes = 65;
const uncompressed = 0x04;
const keyIdBytes = 8;
const maxCachedKeys = 4096;

const cache = new Map<string, KeyObject>();

/** A P-256 public key for node:crypto; the last few thousand are kept, because importing one costs as much as using it.
 *  @param key SubjectPublicKeyInfo DER (91 bytes) or the uncompressed point (65 bytes)
 *  @throws NusecError KEY_REFUSED when it is neither, or not a point of the curve */
export function p256PublicKey(key: Uint8Array): KeyObject {
  const spki = p256Spki(key);
  const name = toHex(spki);
  const known = cache.get(name);
  if (known) return known;
  const imported = importKey(spki);
  if (cache.size >= maxCachedKeys) cache.delete(cache.keys().next().value ?? '');
  cache.set(name, imported);
  return imported;
}

/** @param key SubjectPublicKeyInfo DER (91 bytes) or the uncompressed point (65 bytes)
 *  @returns SubjectPublicKeyInfo DER (91 bytes); whether the point is on the curve is not checked here
 *  @throws NusecError KEY_REFUSED */
export function p256Spki(key: Uint8Array): Uint8Array {
  const spki = key.length === pointBytes ? concat(spkiHead, key) : key;
  const isP256 = spki.length === spkiHead.length + pointBytes && equalBytes(spki.subarray(0, spkiHead.length), spkiHead);
  if (!isP256 || spki[spkiHead.length] !== uncompressed) throw new NusecError('KEY_REFUSED', 'not a P-256 public key');
  return spki;
}

/** The `kid` of all our signatures: the first 8 bytes of SHA-256 of the SubjectPublicKeyInfo. A name, not a proof. */
export const keyIdOf = (key: Uint8Array): Uint8Array =>
  new Uint8Array(createHash('sha256').update(p256Spki(key)).digest()).slice(0, keyIdBytes);

function importKey(spki: Uint8Array): KeyObject {
  try {
    return createPublicKey({ key: Buffer.from(spki), format: 'der', type: 'spki' });
  } catch {
    throw new NusecError('KEY_REFUSED', 'not a point of P-256');
  }
}
