import { hash as digest } from 'node:crypto';
import { concat, equalBytes } from '../bytes.ts';
import { array, bytesUpTo, type Codec, type CodecType, field, nullable, record, refine, uint } from '../cbor/schema.ts';
import { hash32, u32 } from './fields.ts';

/** Which chips a package allows (RULE-7, T7): any (null), the ones listed, or the leaves of a Merkle tree (RFC 9162 §2.1) when the list is long. */

/** UIDs that a package carries one by one. */
export const maxListedUids = 2000;
const uidBytes = 16;
const maxTreeDepth = 32;

export type UidRule = null | { readonly uids: readonly Uint8Array[] } | UidTree;
type UidTree = { readonly merkleRoot: Uint8Array; readonly count: number };

const tree = record({
  merkleRoot: field(1, hash32),
  count: field(
    2,
    refine(u32, 'a long list', count => count > maxListedUids),
  ),
});

const sortedUids: Codec<Uint8Array> = refine(
  bytesUpTo(maxListedUids * uidBytes, uidBytes),
  'sorted UIDs of 16 bytes',
  joined => joined.length % uidBytes === 0 && isStrictlySorted(split(joined)),
);

/** null | sorted n × 16 bytes | {1 merkleRoot, 2 n} */
export const uidRule: Codec<UidRule> = nullable<Exclude<UidRule, null>>({
  decode: (value, at) => (value instanceof Uint8Array ? { uids: split(sortedUids.decode(value, at)) } : tree.decode(value, at)),
  encode: (rule, at) => ('uids' in rule ? sortedUids.encode(concat(...rule.uids), at) : tree.encode(rule, at)),
});

/** Proof that a UID is leaf `index` of the tree: the sibling hashes from the leaf up. */
export const uidProof = record({ index: field(1, uint()), path: field(2, array(hash32, maxTreeDepth)) });
export type UidProof = CodecType<typeof uidProof>;

/** @param proof needed when the rule is a tree */
export function isUidAllowed(rule: UidRule, uid: Uint8Array, proof?: UidProof): boolean {
  if (rule === null) return true;
  if ('uids' in rule) return rule.uids.some(listed => equalBytes(listed, uid));
  return proof !== undefined && proof.index < rule.count && isInTree(rule, leafHash(uid), proof);
}

const hash = (...parts: readonly Uint8Array[]): Uint8Array => digest('sha256', concat(...parts), 'buffer');
const leafHash = (uid: Uint8Array): Uint8Array => hash(Uint8Array.of(0), uid);
const nodeHash = (left: Uint8Array, right: Uint8Array): Uint8Array => hash(Uint8Array.of(1), left, right);

/** RFC 9162 §2.1.3.2. */
function isInTree(rule: UidTree, leaf: Uint8Array, { index, path }: UidProof): boolean {
  let [node, last, result] = [index, rule.count - 1, leaf];
  for (const sibling of path) {
    if (last === 0) return false;
    const isRight = node % 2 === 1 || node === last;
    result = isRight ? nodeHash(sibling, result) : nodeHash(result, sibling);
    while (isRight && node % 2 === 0 && node !== 0) [node, last] = [node >>> 1, last >>> 1];
    [node, last] = [node >>> 1, last >>> 1];
  }
  return last === 0 && equalBytes(result, rule.merkleRoot);
}

function split(joined: Uint8Array): Uint8Array[] {
  return Array.from({ length: joined.length / uidBytes }, (_, index) => joined.slice(index * uidBytes, (index + 1) * uidBytes));
}

const isStrictlySorted = (uids: readonly Uint8Array[]): boolean =>
  uids.every((uid, index) => index === 0 || Buffer.compare(uids[index - 1] ?? uid, uid) < 0);
