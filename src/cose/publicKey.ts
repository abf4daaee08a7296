import type { KeyObject } from 'node:crypto';
import { toHex } from '../bytes.ts';
import { sha256 } from '../digest.ts';
import { type Curve, curveOf, importKey, pointBytes, spkiOfPoint } from '../ecKey.ts';
import { NusecError } from '../errors.ts';

const keyIdBytes = 8;
const maxCachedKeys = 4096;

/** `curve` decides the signature algorithm: no other is taken with this key. */
type PublicKey = { readonly curve: Curve; readonly key: KeyObject };

const cache = new Map<string, PublicKey>();

/** A public key for node:crypto; the last few thousand are kept, because importing one costs as much as using it.
 *  @param key SubjectPublicKeyInfo DER (91 bytes for P-256, 120 for P-384) or the uncompressed point (65 or 97 bytes)
 *  @throws NusecError KEY_REFUSED when it is neither, or not a point of the curve */
export function publicKeyOf(key: Uint8Array): PublicKey {
  const { curve, spki } = spkiOf(key);
  const name = toHex(spki);
  const known = cache.get(name);
  if (known) return known;
  const imported = { curve, key: importKey(spki) };
  if (cache.size >= maxCachedKeys) cache.delete(cache.keys().next().value ?? '');
  cache.set(name, imported);
  return imported;
}

/** @param key SubjectPublicKeyInfo DER (91 bytes) or the uncompressed point (65 bytes)
 *  @returns SubjectPublicKeyInfo DER (91 bytes); whether the point is on the curve is not checked here
 *  @throws NusecError KEY_REFUSED */
export function p256Spki(key: Uint8Array): Uint8Array {
  const { curve, spki } = spkiOf(key);
  if (curve !== 'P-256') throw new NusecError('KEY_REFUSED', 'not a P-256 public key');
  return spki;
}

/** The `kid` of all our signatures: the first 8 bytes of SHA-256 of the SubjectPublicKeyInfo. A name, not a proof. */
export const keyIdOf = (key: Uint8Array): Uint8Array => sha256(spkiOf(key).spki).slice(0, keyIdBytes);

function spkiOf(key: Uint8Array): { readonly curve: Curve; readonly spki: Uint8Array } {
  const ofPoint = (['P-256', 'P-384'] as const).find(curve => key.length === pointBytes[curve]);
  const curve = ofPoint ?? curveOf(key);
  if (!curve) throw new NusecError('KEY_REFUSED', 'not a P-256 or P-384 public key');
  return { curve, spki: ofPoint ? spkiOfPoint(key, ofPoint) : key };
}
