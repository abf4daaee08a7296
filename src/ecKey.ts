import { createPublicKey, type KeyObject, verify } from 'node:crypto';
import { concat, equalBytes, fromHex } from './bytes.ts';
import { NusecError } from './errors.ts';

/** Elliptic-curve public keys: SubjectPublicKeyInfo with a named curve and an uncompressed point (RFC 5480 §2), or the point alone. */

export type Curve = 'P-256' | 'P-384';

/** Everything of the SubjectPublicKeyInfo before the point: 26 bytes for P-256 (91 in all), 23 for P-384 (120 in all). */
const spkiPrefixes: Readonly<Record<Curve, Uint8Array>> = {
  'P-256': fromHex('3059301306072a8648ce3d020106082a8648ce3d030107034200'),
  'P-384': fromHex('3076301006072a8648ce3d020106052b81040022036200'),
};
/** Of an uncompressed point: 04 ‖ X ‖ Y. */
export const pointBytes: Readonly<Record<Curve, number>> = { 'P-256': 65, 'P-384': 97 };
const uncompressed = 0x04;

/** The hash that ECDSA with such a key signs over. */
export const digestOf: Readonly<Record<Curve, 'sha256' | 'sha384'>> = { 'P-256': 'sha256', 'P-384': 'sha384' };

/** Curve of a SubjectPublicKeyInfo in its only accepted form, or undefined. `importKey` checks whether the point is on the curve. */
export function curveOf(spki: Uint8Array): Curve | undefined {
  for (const curve of ['P-256', 'P-384'] as const) {
    const prefix = spkiPrefixes[curve];
    const fits = spki.length === prefix.length + pointBytes[curve] && spki[prefix.length] === uncompressed;
    if (fits && equalBytes(spki.subarray(0, prefix.length), prefix)) return curve;
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

/** @throws KEY_REFUSED when the point is not on the curve */
export function importKey(spki: Uint8Array): KeyObject {
  try {
    return createPublicKey(pemOf(spki));
  } catch {
    throw offCurve();
  }
}

/** A message and somebody's signature of it, DER. `publicKey`: SubjectPublicKeyInfo. */
export type SignedMessage = {
  readonly curve: Curve;
  readonly publicKey: Uint8Array;
  readonly message: Uint8Array;
  readonly signature: Uint8Array;
};

/** Verifies one signature by a key that is not used again, without a key object for it.
 *  @throws KEY_REFUSED when the point is not on the curve */
export function verifyOnce({ curve, publicKey, message, signature }: SignedMessage): boolean {
  try {
    return verify(digestOf[curve], message, pemOf(publicKey), signature);
  } catch {
    throw offCurve();
  }
}

/** For DER bytes, Node 24 first finds out by four exceptions that they are no key object, which costs more than the import. */
function pemOf(spki: Uint8Array): string {
  const base64 = Buffer.from(spki.buffer, spki.byteOffset, spki.length).toString('base64');
  return `-----BEGIN PUBLIC KEY-----\n${base64}\n-----END PUBLIC KEY-----\n`;
}

const offCurve = (): NusecError => new NusecError('KEY_REFUSED', 'the public key is not a point on its curve');
