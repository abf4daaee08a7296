import { createPublicKey, hash as digest, type KeyObject, verify } from 'node:crypto';
import { concat, toBase64url, utf8 } from '../bytes.ts';
import { rawToDer } from '../ecdsa.ts';
import { NusecError } from '../errors.ts';
import type { EcdsaAlgorithm, HashAlgorithm, SignatureAlgorithm } from './suite.ts';

/** Signatures over transcripts (DSP0274 §15): ECDSA, raw r ‖ s; since 1.4 also ML-DSA, with the context as its context string. */

/** What a signature is for; part of the signed bytes since 1.2. */
export type SigningContext =
  | 'responder-challenge_auth signing'
  | 'responder-measurements signing'
  | 'responder-key_exchange_rsp signing'
  | 'requester-finish signing';

/** A leaf key: uncompressed point (65 bytes P-256, 97 bytes P-384), or a KeyObject (always for ML-DSA, and when the caller keeps them cached). */
export type LeafKey = KeyObject | Uint8Array;

const prefixBytes = 100;
const prefixRepeats = 4;
const contextAt = 64;

/** The bytes that the signing algorithm hashes and signs: the transcript itself in 1.1, prefix[100] ‖ H(transcript) since 1.2. */
export function signingInput(version: number, hash: HashAlgorithm, context: SigningContext, transcript: Uint8Array): Uint8Array {
  return version < 0x12 ? transcript : concat(prefixOf(version, context), hashOf(hash, transcript));
}

/** Made once for each version and context. */
const prefixes = new Map<string, Uint8Array>();

function prefixOf(version: number, context: SigningContext): Uint8Array {
  const name = `dmtf-spdm-v1.${version & 0xf}.*`.repeat(prefixRepeats);
  const known = prefixes.get(name + context);
  if (known) return known;
  const label = utf8(context);
  const prefix = concat(utf8(name), new Uint8Array(prefixBytes - name.length - label.length), label);
  prefixes.set(name + context, prefix);
  return prefix;
}

/** The context a signing input of 1.2 or later was made for: what a signer with an ML-DSA key needs beside the input. */
export function signingContextOf(input: Uint8Array): Uint8Array {
  const field = input.subarray(contextAt, prefixBytes);
  return field.subarray(field.findIndex(byte => byte !== 0));
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
  const valid = await new Promise<boolean>((resolve, reject) => {
    const done = (error: Error | null, ok: boolean): void => (error ? reject(error) : resolve(ok));
    verifyWith(algorithms, leafKey, input, signature, done);
  }).catch(error => {
    if (error instanceof NusecError) throw error;
    return false;
  });
  if (!valid) throw new NusecError('SPDM_SIGNATURE', `${what}: signature does not verify`);
}

function verifyWith(
  { hash, signature: algorithm }: { readonly hash: HashAlgorithm; readonly signature: SignatureAlgorithm },
  leafKey: LeafKey,
  input: Uint8Array,
  signature: Uint8Array,
  done: (error: Error | null, ok: boolean) => void,
): void {
  if ('curve' in algorithm) {
    verify(hash.name, input, toKeyObject(leafKey, algorithm), rawToDer(signature), done);
    return;
  }
  if (!('mlDsa' in algorithm) || leafKey instanceof Uint8Array || leafKey.asymmetricKeyType !== algorithm.mlDsa)
    throw new NusecError('SPDM_SIGNATURE', 'leaf key is not one of the negotiated algorithm');
  verify(null, input, { key: leafKey, context: signingContextOf(input) } as Parameters<typeof verify>[2], signature, done);
}

/** @throws SPDM_SIGNATURE when the key is not one of that algorithm */
function toKeyObject(leafKey: LeafKey, algorithm: EcdsaAlgorithm): KeyObject {
  const key = leafKey instanceof Uint8Array ? importPoint(leafKey, algorithm) : leafKey;
  const curve = key.asymmetricKeyDetails?.namedCurve;
  if (curve !== openSslCurve[algorithm.curve]) throw new NusecError('SPDM_SIGNATURE', `leaf key is not ${algorithm.curve}`);
  return key;
}

const openSslCurve = { 'P-256': 'prime256v1', 'P-384': 'secp384r1' } as const;

function importPoint(point: Uint8Array, algorithm: EcdsaAlgorithm): KeyObject {
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
