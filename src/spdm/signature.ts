import { createPublicKey, hash as digest, type KeyObject, verify } from 'node:crypto';
import { concat, toBase64url, utf8 } from '../bytes.ts';
import { rawToDer } from '../ecdsa.ts';
import { NusecError } from '../errors.ts';
import type { HashAlgorithm, SignatureAlgorithm } from './suite.ts';

/** Signatures over transcripts (DSP0274 §15): ECDSA, raw r ‖ s. */

/** What a signature is for; part of the signed bytes since 1.2. */
export type SigningContext =
  | 'responder-challenge_auth signing'
  | 'responder-measurements signing'
  | 'responder-key_exchange_rsp signing'
  | 'requester-finish signing';

/** A leaf key: uncompressed point (65 bytes P-256, 97 bytes P-384), or a KeyObject when the caller keeps them cached. */
export type LeafKey = KeyObject | Uint8Array;

const prefixBytes = 100;
const prefixRepeats = 4;

/** The bytes that the signing algorithm hashes and signs: the transcript itself in 1.1, prefix[100] ‖ H(transcript) since 1.2. */
export function signingInput(version: number, hash: HashAlgorithm, context: SigningContext, transcript: Uint8Array): Uint8Array {
  if (version < 0x12) return transcript;
  const repeated = utf8(`dmtf-spdm-v1.${version & 0xf}.*`.repeat(prefixRepeats));
  const label = utf8(context);
  return concat(repeated, new Uint8Array(prefixBytes - repeated.length - label.length), label, hashOf(hash, transcript));
}

export function hashOf(hash: HashAlgorithm, bytes: Uint8Array): Uint8Array {
  return new Uint8Array(digest(hash.name, bytes, 'buffer'));
}

/** Verifies on the thread pool. @throws SPDM_SIGNATURE */
export async function verifySignature(
  algorithms: { readonly hash: HashAlgorithm; readonly signature: SignatureAlgorithm },
  leafKey: LeafKey,
  input: Uint8Array,
  signature: Uint8Array,
  what: string,
): Promise<void> {
  const key = toKeyObject(leafKey, algorithms.signature);
  const valid = await new Promise<boolean>((resolve, reject) => {
    verify(algorithms.hash.name, input, key, rawToDer(signature), (error, ok) => (error ? reject(error) : resolve(ok)));
  }).catch(() => false);
  if (!valid) throw new NusecError('SPDM_SIGNATURE', `${what}: signature does not verify`);
}

/** @throws SPDM_SIGNATURE when the key is not one of that algorithm */
function toKeyObject(leafKey: LeafKey, algorithm: SignatureAlgorithm): KeyObject {
  const key = leafKey instanceof Uint8Array ? importPoint(leafKey, algorithm) : leafKey;
  const curve = key.asymmetricKeyDetails?.namedCurve;
  if (curve !== openSslCurve[algorithm.curve]) throw new NusecError('SPDM_SIGNATURE', `leaf key is not ${algorithm.curve}`);
  return key;
}

const openSslCurve = { 'P-256': 'prime256v1', 'P-384': 'secp384r1' } as const;

function importPoint(point: Uint8Array, algorithm: SignatureAlgorithm): KeyObject {
  const half = algorithm.signatureBytes / 2;
  if (point.length !== 1 + 2 * half || point[0] !== 4)
    throw new NusecError('SPDM_SIGNATURE', `leaf key is not an uncompressed ${algorithm.curve} point`);
  const x = toBase64url(point.subarray(1, 1 + half));
  const y = toBase64url(point.subarray(1 + half));
  try {
    return createPublicKey({ key: { kty: 'EC', crv: algorithm.curve, x, y }, format: 'jwk' });
  } catch (cause) {
    throw new NusecError('SPDM_SIGNATURE', `leaf key is not a point of ${algorithm.curve}`, { cause });
  }
}
