import { type Curve, type SignedMessage, verifyOnce } from '../ecKey.ts';
import { NusecError } from '../errors.ts';
import type { KeyAlgorithm } from './port.ts';

/** What every driver refuses in the same way. */

export type KeyOrigin = 'generated' | 'derived';
type Kind = { readonly id: string; readonly algorithm: KeyAlgorithm };

/** Paths of printable ASCII words, such as `programmer-kek/{uid}/{epoch}`. */
const idPattern = /^[A-Za-z0-9][A-Za-z0-9._:/-]{0,199}$/;
const gcmIvBytes = 12;

/** @throws BAD_REQUEST */
export function checkId(id: string): void {
  if (!idPattern.test(id)) throw new NusecError('BAD_REQUEST', 'a key id is 1 to 200 letters, digits and . _ : / -');
}

/** @throws KEY_REFUSED unless the key signs */
export function ecAlgorithm({ id, algorithm }: Kind): Curve {
  if (algorithm === 'AES-256') throw wrongUse(id, 'does not sign');
  return algorithm;
}

/** @throws KEY_REFUSED unless the key agrees */
export function requireP256(key: Kind): void {
  if (ecAlgorithm(key) !== 'P-256') throw wrongUse(key.id, 'is not a P-256 key');
}

/** @throws KEY_REFUSED unless it is an AES key */
export function requireAes({ id, algorithm }: Kind): void {
  if (algorithm !== 'AES-256') throw wrongUse(id, 'is not an AES key');
}

/** The holder of the other ECDH half knows a derived key: wrapping under it would be an export (T17).
 *  @throws KEY_REFUSED unless it is a generated AES key */
export function requireKek(key: Kind & { readonly origin: KeyOrigin }): void {
  requireAes(key);
  if (key.origin !== 'generated') throw wrongUse(key.id, 'was agreed with a peer and wraps no keys');
}

export function checkIv(iv: Uint8Array): void {
  if (iv.length !== gcmIvBytes) throw new NusecError('KEY_REFUSED', `an iv of AES-GCM has ${gcmIvBytes} bytes`);
}

export const wrongUse = (id: string, why: string): NusecError => new NusecError('KEY_REFUSED', `key ${id} ${why}`);
export const keyExists = (id: string): NusecError => new NusecError('KEY_EXISTS', `there is a key ${id} already`);
export const keyNotFound = (id: string): NusecError => new NusecError('KEY_NOT_FOUND', `there is no key ${id}`);

/** Whether the signature of a request holds. A point that is not on the curve signs nothing. */
export function isProven(proof: SignedMessage): boolean {
  try {
    return verifyOnce(proof);
  } catch {
    return false;
  }
}

/** @throws CSR_SIGNATURE */
export function requireGenuine(proof: SignedMessage): void {
  if (!isProven(proof)) throw notGenuine();
}
export const notGenuine = (): NusecError =>
  new NusecError('CSR_SIGNATURE', 'what is to be signed answers a request whose own signature does not hold');

const digestBytes = 32;

/** @throws KEY_REFUSED */
export function requireDigest(digest: Uint8Array): void {
  if (digest.length !== digestBytes) throw new NusecError('KEY_REFUSED', `a P-256 key signs a digest of ${digestBytes} bytes`);
}
