import { contextPrimitive, malformed, tags } from './der.ts';
import { finish, nextTag, only, read } from './derReader.ts';
import { oids } from './oids.ts';

/** Policy constraints of authorities (RFC 5280 §4.2.1.11, §4.2.1.14), and what they ask of the path below (§6.1). Policy mappings are not
 *  understood: a mapped policy is another one, so that a path can only be refused for it. */

/** From how many certificates further down a policy is required, and `anyPolicy` is none any more. */
export type PolicyConstraints = { readonly requireExplicit?: number; readonly inhibitMapping?: number };

export function readPolicyConstraints(value: Uint8Array): PolicyConstraints {
  const fields = only(value, tags.sequence);
  const [requireExplicit, inhibitMapping] = [0, 1].map(number =>
    nextTag(fields) === contextPrimitive(number) ? skipCerts(read(fields, contextPrimitive(number))) : undefined,
  );
  finish(fields);
  if (requireExplicit === undefined && inhibitMapping === undefined) malformed('policy constraints without one');
  return { ...(requireExplicit !== undefined && { requireExplicit }), ...(inhibitMapping !== undefined && { inhibitMapping }) };
}

/** Certificates in a path that may be skipped: one byte is more than any path has. */
function skipCerts(content: Uint8Array): number {
  const [count = 0] = content;
  if (content.length !== 1 || count > 0x7f) malformed('number of certificates to skip');
  return count;
}

export type PolicyHolder = {
  readonly policies?: readonly string[];
  readonly policyConstraints?: PolicyConstraints;
  readonly inhibitAnyPolicy?: number;
  readonly isSelfIssued: boolean;
};

/** @param path root first @returns place (from the root) of the certificate at which no policy is left although one is required */
export function policyRefusal(path: readonly PolicyHolder[]): number | undefined {
  let valid: readonly string[] = [oids.anyPolicy];
  let [explicitIn, inhibitIn] = [Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY];
  for (const [place, certificate] of path.entries()) {
    const isLeaf = place === path.length - 1;
    const takesAny = inhibitIn > 0 || (certificate.isSelfIssued && !isLeaf);
    if (place > 0) valid = narrowed(valid, certificate.policies ?? [], takesAny);
    if (!certificate.isSelfIssued || isLeaf) {
      explicitIn = Math.max(0, explicitIn - 1);
      inhibitIn = Math.max(0, inhibitIn - 1);
    }
    const { policyConstraints, inhibitAnyPolicy } = certificate;
    const required = policyConstraints?.requireExplicit ?? Number.POSITIVE_INFINITY;
    // On the leaf, 0 counts for the leaf itself (§6.1.5).
    if (!isLeaf || required === 0) explicitIn = Math.min(explicitIn, required);
    inhibitIn = Math.min(inhibitIn, inhibitAnyPolicy ?? Number.POSITIVE_INFINITY);
    if (place > 0 && explicitIn === 0 && valid.length === 0) return place;
  }
  return undefined;
}

function narrowed(valid: readonly string[], policies: readonly string[], takesAny: boolean): readonly string[] {
  const named = policies.filter(policy => policy !== oids.anyPolicy);
  if (takesAny && policies.includes(oids.anyPolicy)) return valid;
  return valid.includes(oids.anyPolicy) ? named : named.filter(policy => valid.includes(policy));
}
