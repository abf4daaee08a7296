import { equalBytes } from '../bytes.ts';
import { array, bytes, bytesUpTo, type Codec, type CodecType, field, record, refine, text, uint } from '../cbor/schema.ts';
import { keyIdOf } from '../cose/publicKey.ts';
import type { KeyResolver } from '../cose/sign1.ts';
import { type SigningUse, signingUses } from '../domain/signingUse.ts';
import { flags, timeSeconds, tuple } from './fields.ts';
import { type SignedFormat, type Signer, signAs, verifyAs } from './signed.ts';

/** Trust bundle: which authorities and which signing keys of the OEM are trusted today. Signed by the RootCA, whose hash every
 *  programmer and device has in OTP; a higher version replaces a lower one (RULE-16). */

export const maxTrustedRoots = 4;
const maxIssuers = 64;
const maxSigningKeys = 64;

const issuer = tuple({ icaId: text(64), use: text(16), certificate: bytesUpTo(2000) });

/** On the wire a key with every use, as they were before each use had its own, is the text `package`; any other has one bit for each use. */
const everyUse = 'package';
const useBits = flags<SigningUse>({ package: 1, grant: 2, order: 4, otaJob: 8, report: 16 });
const isEvery = (uses: readonly SigningUse[]): boolean => signingUses.every(use => uses.includes(use));
const useSet: Codec<readonly SigningUse[]> = {
  decode: (value, at) => {
    if (value === everyUse) return signingUses;
    const named = useBits.decode(value, at);
    return signingUses.filter(use => named[use]);
  },
  encode: (uses, at) => {
    if (isEvery(uses)) return everyUse;
    return useBits.encode(Object.fromEntries(signingUses.map(use => [use, uses.includes(use)])) as Record<SigningUse, boolean>, at);
  },
};
/** A key of the OEM and what it signs; `point` is the uncompressed P-256 point. */
const signingKey = tuple({ kid: bytes(8), point: bytes(65), uses: refine(useSet, 'a use', uses => uses.length > 0) });

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

/** Finds the keys of a bundle that sign for this use, by kid: those of other uses are as unknown as a stranger's. */
export const signingKeysOf =
  (value: TrustBundle, use: SigningUse): KeyResolver =>
  kid =>
    value.signingKeys.find(key => key.uses.includes(use) && equalBytes(key.kid, kid))?.point;
