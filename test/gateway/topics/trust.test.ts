import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest';
import { enrol, openIdentity } from '../../../gateway-device/agent/identity.ts';
import type { BoardEvent } from '../../../gateway-device/chip/board.ts';
import { trustOf } from '../../../gateway-device/chip/trust.ts';
import type { HttpClient } from '../../../gateway-device/link/httpClient.ts';
import { fromHex } from '../../../src/bytes.ts';
import { decodeAs, encodeAs } from '../../../src/cbor/schema.ts';
import { signingUses } from '../../../src/domain/signingUse.ts';
import { helloMessage, trustMessage, trustReply } from '../../../src/mqttMessages.ts';
import { parseCertificate } from '../../../src/pki/parse.ts';
import { fromPem, toPem } from '../../../src/pki/pem.ts';
import { verifyTrustBundle } from '../../../src/production/trustBundle.ts';
import { codeOf } from '../../pki/support.ts';
import { agentTrust } from '../../support/agentTrust.ts';
import { covers } from '../../support/covers.ts';
import { startTestServer, type TestServer } from '../../support/server.ts';
import { build, connectDevice, eventually, line, people, seedFleet, show, typesOf, type Unit } from '../fieldKit.ts';
import { buildMcu, type Mcu, open, runMcu } from './virtualMcu.ts';

/** Devices follow the trust bundle over dn/trust: a real server with virtual MCUs, through the change of its root. The tests follow one another. */

let server: TestServer;
let http: HttpClient;
let bob: HttpClient;
const mcus: Record<'awake' | 'dozing' | 'asleep' | 'forgotten', Mcu> = {} as never;
let stranger: Unit;

beforeAll(async () => {
  server = await startTestServer(async ctx => {
    const { bl2, app } = await seedFleet(ctx, 0);
    for (const name of ['awake', 'dozing', 'asleep', 'forgotten'] as const) mcus[name] = await buildMcu(ctx);
    stranger = await build(ctx, bl2, app);
  });
  [http, bob] = [people(server), people(server, server.bob)];
});
afterAll(async () => {
  http.close();
  bob.close();
  await server.close();
});

type Authority = {
  readonly trustBundle: { readonly version: number; readonly devicesBehind: number };
  readonly roots: { sha256: string }[];
};
const authority = () => http.json<Authority>('GET', '/v1/authority');
async function ceremony(wish: Record<string, string>): Promise<number> {
  const { id } = await http.json<{ id: string }>('POST', '/v1/authority/ceremonies', wish);
  await bob.json('POST', `/v1/authority/ceremonies/${id}/approve`, {});
  return (await authority()).trustBundle.version;
}
const has = (told: readonly BoardEvent[], event: string): boolean => told.some(each => each.event === event);
const versionOf = async ({ unit }: Mcu): Promise<number | null> => (await show(http, unit.uid)).trustBundleVersion;
const behind = async () =>
  (await http.json<{ devices: { uid: string }[] }>('GET', '/v1/devices?behind=true')).devices.map(({ uid }) => uid);
const run = async (mcu: Mcu) => {
  const running = await runMcu(server, mcu);
  onTestFinished(() => running.stop());
  return running;
};
const attest = ({ unit }: Mcu) => http.json<{ result: string }>('POST', `/v1/devices/${unit.uid}/attest`, { via: 'mqtt' });

it('tells a connected device of a new bundle at once; what it applied is recorded, and who is behind is counted', async () => {
  const { told } = await run(mcus.awake);
  await eventually(() => has(told, 'renewed'));
  const before = await eventually(async () => (await versionOf(mcus.awake)) ?? false);
  const newest = await ceremony({ type: 'establishPackageKey' });
  expect(newest).toBeGreaterThan(before);
  await eventually(async () => (await versionOf(mcus.awake)) === newest);
  expect((await trustOf(open(mcus.awake))).bundle?.signingKeys).toHaveLength(2 * signingUses.length);
  expect((await typesOf(http, mcus.awake.unit.uid)).at(-1)).toBe('TrustBundleFollowed');
  expect([await behind(), (await authority()).trustBundle.devicesBehind]).toEqual([[], 0]);
});

it('tells a device that was away when it connects, whatever it missed', async () => {
  const first = await run(mcus.dozing);
  await eventually(() => has(first.told, 'renewed'));
  await first.stop();
  await ceremony({ type: 'establishPackageKey' });
  await eventually(async () => (await behind()).includes(mcus.dozing.unit.uid));
  const newest = await ceremony({ type: 'compromisePackageKey', keyId: 'package/2', reason: 'test' });
  expect((await authority()).trustBundle.devicesBehind).toBeGreaterThan(0);
  const { told } = await run(mcus.dozing);
  await eventually(async () => (await versionOf(mcus.dozing)) === newest);
  expect(told.filter(({ event }) => event === 'trust')).toEqual([{ event: 'trust', version: newest }]);
});

it('raises an alarm for a device that refuses the bundle, and for one that knows more than the server', async () => {
  const device = await connectDevice(server, stranger);
  onTestFinished(() => device.close());
  const roots = (await authority()).roots.map(({ sha256 }) => fromHex(sha256));
  device.client.on('trust', payload => {
    const { cid } = decodeAs(trustMessage, payload);
    void device.client.publish('trust', encodeAs(trustReply, { cid, bundleVersion: 0, roots, error: 'COSE_SIGNATURE' }));
  });
  const { version, securityCounter, imageHash } = stranger.firmware;
  const said = { cid: 1, version, securityCounter, imageHash: fromHex(imageHash), objId: fromHex(stranger.objId), bootCount: 1 };
  const hello = (bundleVersion: number) =>
    device.client.publish('hello', encodeAs(helloMessage, { ...said, imageState: 'confirmed', bundleVersion, roots }));
  const alarms = async () => {
    const { events } = await http.json<{ events: { type: string; data: { code: string; subject: string } }[] }>(
      'GET',
      '/v1/events?limit=500',
    );
    return events.filter(({ type, data }) => type === 'AlarmRaised' && data.subject === stranger.uid).map(({ data }) => data.code);
  };
  await hello(0);
  await eventually(async () => (await alarms()).includes('TRUST_BUNDLE_REFUSED'));
  const never = 4_000_000_000;
  await hello(never);
  await eventually(async () => (await alarms()).includes('TRUST_BUNDLE_AHEAD'));
  expect((await show(http, stranger.uid)).trustBundleVersion).not.toBe(never);
  await http.json('POST', `/v1/devices/${stranger.uid}/revoke`, { reason: 'keyCompromise' });
});

/** A new root, the next generation of everything under it, and the end of the root before. @returns the version of the bundle then */
async function changeRoot(before: string, generation: number, curve = 'P-256'): Promise<number> {
  await ceremony({ type: 'rollRoot', curve });
  await ceremony({ type: 'establishIssuingCa', use: 'device', line });
  await ceremony({ type: 'activateIssuingCa', icaId: `device-${line}-${generation}` });
  for (const use of ['server', 'programmer', 'gateway']) {
    await ceremony({ type: 'establishIssuingCa', use });
    await ceremony({ type: 'activateIssuingCa', icaId: `${use}-${generation}` });
  }
  return ceremony({ type: 'retireRoot', rootId: before });
}

it('leads connected devices to the next root; they are attested and managed after the old one is retired', async () => {
  const oldRoot = mcus.awake.unit.root;
  const { told } = await run(mcus.awake);
  await eventually(() => has(told, 'connected'));
  const newest = await changeRoot('root', 2);
  await eventually(async () => (await versionOf(mcus.awake)) === newest);
  const { roots } = await trustOf(open(mcus.awake));
  expect(roots).toHaveLength(1);
  expect(roots[0]).not.toEqual(oldRoot);
  expect(await attest(mcus.awake)).toMatchObject({ result: 'passed' });
});

it('connects again to a server whose certificate hangs on the new root alone', async () => {
  const { told } = await run(mcus.awake);
  await eventually(() => has(told, 'connected'));
  expect(await attest(mcus.awake)).toMatchObject({ result: 'passed' });
});

it('brings a device that slept through the retirement of its root: by the certificate between the roots, step by step (R103)', async () => {
  covers('R103');
  const { unit } = mcus.asleep;
  const sha256 = (await authority()).roots.map(root => root.sha256);
  expect(sha256).toHaveLength(2);
  const { told } = await run(mcus.asleep);
  const newest = (await authority()).trustBundle.version;
  await eventually(async () => (await versionOf(mcus.asleep)) === newest);
  expect(told.filter(({ event }) => event === 'trust')).toHaveLength(2);
  await eventually(() => has(told, 'renewed'));
  const { certificates } = await http.json<{ certificates: { subject: string; icaId: string }[] }>('GET', '/v1/certificates?limit=500');
  expect(certificates.filter(({ subject }) => subject === unit.uid).map(({ icaId }) => icaId)).toContain(`device-${line}-2`);
  expect(await attest(mcus.asleep)).toMatchObject({ result: 'passed' });
  const { told: later } = await run(mcus.asleep);
  await eventually(() => has(later, 'connected'));
});

it('brings a device that slept through two such changes, the second to P-384', async () => {
  const newest = await changeRoot('root-2', 3, 'P-384');
  const { told } = await run(mcus.forgotten);
  await eventually(async () => (await versionOf(mcus.forgotten)) === newest);
  expect(told.filter(({ event }) => event === 'trust')).toHaveLength(3);
  expect((await trustOf(open(mcus.forgotten))).roots).toHaveLength(1);
});

it('still lets a gateway believe a device of the retired root: the bundle names its issuer; nobody else may hang on that root', async () => {
  const dataDir = mkdtempSync(join(tmpdir(), 'nusec-gateway-'));
  onTestFinished(() => rmSync(dataDir, { recursive: true, force: true }));
  const bundle = await http.bytes('GET', '/v1/trust-bundle');
  const [cacert = new Uint8Array()] = (await trustOf(open(mcus.forgotten))).roots;
  expect((await verifyTrustBundle(bundle, parseCertificate(cacert).spki)).roots).toEqual([cacert]);
  await http.json('POST', '/v1/gateways', { id: 'new' });
  await enrol(dataDir, 'new', toPem('CERTIFICATE', cacert), http);
  const identity = openIdentity(dataDir, 'new');
  expect(fromPem('CERTIFICATE', identity.tls.ca)).toEqual([cacert]);
  const trust = await agentTrust(() => identity, server.url);
  const { root, ica, certificate, uid } = mcus.awake.unit;
  expect(await codeOf(() => trust.judge([root, ica, certificate], uid))).toMatchObject({ type: 'public' });
  expect(await codeOf(() => trust.judge([root, ica, certificate], stranger.uid))).toBe('CHAIN_REFUSED');
  await ceremony({ type: 'compromiseIssuingCa', icaId: `device-${line}-1`, reason: 'test' });
  await trust.refresh();
  expect(await codeOf(() => trust.judge([root, ica, certificate], uid))).toBe('CHAIN_REFUSED');
});
