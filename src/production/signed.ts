import { type Codec, decodeAs, encodeAs } from '../cbor/schema.ts';
import { type KeyResolver, type RawSigner, sign1, verifySign1 } from '../cose/sign1.ts';
import type { Curve } from '../ecKey.ts';

/** A signed message: what `typ` it carries (so that no format passes for another) and how its payload reads. */
export type SignedFormat<T> = { readonly type: string; readonly codec: Codec<T> };

/** The key that signs: its kid as `keyIdOf` gives it, its curve (default: P-256), and the operation itself, which stays in a keystore
 *  or KeyStore. */
export type Signer = { readonly kid: Uint8Array; readonly curve?: Curve; readonly sign: RawSigner };

/** @throws NusecError CBOR_MALFORMED when the value does not keep the limits of the format */
export async function signAs<T>(format: SignedFormat<T>, value: NoInfer<T>, signer: Signer): Promise<Uint8Array> {
  const { sign, ...key } = signer;
  return sign1({ ...key, type: format.type, payload: encodeAs(format.codec, value) }, sign);
}

/** @throws NusecError COSE_MALFORMED, COSE_SIGNATURE, CBOR_MALFORMED */
export async function verifyAs<T>(format: SignedFormat<T>, bytes: Uint8Array, resolveKey: KeyResolver): Promise<T> {
  const { payload } = await verifySign1(bytes, { resolveKey, expectedType: format.type });
  return decodeAs(format.codec, payload);
}
