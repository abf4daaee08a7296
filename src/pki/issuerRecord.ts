import { type IssuerScope, type IssuerUse, scopeIn } from './issuerScope.ts';
import { describeName } from './names.ts';
import type { Certificate } from './parse.ts';

/** What is known of an issuing CA beside its certificate, and whether it may have issued a leaf. */

/** What a leaf is presented as. Any issuing CA may have an OCSP responder; it speaks for what this CA issued and for nothing else (RFC 6960 §4.2.2.2). */
export type LeafPurpose = IssuerUse | 'ocspResponder';

/** What is recorded of an issuing CA: all scopes it is known for, none when it is not known, or that it was taken out of use. */
export type IssuerRecord = readonly IssuerScope[] | 'removed';

/** @param line the product line that a device must be of
 *  @returns why this issuer may not issue for this purpose; undefined when it may @throws NusecError CHAIN_REFUSED as scopeIn */
export function issuerRefusal(issuer: Certificate, purpose: LeafPurpose, record: IssuerRecord, line?: string): string | undefined {
  const name = describeName(issuer.subject);
  if (record === 'removed') return `is from ${name}, which is not trusted any more`;
  if (purpose === 'ocspResponder') return undefined;
  const stated = scopeIn(issuer);
  if (stated && record.length > 0 && !record.some(known => agrees(stated, known)))
    return `is from ${name}, which is recorded for another use`;
  const scopes = stated ? [stated] : record;
  if (scopes.length === 0) return `is from ${name}, an authority that issues for no known use`;
  const fitting = scopes.filter(({ use }) => use === purpose);
  if (fitting.length === 0) return `is from ${name}, which issues for a ${scopes.map(({ use }) => use).join(' or ')}, not for a ${purpose}`;
  if (line !== undefined && !fitting.some(scope => scope.line === line)) return `is from ${name}, which is not of line ${line}`;
  return undefined;
}

/** A trust bundle records uses without lines. */
function agrees(stated: IssuerScope, known: IssuerScope): boolean {
  return stated.use === known.use && (known.line === undefined || known.line === stated.line);
}
