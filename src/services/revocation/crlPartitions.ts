import { certificatesPerList, listIdOf } from '../../domain/crlList.ts';
import { certificateQueries } from '../../projections/certificates.ts';
import { type Authorities, parsedAuthority } from '../authority/authority.ts';
import type { Context } from '../base/context.ts';

/** Divides the certificates of an authority among its revocation lists, in the order in which they are issued. */

/** @returns the partition of the next certificate @throws NusecError PROJECTION_BEHIND while the inventory is built */
export async function openPartition(ctx: Context, icaId: string): Promise<number> {
  const newest = await newestPartition(ctx, icaId);
  if (newest === undefined) return 0;
  return newest.certificates < certificatesPerList ? newest.partition : newest.partition + 1;
}

/** Ids of all lists of an authority, the first one too when it has no certificate yet. */
export async function listIdsOf(ctx: Context, icaId: string): Promise<readonly string[]> {
  const newest = await newestPartition(ctx, icaId);
  return Array.from({ length: (newest?.partition ?? 0) + 1 }, (_, crlPartition) => listIdOf({ icaId, crlPartition }));
}

async function newestPartition(ctx: Context, icaId: string) {
  // An inventory of an earlier version, shown while the present one is built, knows no partitions.
  await ctx.reads.waitFor(0, { projections: ['certificates'] });
  return certificateQueries(ctx.reads.db).newestPartition(icaId);
}

/** Addresses that the first list of an authority had before there were partitions, under names that this server had then: the certificates of its
 *  issuing CAs have them. */
export function formerCrlUrls({ issuingCas }: Authorities, listId: string): readonly string[] {
  const urls = issuingCas.flatMap(({ certificate }) => parsedAuthority(certificate).crlUrl ?? []);
  return urls.map(url => `${url.slice(0, url.lastIndexOf('/crl/'))}/crl/${listId}.crl`);
}
