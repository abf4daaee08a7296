import { NusecError } from '../../src/errors.ts';
import { parseCertificate } from '../../src/pki/parse.ts';
import { maxTrustedRoots, type TrustBundle, verifyTrustBundle } from '../../src/production/trustBundle.ts';

/** The root a machine began with, and those of its bundle. */
const maxBelievedRoots = 1 + maxTrustedRoots;

/** A trust bundle that one of several trusted roots has signed.
 *  @param roots DER @throws NusecError COSE_MALFORMED, CBOR_MALFORMED, COSE_SIGNATURE (of none of these roots) */
export async function verifiedBy(bytes: Uint8Array, roots: readonly Uint8Array[]): Promise<TrustBundle> {
  let refusal: unknown = new NusecError('COSE_SIGNATURE', 'no root signed the trust bundle');
  for (const root of roots.slice(0, maxBelievedRoots)) {
    try {
      return await verifyTrustBundle(bytes, parseCertificate(root).spki);
    } catch (error) {
      refusal = error;
    }
  }
  throw refusal;
}
