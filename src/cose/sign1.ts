import { verify } from 'node:crypto';
import { encodeCbor } from '../cbor/encode.ts';
import { encodeAs } from '../cbor/schema.ts';
import { derToRaw, rawToDer } from '../ecdsa.ts';
import { NusecError } from '../errors.ts';
import {
  algorithm,
  type CoseHeaders,
  coseHeaders,
  coseMalformed,
  coseParts,
  coseTag,
  requireType,
  sign1Protected,
  sign1Unprotected,
} from './headers.ts';
import { p256PublicKey } from './publicKey.ts';

/** COSE_Sign1 with ES256 (RFC 9052 §4.2, RFC 9053 §2.1): tag 18, algorithm in the protected bucket, payload inside. */

const signatureBytes = 64;
const coordinateBytes = 32;
const none = new Uint8Array();

/** Signs the bytes (SHA-256 inside). @returns r ‖ s, 64 bytes */
export type Es256Signer = (toBeSigned: Uint8Array) => Promise<Uint8Array>;

/** @param signDer a signer that gives DER {r, s}, as the keystore does */
export const es256Signer =
  (signDer: (toBeSigned: Uint8Array) => Promise<Uint8Array>): Es256Signer =>
  async toBeSigned => {
    const raw = derToRaw(await signDer(toBeSigned), coordinateBytes);
    if (!raw) throw new NusecError('KEY_REFUSED', 'the signer gave no P-256 signature');
    return raw;
  };

/** Names a key: SubjectPublicKeyInfo DER (91 bytes) or uncompressed point (65 bytes); undefined when the key is not known or not trusted for this. */
export type KeyResolver = (kid: Uint8Array) => Uint8Array | undefined | Promise<Uint8Array | undefined>;

/** Writes a COSE_Sign1. All headers are protected.
 *  @param message kid of the signing key, type of the format (`typ`), payload, and external data that is authenticated but not sent */
export async function sign1(
  message: { readonly kid: Uint8Array; readonly type?: string; readonly payload: Uint8Array; readonly externalAad?: Uint8Array },
  sign: Es256Signer,
): Promise<Uint8Array> {
  const { kid, type, payload, externalAad = none } = message;
  const protectedBytes = encodeAs(sign1Protected, { alg: algorithm.es256, kid, ...(type !== undefined && { type }) });
  const signature = await sign(sigStructure(protectedBytes, externalAad, payload));
  if (signature.length !== signatureBytes) throw new NusecError('KEY_REFUSED', 'the signer gave no P-256 signature');
  return encodeCbor({ tag: coseTag.sign1, value: [protectedBytes, new Map(), payload, signature] });
}

export type VerifiedSign1 = { readonly payload: Uint8Array; readonly kid: Uint8Array; readonly headers: CoseHeaders };

/** Reads a COSE_Sign1 and verifies its signature.
 *  @param options.expectedType the `typ` that the message must carry
 *  @throws NusecError COSE_MALFORMED (form, other algorithm, unknown header, other type), COSE_SIGNATURE (unknown key or bad signature) */
export async function verifySign1(
  bytes: Uint8Array,
  options: { readonly resolveKey: KeyResolver; readonly externalAad?: Uint8Array; readonly expectedType?: string },
): Promise<VerifiedSign1> {
  const { protectedBytes, headers, kid, payload, signature } = parseSign1(bytes);
  requireType(headers, options.expectedType);
  const key = await options.resolveKey(kid);
  const toBeSigned = sigStructure(protectedBytes, options.externalAad ?? none, payload);
  if (!key || !(await isSignedBy(key, toBeSigned, signature))) throw new NusecError('COSE_SIGNATURE', 'the signature is not valid');
  return { payload, kid, headers };
}

function parseSign1(bytes: Uint8Array) {
  const [protectedBytes, unprotected, payload, signature] = coseParts(bytes, coseTag.sign1, 4);
  const { headers } = coseHeaders(protectedBytes, unprotected, sign1Protected, sign1Unprotected);
  const isComplete = protectedBytes instanceof Uint8Array && payload instanceof Uint8Array && signature instanceof Uint8Array;
  if (!isComplete || signature.length !== signatureBytes) throw coseMalformed('payload or signature');
  if (!headers.kid) throw coseMalformed('no kid');
  return { protectedBytes, headers, kid: headers.kid, payload, signature };
}

/** Sig_structure (RFC 9052 §4.4). */
const sigStructure = (protectedBytes: Uint8Array, externalAad: Uint8Array, payload: Uint8Array): Uint8Array =>
  encodeCbor(['Signature1', protectedBytes, externalAad, payload]);

/** Callback form: the work is done in the thread pool. */
function isSignedBy(key: Uint8Array, toBeSigned: Uint8Array, signature: Uint8Array): Promise<boolean> {
  const publicKey = p256PublicKey(key);
  return new Promise((resolve, reject) => {
    verify('sha256', toBeSigned, publicKey, rawToDer(signature), (error, isValid) => (error ? reject(error) : resolve(isValid)));
  });
}
