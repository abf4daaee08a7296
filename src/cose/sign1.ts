import { verify } from 'node:crypto';
import { encodeCbor } from '../cbor/encode.ts';
import { encodeAs } from '../cbor/schema.ts';
import { coordinateBytes, derToRaw, rawToDer } from '../ecdsa.ts';
import { type Curve, digestOf } from '../ecKey.ts';
import { NusecError } from '../errors.ts';
import {
  type CoseHeaders,
  coseHeaders,
  coseMalformed,
  coseParts,
  coseTag,
  requireType,
  sign1Protected,
  sign1Unprotected,
} from './headers.ts';
import { publicKeyOf } from './publicKey.ts';

/** COSE_Sign1 (RFC 9052 §4.2): tag 18, algorithm in the protected bucket, payload inside. ES256 with a P-256 key, ES384 with a P-384 key
 *  (RFC 9053 §2.1); the RootCA may have a P-384 key, all others that sign so are P-256. */

const signatureBytes = (curve: Curve): number => 2 * coordinateBytes[curve];
const none = new Uint8Array();

/** Signs the bytes (SHA-256 inside with a P-256 key, SHA-384 with a P-384 key). @returns r ‖ s, 64 or 96 bytes */
export type RawSigner = (toBeSigned: Uint8Array) => Promise<Uint8Array>;

/** @param signDer a signer that gives DER {r, s}, as the keystore does  @param curve of its key
 *  @throws NusecError (when it signs) KEY_REFUSED for a signature that is too long for this curve, or no DER */
export const rawSigner =
  (signDer: (toBeSigned: Uint8Array) => Promise<Uint8Array>, curve: Curve = 'P-256'): RawSigner =>
  async toBeSigned => {
    const raw = derToRaw(await signDer(toBeSigned), coordinateBytes[curve]);
    if (!raw) throw noSignature(curve);
    return raw;
  };

const noSignature = (curve: Curve): NusecError => new NusecError('KEY_REFUSED', `the signer gave no ${curve} signature`);

/** Names a key: SubjectPublicKeyInfo DER (91 bytes, P-384: 120) or uncompressed point (65, 97); undefined when the key is not known or not
 *  trusted for this. */
export type KeyResolver = (kid: Uint8Array) => Uint8Array | undefined | Promise<Uint8Array | undefined>;

/** Writes a COSE_Sign1. All headers are protected.
 *  @param message kid and curve (default: P-256) of the signing key, type of the format (`typ`), payload, and external data that is
 *  authenticated but not sent
 *  @throws NusecError KEY_REFUSED when the signature has not the length of this curve */
export async function sign1(
  message: {
    readonly kid: Uint8Array;
    readonly curve?: Curve;
    readonly type?: string;
    readonly payload: Uint8Array;
    readonly externalAad?: Uint8Array;
  },
  sign: RawSigner,
): Promise<Uint8Array> {
  const { kid, curve = 'P-256', type, payload, externalAad = none } = message;
  const protectedBytes = encodeAs(sign1Protected, { alg: curve, kid, ...(type !== undefined && { type }) });
  const signature = await sign(sigStructure(protectedBytes, externalAad, payload));
  if (signature.length !== signatureBytes(curve)) throw noSignature(curve);
  return encodeCbor({ tag: coseTag.sign1, value: [protectedBytes, new Map(), payload, signature] });
}

export type VerifiedSign1 = { readonly payload: Uint8Array; readonly kid: Uint8Array; readonly headers: CoseHeaders };

/** Reads a COSE_Sign1 and verifies its signature. The key decides the algorithm; a message that names the other one is refused.
 *  @param options.expectedType the `typ` that the message must carry
 *  @throws NusecError COSE_MALFORMED (form, unknown algorithm, unknown header, other type, length of the signature),
 *  COSE_SIGNATURE (unknown key, algorithm of another curve than the key's, or wrong signature) */
export async function verifySign1(
  bytes: Uint8Array,
  options: { readonly resolveKey: KeyResolver; readonly externalAad?: Uint8Array; readonly expectedType?: string },
): Promise<VerifiedSign1> {
  const { protectedBytes, headers, kid, payload, ...signed } = parseSign1(bytes);
  requireType(headers, options.expectedType);
  const key = await options.resolveKey(kid);
  const toBeSigned = sigStructure(protectedBytes, options.externalAad ?? none, payload);
  if (!key || !(await isSignedBy(key, toBeSigned, signed))) throw new NusecError('COSE_SIGNATURE', 'the signature is not valid');
  return { payload, kid, headers };
}

function parseSign1(bytes: Uint8Array) {
  const [protectedBytes, unprotected, payload, signature] = coseParts(bytes, coseTag.sign1, 4);
  const { headers, inside } = coseHeaders(protectedBytes, unprotected, sign1Protected, sign1Unprotected);
  const isComplete = protectedBytes instanceof Uint8Array && payload instanceof Uint8Array && signature instanceof Uint8Array;
  if (!isComplete || signature.length !== signatureBytes(inside.alg)) throw coseMalformed('payload or signature');
  if (!headers.kid) throw coseMalformed('no kid');
  return { protectedBytes, headers, kid: headers.kid, payload, curve: inside.alg, signature };
}

/** Sig_structure (RFC 9052 §4.4). */
const sigStructure = (protectedBytes: Uint8Array, externalAad: Uint8Array, payload: Uint8Array): Uint8Array =>
  encodeCbor(['Signature1', protectedBytes, externalAad, payload]);

/** P-256 here, P-384 in the thread pool (docs/decisions/070). */
async function isSignedBy(by: Uint8Array, toBeSigned: Uint8Array, signed: { curve: Curve; signature: Uint8Array }): Promise<boolean> {
  const { curve, key } = publicKeyOf(by);
  if (curve !== signed.curve) return false;
  const der = rawToDer(signed.signature, curve);
  if (curve === 'P-256') return verify(digestOf[curve], toBeSigned, key, der);
  return new Promise((resolve, reject) => {
    verify(digestOf[curve], toBeSigned, key, der, (error, isValid) => (error ? reject(error) : resolve(isValid)));
  });
}
