import type { CreatedJob } from '../../domain/jobState.ts';
import { maxListedUids, type UidProof, type UidRule } from '../../production/uidList.ts';
import { uidBytes } from '../../uidlists/tree.ts';
import type { Context } from '../base/context.ts';

/** What packages and grants say of the list of chips that a job may build (RULE-7, T7). */

/** What a package says of the list: the UIDs up to 2000 of them, the root of their tree above; without a list any chip may be built. */
export async function uidRuleFor(ctx: Context, { uidList }: CreatedJob): Promise<UidRule> {
  if (uidList === undefined) return null;
  const { count } = uidList;
  if (count > maxListedUids) return { merkleRoot: await ctx.uidLists.rootOf(uidList), count };
  const joined = await ctx.blobs.get(uidList.sha256);
  return { uids: Array.from({ length: count }, (_, index) => joined.slice(index * uidBytes, (index + 1) * uidBytes)) };
}

/** Whether a job may build this chip. */
export async function isListed(ctx: Context, { uidList }: CreatedJob, uid: Uint8Array): Promise<boolean> {
  return uidList === undefined || (await ctx.uidLists.prove(uidList, uid)) !== undefined;
}

/** The proof that goes into a grant when the package names the list by its tree only. */
export async function uidProofFor(ctx: Context, { uidList }: CreatedJob, uid: Uint8Array): Promise<UidProof | undefined> {
  return uidList === undefined || uidList.count <= maxListedUids ? undefined : ctx.uidLists.prove(uidList, uid);
}
