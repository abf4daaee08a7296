import { expect, it } from 'vitest';
import { fromHex } from '../../src/bytes.ts';
import type { PsaToken } from '../../src/eat/psaClaims.ts';
import { appraiseToken, type TokenPolicy } from '../../src/evidence/psaAppraisal.ts';

const [boot, app, other] = ['11', '22', '33'].map(byte => byte.repeat(32)) as [string, string, string];
const signerId = new Uint8Array(32);
const component = (type: string, value: string) => ({ type, value: fromHex(value), signerId });
const token: PsaToken = {
  profile: 'tag:psacertified.org,2023:psa#tfm',
  nonce: new Uint8Array(32),
  clientId: -1,
  instanceId: new Uint8Array(33).fill(1),
  implementationId: new Uint8Array(32).fill(2),
  lifeCycle: 'secured',
  components: [component('BL', boot), component('App', app)],
};
const policy: TokenPolicy = { caller: 'non-secure', instanceId: '01'.repeat(33), implementationId: '02'.repeat(32) };
const references = [
  { index: 1, value: boot },
  { index: 2, value: other },
  { index: 2, value: app },
];
const flawsOf = (changed: Partial<PsaToken> = {}, asked: Partial<TokenPolicy> = {}) =>
  appraiseToken({ ...token, ...changed }, references, { ...policy, ...asked }).flaws;

it('passes what equals the reference values, one of several', () => {
  expect(flawsOf()).toEqual([]);
  expect(flawsOf({}, { implementationId: undefined as never })).toEqual([]);
});

it.each<[string, Partial<PsaToken>, readonly string[]]>([
  ['another application', { components: [component('BL', boot), component('App', boot)] }, ['application: value']],
  ['something that runs beside the application', { components: [...token.components, component('ARoT', boot)] }, ['application: value']],
  ['no bootloader', { components: [component('App', app)] }, ['bootloader: missing']],
  ['an application that can be debugged', { lifeCycle: 'nonPsaRotDebug' }, ['life cycle: the application can be debugged']],
  ['a device in production', { lifeCycle: 'assemblyAndTest' }, ['life cycle: assembly and test']],
  ['the identity of another key', { instanceId: new Uint8Array(33).fill(3) }, ['instance id: not that of the key']],
  ['other hardware', { implementationId: new Uint8Array(32) }, ['implementation id: not that of the line']],
  ['a report asked for by the other side', { clientId: 7 }, ['client id: the secure side of the device has asked for the token']],
])('fails %s', (_what, changed, flaws) => {
  expect(flawsOf(changed)).toEqual(flaws);
});

it('does not judge configurations, and lets a line say which side asks', () => {
  expect(flawsOf({ components: [...token.components, component('PRoT_CONFIG', other)] })).toEqual([]);
  expect(flawsOf({ clientId: 7 }, { caller: 'secure' })).toEqual([]);
});
