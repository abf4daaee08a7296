import { type KeyObject, verify } from 'node:crypto';
import { concat, utf8 } from '../bytes.ts';
import { digestBytes } from '../digest.ts';
import { rawToDer } from '../ecdsa.ts';
import { importKey, spkiOfPoint } from '../ecKey.ts';
import { NusecError } from '../errors.ts';
import type { EcdsaAlgorithm, HashAlgorithm, SignatureAlgorithm } from './suite.ts';

/** Signatures over transcripts (DSP0274 §15): ECDSA, raw r ‖ s; since 1.4 also ML-DSA, with the context as its context string. */

/** What a signature is for; part of the signed bytes since 1.2. */
export type SigningContext =
  | 'responder-challenge_auth signing'
  | 'responder-measurements signing'
  | 'responder-key_exchange_rsp signing'
  | 'responder-endpoint_info signing'
  | 'requester-challenge_auth signing'
  | 'requester-endpoint_info signing'
  | 'requester-finish signing';

/** A leaf key: uncompressed point (65 bytes P-256, 97 bytes P-384; the faster form for a key seen once), or a KeyObject (always for ML-DSA, and
 *  when the caller keeps them cached). */
export type LeafKey = KeyObject | Uint8Array;

/** Where signatures are verified: in the thread pool, so that they spread over the cores, or in the calling thread. When nobody says: `placeFor`. */
export type VerifyPlace = 'pool' | 'caller';

/** P-256 in the calling thread: changing threads costs as much as the verification. What takes longer goes to the pool. */
const placeFor = (algorithm: SignatureAlgorithm): VerifyPlace => ('curve' in algorithm && algorithm.curve === 'P-256' ? 'caller' : 'pool');

const prefixBytes = 100;
const prefixRepeats = 4;
const contextAt = 64;

/** The bytes that the signing algorithm hashes and signs: the transcript itself in 1.1, prefix[100] ‖ H(transcript) since 1.2. */
export function signingInput(version: number, hash: HashAlgorithm, context: SigningContext, transcript: Uint8Array): Uint8Array {
  if (version < 0x12) return transcript;
  const input = Buffer.allocUnsafe(prefixBytes + hash.hashBytes);
  input.set(prefixOf(version, context));
  input.set(hashOf(hash, transcript), prefixBytes);
  return input;
}

/** Made once for each context and version. */
const prefixes: Record<SigningContext, Uint8Array[]> = {
  'responder-challenge_auth signing': [],
  'responder-measurements signing': [],
  'responder-key_exchange_rsp signing': [],
  'responder-endpoint_info signing': [],
  'requester-challenge_auth signing': [],
  'requester-endpoint_info signing': [],
  'requester-finish signing': [],
};

function prefixOf(version: number, context: SigningContext): Uint8Array {
  const minor = version & 0xf;
  const known = prefixes[context][minor];
  if (known) return known;
  const name = `dmtf-spdm-v1.${minor}.*`.repeat(prefixRepeats);
  const label = utf8(context);
  const prefix = concat(utf8(name), new Uint8Array(prefixBytes - name.length - label.length), label);
  prefixes[context][minor] = prefix;
  return prefix;
}

/** The context a signing input of 1.2 or later was made for: what a signer with an ML-DSA key needs beside the input. */
export function signingContextOf(input: Uint8Array): Uint8Array {
  const field = input.subarray(contextAt, prefixBytes);
  return field.subarray(field.findIndex(byte => byte !== 0));
}

export const hashOf = (hash: HashAlgorithm, bytes: Uint8Array): Uint8Array => digestBytes(hash.name, bytes);

type Negotiated = { readonly hash: HashAlgorithm; readonly signature: SignatureAlgorithm };

/** @throws SPDM_SIGNATURE */
export async function verifySignature(
  algorithms: Negotiated,
  leafKey: LeafKey,
  input: Uint8Array,
  signature: Uint8Array,
  what: string,
  place?: VerifyPlace,
): Promise<void> {
  await verifyByKey(algorithms, importLeafKey(algorithms.signature, leafKey), input, signature, what, place);
}

/** The same with a key that `importLeafKey` gave for these algorithms. @throws SPDM_SIGNATURE */
export async function verifyByKey(
  algorithms: Negotiated,
  key: KeyObject,
  input: Uint8Array,
  signature: Uint8Array,
  what: string,
  place: VerifyPlace = placeFor(algorithms.signature),
): Promise<void> {
  if (!(await verifyAt(place, algorithms, key, input, signature)))
    throw new NusecError('SPDM_SIGNATURE', `${what}: signature does not verify`);
}

/** The key as node:crypto has it, so that several signatures cost one import.
 *  @throws SPDM_SIGNATURE when the key is not one of that algorithm */
export function importLeafKey(algorithm: SignatureAlgorithm, leafKey: LeafKey): KeyObject {
  if ('curve' in algorithm) return leafKey instanceof Uint8Array ? importPoint(leafKey, algorithm) : checkedCurve(leafKey, algorithm);
  if (!('mlDsa' in algorithm) || leafKey instanceof Uint8Array || leafKey.asymmetricKeyType !== algorithm.mlDsa)
    throw new NusecError('SPDM_SIGNATURE', 'leaf key is not one of the negotiated algorithm');
  return leafKey;
}

/** Whatever fails in node:crypto is a signature that does not verify. */
async function verifyAt(
  place: VerifyPlace,
  { hash, signature: algorithm }: Negotiated,
  key: KeyObject,
  input: Uint8Array,
  raw: Uint8Array,
) {
  const classic = 'curve' in algorithm;
  const digestName = classic ? hash.name : null;
  const by = classic ? key : ({ key, context: signingContextOf(input) } as Parameters<typeof verify>[2]);
  try {
    const signature = classic ? rawToDer(raw, algorithm.curve) : raw;
    if (place === 'caller') return verify(digestName, input, by, signature);
    return await new Promise<boolean>((resolve, reject) =>
      verify(digestName, input, by, signature, (error, ok) => (error ? reject(error) : resolve(ok))),
    );
  } catch {
    return false;
  }
}

/** Curves of keys looked at before: asking node:crypto costs a quarter of a verification the first time. */
const curves = new WeakMap<KeyObject, string>();
const openSslCurve = { 'P-256': 'prime256v1', 'P-384': 'secp384r1' } as const;

function checkedCurve(key: KeyObject, { curve }: EcdsaAlgorithm): KeyObject {
  const known = curves.get(key) ?? key.asymmetricKeyDetails?.namedCurve ?? 'none';
  curves.set(key, known);
  if (known !== openSslCurve[curve]) throw new NusecError('SPDM_SIGNATURE', `leaf key is not ${curve}`);
  return key;
}

function importPoint(point: Uint8Array, { curve }: EcdsaAlgorithm): KeyObject {
  try {
    return importKey(spkiOfPoint(point, curve));
  } catch (cause) {
    throw new NusecError('SPDM_SIGNATURE', `leaf key is not an uncompressed point of ${curve}`, { cause });
  }
}
