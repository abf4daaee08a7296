import { beforeAll, describe, expect, it } from 'vitest';
import { checkChain, type PurposePolicy } from '../../src/pki/chain.ts';
import type { IssuerRecord } from '../../src/pki/issuerRecord.ts';
import { type IssuerUse, issuerUses, policiesOf, scopeIn } from '../../src/pki/issuerScope.ts';
import { covers } from '../support/covers.ts';
import { type Authority, makeIca, makeLeaf, makeRoot, now } from './support.ts';

/** What an issuing CA may issue, as its certificate states or as it is recorded. */

let root: Authority;
let unscoped: Authority;
const scoped = {} as Record<IssuerUse, Authority>;
beforeAll(async () => {
  root = await makeRoot();
  unscoped = await makeIca(root, 'meter', now, 'P-256', { scope: undefined as never });
  for (const use of issuerUses) scoped[use] = await makeIca(root, use === 'device' ? 'meter' : use);
});

async function outcome(purpose: IssuerUse, ica: Authority, policy: Omit<PurposePolicy, 'purpose'> = {}): Promise<string> {
  const leaf = await makeLeaf(purpose, ica);
  try {
    return checkChain([leaf, ica.der], { roots: [root.der], now, purpose, ...policy }).kind;
  } catch (error) {
    return (error as Error).message;
  }
}
const record = (value: IssuerRecord) => ({ recorded: () => value });

describe('an issuing CA', () => {
  it('states its use and its line in its certificate', () => {
    expect(scopeIn(scoped.device.certificate)).toEqual({ use: 'device', line: 'meter' });
    expect(scopeIn(scoped.server.certificate)).toEqual({ use: 'server' });
    expect(scopeIn(unscoped.certificate)).toBeUndefined();
    expect(scopeIn({ policies: policiesOf({ use: 'device', line: 'a.b-9' }) })).toEqual({ use: 'device', line: 'a.b-9' });
    const both = [...policiesOf({ use: 'device', line: 'a' }), ...policiesOf({ use: 'server' })];
    expect(() => scopeIn({ policies: both })).toThrow(/two uses/);
  });

  it.each(issuerUses)('of use %s issues for that and for nothing else (T14)', async use => {
    covers('T14');
    for (const purpose of issuerUses)
      expect(await outcome(purpose, scoped[use])).toMatch(purpose === use ? new RegExp(`^${use}$`) : /which issues for a .*, not for a/);
  });

  it('that states nothing issues what it is recorded for, and nothing when it is not recorded', async () => {
    expect(await outcome('gateway', unscoped)).toMatch(/issues for no known use/);
    expect(await outcome('gateway', unscoped, record([{ use: 'gateway' }]))).toBe('gateway');
    expect(await outcome('programmer', unscoped, record([{ use: 'gateway' }]))).toMatch(/issues for a gateway, not for a programmer/);
    expect(await outcome('server', unscoped, record([{ use: 'device' }, { use: 'server' }]))).toBe('server');
  });

  it('that is recorded for another use than it states, or was taken out, issues nothing', async () => {
    expect(await outcome('server', scoped.server, record([{ use: 'device' }]))).toMatch(/recorded for another use/);
    expect(await outcome('device', scoped.device, record([{ use: 'device', line: 'pump' }]))).toMatch(/recorded for another use/);
    expect(await outcome('server', scoped.server, record('removed'))).toMatch(/not trusted any more/);
  });

  it('of devices issues for its own line', async () => {
    expect(await outcome('device', scoped.device, { line: 'meter' })).toBe('device');
    expect(await outcome('device', scoped.device, { line: 'heater' })).toMatch(/not of line heater/);
    expect(await outcome('device', unscoped, { line: 'meter', ...record([{ use: 'device', line: 'meter' }]) })).toBe('device');
    expect(await outcome('device', unscoped, { line: 'meter', ...record([{ use: 'device' }]) })).toMatch(/not of line meter/);
  });
});
