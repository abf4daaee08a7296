import { equalBytes } from '../../src/bytes.ts';
import { sha256Hex } from '../../src/digest.ts';
import { NusecError } from '../../src/errors.ts';
import type { TrustBundle } from '../../src/production/trustBundle.ts';
import { verifiedBy } from './trustBundles.ts';

/** Fetches the trust bundle from a server that is not verified yet: only the signature of the bundle counts. */

export type FetchedBundle = { readonly bundle: TrustBundle; readonly bytes: Uint8Array };

/** Largest number of roots between the root that a machine knows and the newest one. */
const maxSteps = 5;

/** The newest bundle that these roots lead to: a root that is retired signed one that names the next.
 *  @param get `GET` of a path @param roots DER, trusted
 *  @throws NusecError COSE_SIGNATURE (of none of these roots), COSE_MALFORMED, CBOR_MALFORMED, and what `get` throws */
export async function fetchBundle(get: (path: string) => Promise<Uint8Array>, roots: readonly Uint8Array[]): Promise<FetchedBundle> {
  const byRoot = async (root: Uint8Array, believed: readonly Uint8Array[]): Promise<FetchedBundle> => {
    const bytes = await get(`/v1/trust-bundle?root=${sha256Hex(root)}`);
    return { bytes, bundle: await verifiedBy(bytes, believed) };
  };
  let root = roots.at(-1);
  if (root === undefined) throw new NusecError('CHAIN_REFUSED', 'no root is trusted');
  let found = await byRoot(root, roots);
  for (let step = 1; step < maxSteps; step += 1) {
    const newest = found.bundle.roots.at(-1);
    if (newest === undefined || equalBytes(newest, root)) break;
    root = newest;
    const next = await byRoot(root, found.bundle.roots);
    if (next.bundle.version <= found.bundle.version) break;
    found = next;
  }
  return found;
}
