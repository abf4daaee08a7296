import { certificatesPerList, listIdOf } from '../../domain/crlList.ts';
import { certificateQueries } from '../../projections/certificates.ts';
import type { ReadModels } from '../../projections/readModels.ts';
import { areWithin } from '../../times.ts';
import { type Authorities, parsedAuthority } from '../authority/authority.ts';
import type { Context } from '../base/context.ts';

/** Divides the certificates of an authority among its revocation lists, in the order in which they are issued. */

/** Certificates that are issued, and how long, before the inventory is asked again how many there are: few beside what a partition may have more. */
const certificatesBetweenLooks = 100;
const maxLookAgeMs = 1000;
type Look = { readonly partition: number; readonly atMs: number; left: number };
const looks = new WeakMap<ReadModels, Map<string, Look>>();

/** @returns the partition of the next certificate @throws NusecError PROJECTION_BEHIND while the inventory is built */
export async function openPartition(ctx: Context, icaId: string): Promise<number> {
  const known = looks.get(ctx.reads) ?? new Map<string, Look>();
  looks.set(ctx.reads, known);
  const atMs = ctx.clock().getTime();
  const last = known.get(icaId);
  if (last !== undefined && last.left > 0 && areWithin(maxLookAgeMs, atMs, last.atMs)) {
    last.left -= 1;
    return last.partition;
  }
  const newest = await newestPartition(ctx, icaId);
  const isFull = newest !== undefined && newest.certificates >= certificatesPerList;
  const partition = (newest?.partition ?? 0) + (isFull ? 1 : 0);
  known.set(icaId, { partition, atMs, left: certificatesBetweenLooks });
  return partition;
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
