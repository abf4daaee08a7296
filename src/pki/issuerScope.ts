import { NusecError } from '../errors.ts';
import { oids } from './oids.ts';

/** What an issuing CA may issue. Its certificate states it as certificate policies (RFC 5280 §4.2.1.4): one object identifier for the use, one for
 *  the product line. Issuing CAs from before that state nothing: for them the record counts, which is the event log or a trust bundle. */

export const issuerUses = ['device', 'programmer', 'gateway', 'server'] as const;
export type IssuerUse = (typeof issuerUses)[number];
/** `line`: only an issuing CA of devices belongs to one product line. */
export type IssuerScope = { readonly use: IssuerUse; readonly line?: string };

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
export function scopeIn({ policies = [] }: { readonly policies?: readonly string[] | undefined }): IssuerScope | undefined {
  const uses = issuerUses.filter(use => policies.includes(policyOfUse[use]));
  const lines = policies.filter(policy => policy.startsWith(linePrefix)).map(policy => lineIn(policy.slice(linePrefix.length)));
  if (uses.length > 1 || lines.length > 1) throw new NusecError('CHAIN_REFUSED', 'an issuing CA states two uses or two lines');
  const [use] = uses;
  const [line] = lines;
  return use && { use, ...(line !== undefined && { line }) };
}

const lineIn = (arcs: string): string => Buffer.from(arcs.split('.').map(Number)).toString();
