import { fromBase64url } from '../../bytes.ts';
import type { Context } from '../base/context.ts';
import { type Authorities, crossCertificates } from './authority.ts';

/** What devices need that know older roots: they outlive the root they were made under, and may sleep while roots change. */

/** The newest trust bundle that one of these roots signed. Who knows only a retired root gets the last one that root signed: it names the next root.
 *  @param known SHA-256 of root certificates, hex; of equally new ones the bundle of the first counts
 *  @returns undefined when none of them signed a newer one than this version */
export async function trustBundleFor(
  ctx: Context,
  { roots, newestBundles }: Authorities,
  known: readonly string[],
  newerThan: number,
): Promise<{ readonly version: number; readonly bundle: Uint8Array } | undefined> {
  const signed = known.flatMap(sha256 => newestBundles[roots.find(root => root.sha256 === sha256)?.rootId ?? ''] ?? []);
  const newest = signed.toSorted((a, b) => b.version - a.version)[0];
  if (newest === undefined || newest.version <= newerThan) return undefined;
  return { version: newest.version, bundle: await ctx.blobs.get(newest.sha256) };
}

/** Roots whose overlap is over, DER: nothing is issued under them, and only certificates of devices may still end in them. */
export function retiredRoots({ roots }: Authorities): readonly Uint8Array[] {
  return roots.filter(({ retired }) => retired).map(({ certificate }) => fromBase64url(certificate));
}

/** Certificates between roots that a client may need which knows another root than the server's chain ends in: those of the trusted roots, and
 *  what each retired root said of its successor, for devices that slept through its retirement. DER. */
export function certificatesBetweenRoots(authorities: Authorities): readonly Uint8Array[] {
  const { roots } = authorities;
  const isRetired = (rootId: string | undefined) => roots.some(root => root.rootId === rootId && root.retired);
  const successors = roots.filter(({ previousRootId }) => isRetired(previousRootId));
  const left = successors.flatMap(({ crossCertificate: der }) => (der === undefined ? [] : [fromBase64url(der)]));
  return [...crossCertificates(authorities), ...left];
}
