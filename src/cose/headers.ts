import { decodeCbor } from '../cbor/decode.ts';
import { bytes, bytesUpTo, type Codec, decodeAs, field, literal, oneOf, optionalField, record, text } from '../cbor/schema.ts';
import { type CborValue, isArray, isTag } from '../cbor/value.ts';
import type { Curve } from '../ecKey.ts';
import { NusecError } from '../errors.ts';

/** Common header parameters (RFC 9052 §3.1; typ: RFC 9596 §2). */
const label = { alg: 1, kid: 4, iv: 5, typ: 16 } as const;

/** ECDSA (RFC 9053 §2.1): ES256 is taken with P-256 keys only, ES384 with P-384 keys only. */
const signatureAlgorithm = { 'P-256': -7, 'P-384': -35 } as const satisfies Record<Curve, number>;
/** AES-256-GCM (RFC 9053 §4.1). */
export const a256gcm = 3;

/** CBOR tags (RFC 9052 §2). */
export const coseTag = { encrypt0: 16, sign1: 18 } as const;

const ivBytes = 12;
const maxKidBytes = 64;
const maxTypeChars = 64;

/** What a message says about itself: kid names the key, type (`typ`) names the format, so that one signed thing never passes for another. */
export type CoseHeaders = { readonly kid?: Uint8Array; readonly type?: string };

/** The protected bucket. Every other parameter, `crit` among them, is refused: nothing that we do not understand is ever signed over. */
const protectedHeaders = <A>(alg: Codec<A>) =>
  record({
    alg: field(label.alg, alg),
    kid: optionalField(label.kid, bytesUpTo(maxKidBytes)),
    type: optionalField(label.typ, text(maxTypeChars)),
  });

/** `alg` reads as the curve of the signing key. */
export const sign1Protected = protectedHeaders(oneOf(signatureAlgorithm));
export const encrypt0Protected = protectedHeaders(literal(a256gcm));

const kidOnly = { kid: optionalField(label.kid, bytesUpTo(maxKidBytes)) };
export const sign1Unprotected = record(kidOnly);
export const encrypt0Unprotected = record({ ...kidOnly, iv: field(label.iv, bytes(ivBytes)) });

/** Takes a tagged COSE message apart (RFC 9052 §4.2, §5.2).
 *  @throws NusecError COSE_MALFORMED when the tag or the number of parts is another */
export function coseParts(message: Uint8Array, tag: number, count: number): readonly CborValue[] {
  const outer = asCose(() => decodeCbor(message));
  if (!isTag(outer) || outer.tag !== tag || !isArray(outer.value) || outer.value.length !== count) throw coseMalformed('other COSE type');
  return outer.value;
}

/** Reads both header buckets. The kid may be in either, not in both (RFC 9052 §3). */
export function coseHeaders<P extends CoseHeaders, U extends CoseHeaders>(
  protectedBytes: CborValue | undefined,
  unprotected: CborValue | undefined,
  protectedCodec: Codec<P>,
  unprotectedCodec: Codec<U>,
): { readonly headers: CoseHeaders; readonly inside: P; readonly unprotected: U } {
  if (!(protectedBytes instanceof Uint8Array) || unprotected === undefined) throw coseMalformed('headers');
  const inside = asCose(() => decodeAs(protectedCodec, protectedBytes));
  const outside = asCose(() => unprotectedCodec.decode(unprotected, 'unprotected'));
  if (inside.kid && outside.kid) throw coseMalformed('kid twice');
  const kid = inside.kid ?? outside.kid;
  return { headers: { ...(kid && { kid }), ...(inside.type !== undefined && { type: inside.type }) }, inside, unprotected: outside };
}

/** @throws NusecError COSE_MALFORMED when the message is of another format than the reader asked for */
export function requireType(headers: CoseHeaders, expectedType: string | undefined): void {
  if (expectedType !== undefined && headers.type !== expectedType) throw coseMalformed('other content');
}

export const coseMalformed = (detail: string): NusecError => new NusecError('COSE_MALFORMED', detail);

function asCose<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw error instanceof NusecError ? coseMalformed(error.message) : error;
  }
}
