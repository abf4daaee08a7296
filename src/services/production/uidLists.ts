import { concat, equalBytes } from '../../bytes.ts';
import { NusecError } from '../../errors.ts';
import { uidFromHex } from '../../production/uid.ts';
import { maxListedUids, proveUid, type UidProof, type UidRule, uidRuleOf } from '../../production/uidList.ts';
import type { Context } from '../base/context.ts';

/** UID lists of chip vendors (RULE-7, T7): a blob of sorted UIDs, 16 bytes each. */

const uidBytes = 16;
const maxUidListUids = 200_000;

/** Reads one UID per line; empty lines and lines that begin with # are skipped.
 *  @throws NusecError BAD_REQUEST naming the line, UID_CONFLICT when a UID stands twice */
export function readUidList(text: string): Uint8Array {
  const lines = text.split(/\r?\n/).map(line => line.trim());
  const uids = lines.flatMap((line, index) => (line === '' || line.startsWith('#') ? [] : [uidOfLine(line, index + 1)]));
  if (uids.length === 0) throw new NusecError('BAD_REQUEST', 'the UID list is empty');
  if (uids.length > maxUidListUids) throw new NusecError('BODY_TOO_LARGE', `a UID list has at most ${maxUidListUids} UIDs`);
  const sorted = uids.sort(Buffer.compare);
  const twice = sorted.find((uid, index) => equalBytes(uid, sorted[index - 1] ?? new Uint8Array()));
  if (twice !== undefined) throw new NusecError('UID_CONFLICT', 'a UID stands twice in the list');
  return concat(...sorted);
}

function uidOfLine(line: string, number: number): Uint8Array {
  try {
    return uidFromHex(line.toLowerCase());
  } catch {
    throw new NusecError('BAD_REQUEST', `line ${number} is not a UID of 24 or 32 hex digits`);
  }
}

/** What a package says of the list. @param sha256 of the blob; absent: any chip may be built */
export async function uidRuleFor(ctx: Context, sha256: string | undefined): Promise<UidRule> {
  return sha256 === undefined ? null : uidRuleOf(split(await ctx.blobs.get(sha256)));
}

/** Whether a UID is listed, by a binary search in the verified blob. */
export async function isListed(ctx: Context, sha256: string, uid: Uint8Array): Promise<boolean> {
  let [low, high] = [0, (await ctx.blobs.size(sha256)) / uidBytes - 1];
  while (low <= high) {
    const middle = (low + high) >>> 1;
    const order = Buffer.compare(uid, await ctx.blobs.getRange(sha256, middle * uidBytes, uidBytes));
    if (order === 0) return true;
    if (order < 0) high = middle - 1;
    else low = middle + 1;
  }
  return false;
}

/** The proof that goes into a grant when the package names the list by its tree only. */
export async function uidProofFor(ctx: Context, sha256: string | undefined, uid: Uint8Array): Promise<UidProof | undefined> {
  if (sha256 === undefined || (await ctx.blobs.size(sha256)) <= maxListedUids * uidBytes) return undefined;
  return proveUid(split(await ctx.blobs.get(sha256)), uid);
}

function split(joined: Uint8Array): Uint8Array[] {
  return Array.from({ length: joined.length / uidBytes }, (_, index) => joined.slice(index * uidBytes, (index + 1) * uidBytes));
}
