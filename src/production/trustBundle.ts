import { equalBytes } from '../bytes.ts';
import { array, bytes, bytesUpTo, type CodecType, field, literal, record, text, uint } from '../cbor/schema.ts';
import { keyIdOf } from '../cose/publicKey.ts';
import type { KeyResolver } from '../cose/sign1.ts';
import { timeSeconds, tuple } from './fields.ts';
import { type SignedFormat, type Signer, signAs, verifyAs } from './signed.ts';

/** Trust bundle: which authorities and which signing keys of the OEM are good today. Signed by the RootCA, whose hash every
 *  programmer and device has in OTP; a higher version replaces a lower one (RULE-16). */

export const maxTrustedRoots = 4;
const maxIssuers = 64;
const maxSigningKeys = 16;

const issuer = tuple({ icaId: text(64), use: text(16), certificate: bytesUpTo(2000) });
/** A key that signs packages, grants and orders; `point` is the uncompressed P-256 point. */
const signingKey = tuple({ kid: bytes(8), point: bytes(65), use: literal('package') });

const bundle = record({
  version: field(1, uint()),
  issuedAtSeconds: field(2, timeSeconds),
  roots: field(3, array(bytesUpTo(2000), maxTrustedRoots, 1)),
  issuers: field(4, array(issuer, maxIssuers)),
  signingKeys: field(5, array(signingKey, maxSigningKeys)),
});
export type TrustBundle = CodecType<typeof bundle>;
export const maxTrustBundleBytes = 64 * 1024;

const format: SignedFormat<TrustBundle> = { type: 'application/nusec-trust-bundle', codec: bundle };

export const signTrustBundle = (value: TrustBundle, signer: Signer): Promise<Uint8Array> => signAs(format, value, signer);

/** @param rootPublicKey SubjectPublicKeyInfo of the RootCA that the reader trusts: 91 bytes (P-256, the bundle is ES256) or 120 (P-384, ES384)
 *  @throws NusecError COSE_MALFORMED, COSE_SIGNATURE, CBOR_MALFORMED */
export function verifyTrustBundle(bytes: Uint8Array, rootPublicKey: Uint8Array): Promise<TrustBundle> {
  const kid = keyIdOf(rootPublicKey);
  return verifyAs(format, bytes, candidate => (equalBytes(candidate, kid) ? rootPublicKey : undefined));
}

/** Finds the package keys of a bundle by kid, for openPackage, verifyGrant and verifyOrder. */
export const packageKeysOf =
  (value: TrustBundle): KeyResolver =>
  kid =>
    value.signingKeys.find(key => equalBytes(key.kid, kid))?.point;
