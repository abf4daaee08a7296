import { NusecError } from '../errors.ts';
import { describeName } from './names.ts';
import { oids } from './oids.ts';
import type { Certificate } from './parse.ts';

/** What an issuing CA may issue. Its certificate states it as certificate policies (RFC 5280 §4.2.1.4): one object identifier for the use, one for
 *  the product line. Issuing CAs from before that state nothing: for them the record counts, which is the event log or a trust bundle. */

export const issuerUses = ['device', 'programmer', 'gateway', 'server'] as const;
export type IssuerUse = (typeof issuerUses)[number];
/** `line`: only an issuing CA of devices belongs to one product line. */
export type IssuerScope = { readonly use: IssuerUse; readonly line?: string };

/** What a leaf is presented as. Any issuing CA may have an OCSP responder; it speaks for what this CA issued and for nothing else (RFC 6960 §4.2.2.2). */
export type LeafPurpose = IssuerUse | 'ocspResponder';

/** What is recorded of an issuing CA: all scopes it is known for, none when it is not known, or that it was taken out of use. */
export type IssuerRecord = readonly IssuerScope[] | 'removed';

const policyOfUse: Readonly<Record<IssuerUse, string>> = {
  device: oids.issuesDevices,
  programmer: oids.issuesProgrammers,
  gateway: oids.issuesGateways,
  server: oids.issuesServers,
};
const linePrefix = `${oids.lineArc}.`;

/** Certificate policies for a scope, dotted. The line is an object identifier whose last arcs are the bytes of its name. */
export function policiesOf({ use, line }: IssuerScope): readonly string[] {
  const lines = line === undefined ? [] : [`${linePrefix}${[...Buffer.from(line)].join('.')}`];
  return [policyOfUse[use], ...lines];
}

/** What an issuing CA’s certificate states; undefined when it states nothing.
 *  @throws NusecError CHAIN_REFUSED when it states two uses or two lines */
export function scopeIn({ policies = [] }: Pick<Certificate, 'policies'>): IssuerScope | undefined {
  const uses = issuerUses.filter(use => policies.includes(policyOfUse[use]));
  const lines = policies.filter(policy => policy.startsWith(linePrefix)).map(policy => lineIn(policy.slice(linePrefix.length)));
  if (uses.length > 1 || lines.length > 1) throw new NusecError('CHAIN_REFUSED', 'an issuing CA states two uses or two lines');
  const [use] = uses;
  const [line] = lines;
  return use && { use, ...(line !== undefined && { line }) };
}

const lineIn = (arcs: string): string => Buffer.from(arcs.split('.').map(Number)).toString();

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
