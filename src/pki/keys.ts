import { createPublicKey, hash, type KeyObject, verify } from 'node:crypto';
import { concat, fromHex } from '../bytes.ts';
import { NusecError } from '../errors.ts';
import { oid, sequence } from './der.ts';
import { oids } from './oids.ts';
import { toPem } from './pem.ts';

/** Elliptic-curve public keys as X.509 carries them: SubjectPublicKeyInfo with a named curve and an uncompressed point (RFC 5480 §2). */

export type Curve = 'P-256' | 'P-384';

/** Everything of the SubjectPublicKeyInfo before the point: 26 bytes for P-256 (91 in all), 23 for P-384 (120 in all). */
const spkiPrefixes: Readonly<Record<Curve, Uint8Array>> = {
  'P-256': fromHex('3059301306072a8648ce3d020106082a8648ce3d030107034200'),
  'P-384': fromHex('3076301006072a8648ce3d020106052b81040022036200'),
};
const pointBytes: Readonly<Record<Curve, number>> = { 'P-256': 65, 'P-384': 97 };
const uncompressed = 0x04;

/** AlgorithmIdentifier of a signature by such a key; parameters absent (RFC 5758 §3.2). */
export const signatureAlgorithms: Readonly<Record<Curve, Uint8Array>> = {
  'P-256': sequence(oid(oids.ecdsaSha256)),
  'P-384': sequence(oid(oids.ecdsaSha384)),
};
export const digestOf: Readonly<Record<Curve, 'sha256' | 'sha384'>> = { 'P-256': 'sha256', 'P-384': 'sha384' };

/** Curve of a SubjectPublicKeyInfo in its only accepted form, or undefined. Whether the point is on the curve is told by `importKey`. */
export function curveOf(spki: Uint8Array): Curve | undefined {
  for (const curve of ['P-256', 'P-384'] as const) {
    const prefix = spkiPrefixes[curve];
    const fits = spki.length === prefix.length + pointBytes[curve] && spki[prefix.length] === uncompressed;
    if (fits && prefix.every((byte, index) => spki[index] === byte)) return curve;
  }
  return undefined;
}

/** @returns the uncompressed point, 65 or 97 bytes @throws KEY_REFUSED */
export function pointOf(spki: Uint8Array): Uint8Array {
  const curve = curveOf(spki);
  if (!curve) throw new NusecError('KEY_REFUSED', 'only P-256 and P-384 keys with an uncompressed point');
  return spki.subarray(spkiPrefixes[curve].length);
}

/** @param point uncompressed, 65 or 97 bytes @returns SubjectPublicKeyInfo, 91 or 120 bytes @throws KEY_REFUSED */
export function spkiOfPoint(point: Uint8Array, curve: Curve = 'P-256'): Uint8Array {
  if (point.length !== pointBytes[curve] || point[0] !== uncompressed)
    throw new NusecError('KEY_REFUSED', `not an uncompressed ${curve} point`);
  return concat(spkiPrefixes[curve], point);
}

/** By way of PEM: for bytes, Node 24 first finds out by four exceptions that they are no key object, which costs more than the import.
 *  @throws KEY_REFUSED when the point is not on the curve */
export function importKey(spki: Uint8Array): KeyObject {
  try {
    return createPublicKey(toPem('PUBLIC KEY', spki));
  } catch {
    throw new NusecError('KEY_REFUSED', 'the public key is not a point on its curve');
  }
}

/** Verifies one signature by a key that is not used again, without a key object for it.
 *  @throws KEY_REFUSED when the point is not on the curve */
export function verifyOnce(curve: Curve, spki: Uint8Array, message: Uint8Array, derSignature: Uint8Array): boolean {
  try {
    return verify(digestOf[curve], message, toPem('PUBLIC KEY', spki), derSignature);
  } catch {
    throw new NusecError('KEY_REFUSED', 'the public key is not a point on its curve');
  }
}

/** Key identifier: leftmost 160 bits of the SHA-256 of the key bits (RFC 7093 §2 method 1). @returns 20 bytes */
export function keyIdentifier(spki: Uint8Array): Uint8Array {
  return hash('sha256', pointOf(spki), 'buffer').subarray(0, 20);
}
