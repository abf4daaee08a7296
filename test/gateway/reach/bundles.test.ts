import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest';
import { type Agent, startAgent } from '../../../gateway-device/agent/agent.ts';
import { type AgentIdentity, enrol, openIdentity } from '../../../gateway-device/agent/identity.ts';
import { createHttpClient, type HttpClient } from '../../../gateway-device/link/httpClient.ts';
import { connectMqtt } from '../../../gateway-device/link/mqttClient.ts';
import { decodeAs } from '../../../src/cbor/schema.ts';
import { keyIdOf } from '../../../src/cose/publicKey.ts';
import { rawSigner } from '../../../src/cose/sign1.ts';
import { createBundlePush } from '../../../src/gateway/reach/bundles.ts';
import { bundleMessage } from '../../../src/mqttMessages.ts';
import { signTrustBundle } from '../../../src/production/trustBundle.ts';
import { codeOf, makeKey } from '../../pki/support.ts';
import { agentTrust } from '../../support/agentTrust.ts';
import { covers } from '../../support/covers.ts';
import { startTestServer, type TestServer } from '../../support/server.ts';
import { eventually, type Fleet, people, seedFleet, type Unit } from '../fieldKit.ts';

/** The trust bundle on its way to gateways: a real server and the real agent. */

type Told = { readonly event: string; readonly version?: number; readonly revoked?: number };
type Listed = { readonly id: string; readonly trustBundleVersion: number };

let server: TestServer;
let http: HttpClient;
let fleet: Fleet;
/** A trust bundle that another has followed. */
let older: Uint8Array;
const dataDir = mkdtempSync(join(tmpdir(), 'nusec-bundles-'));
const id = 'hall-3';

beforeAll(async () => {
  server = await startTestServer(async ctx => {
    fleet = await seedFleet(ctx, 4);
  });
  http = people(server);
  await http.json('POST', '/v1/gateways', { id });
  for (const { uid } of fleet.units.slice(0, 3)) await http.json('POST', `/v1/gateways/${id}/devices`, { uid });
  await enrol(dataDir, id, server.rootPem, http);
});
afterAll(async () => {
  http.close();
  await server.close();
  rmSync(dataDir, { recursive: true, force: true });
});

async function run(told: Told[]): Promise<Agent> {
  const mqtt = { host: '127.0.0.1', port: server.mqttPort };
  const options = { dataDir, gatewayId: id, server: server.url, mqtt, servername: 'localhost', devices: new Map() };
  const agent = await startAgent({ ...options, tell: event => told.push(event as Told) });
  await agent.connected();
  return agent;
}

/** The gateway's connection without an agent. */
function listen(): { readonly messages: Uint8Array[]; close(): Promise<void> } {
  const messages: Uint8Array[] = [];
  const { tls } = openIdentity(dataDir, id);
  const identity = { kind: 'gateway', gatewayId: id } as const;
  const client = connectMqtt({ host: '127.0.0.1', port: server.mqttPort, servername: 'localhost', identity, tls });
  client.on('bundle', payload => messages.push(payload));
  return { messages, close: () => client.close() };
}

const revoke = ({ uid }: Unit) => http.json('POST', `/v1/devices/${uid}/revoke`, { reason: 'keyCompromise' });
const versionOf = async (): Promise<number> => {
  const { gateways } = await http.json<{ gateways: Listed[] }>('GET', '/v1/gateways');
  return gateways.find(gateway => gateway.id === id)?.trustBundleVersion ?? -1;
};
const own = async (identity: AgentIdentity) => agentTrust(() => identity, server.url);

it('tells a gateway the bundle when it connects, and the server records what the gateway applied (R84)', async () => {
  covers('R84');
  expect(await versionOf()).toBe(0);
  const told: Told[] = [];
  const agent = await run(told);
  onTestFinished(() => agent.close());
  const version = await eventually(async () => (await versionOf()) || false);
  expect(told).toEqual([{ event: 'trust', version, revoked: 0 }]);
});

it('tells a connected gateway of a revocation, and the gateway believes the device no more', async () => {
  const told: Told[] = [];
  const agent = await run(told);
  onTestFinished(() => agent.close());
  await eventually(() => told.length > 0);
  await Promise.all([revoke(fleet.units[0]!), eventually(() => told.some(({ revoked }) => revoked === 1))]);
});

it('tells a gateway that was offline when it connects; a device it does not serve is not named (R84)', async () => {
  covers('R84');
  await revoke(fleet.units[1]!);
  await revoke(fleet.units[3]!);
  const link = listen();
  onTestFinished(() => link.close());
  const pushed = decodeAs(bundleMessage, await eventually(() => link.messages[0]));
  expect(pushed.revoked).toHaveLength(2);

  const trust = await own(openIdentity(dataDir, id));
  const judge = ({ root, ica, certificate, uid }: Unit) => codeOf(() => trust.judge([root, ica, certificate], uid));
  expect(await judge(fleet.units[1]!)).toMatchObject({ type: 'public' });
  await trust.apply(pushed);
  expect(await judge(fleet.units[1]!)).toBe('CERTIFICATE_REVOKED');
  expect(await judge(fleet.units[2]!)).toMatchObject({ type: 'public' });
});

it('pushes a new bundle to whoever is connected, and what changes with the devices it serves', async () => {
  const told: Told[] = [];
  const agent = await run(told);
  onTestFinished(() => agent.close());
  const { version = 0 } = await eventually(() => told[0]);
  const other = people(server, server.bob);
  onTestFinished(() => other.close());
  older = await http.bytes('GET', '/v1/trust-bundle');
  const { id: ceremony } = await http.json<{ id: string }>('POST', '/v1/authority/ceremonies', { type: 'establishPackageKey' });
  await other.json('POST', `/v1/authority/ceremonies/${ceremony}/approve`, {});
  await eventually(() => told.some(event => (event.version ?? 0) > version));
  await eventually(async () => (await versionOf()) > version);
  await http.json('DELETE', `/v1/gateways/${id}/devices/${fleet.units[1]!.uid}`);
  await eventually(() => told.at(-1)?.revoked === 1);
});

it('takes no bundle of another root, and no older one than it has (T14)', async () => {
  covers('T14');
  const link = listen();
  onTestFinished(() => link.close());
  const pushed = decodeAs(bundleMessage, await eventually(() => link.messages[0]));
  const trust = await own(openIdentity(dataDir, id));
  const { version } = trust.bundle();
  await trust.apply({ ...pushed, bundle: older });
  expect(trust.bundle().version).toBe(version);
  const broken = pushed.bundle.with(-1, (pushed.bundle.at(-1) ?? 0) ^ 1);
  expect(await codeOf(() => trust.apply({ ...pushed, bundle: broken }))).toBe('COSE_SIGNATURE');
  const [stranger, now] = [makeKey(), trust.bundle()];
  const signer = { kid: keyIdOf(stranger.spki), sign: rawSigner(stranger.signer.sign) };
  const foreign = await signTrustBundle({ ...now, version: now.version + 1 }, signer);
  expect(await codeOf(() => trust.apply({ ...pushed, bundle: foreign }))).toBe('COSE_SIGNATURE');
  expect(trust.bundle()).toBe(now);
});

it('believes a gateway only about itself and about bundles that exist', async () => {
  const machine = createHttpClient({ baseUrl: server.url, ...openIdentity(dataDir, id).tls });
  onTestFinished(() => machine.close());
  const say = (gateway: string, version: number) => machine.json('POST', `/v1/gateways/${gateway}/trust-bundle`, { version });
  const version = await versionOf();
  await http.json('POST', '/v1/gateways', { id: 'other' });
  expect(await codeOf(() => say('other', version))).toBe('FORBIDDEN');
  expect(await codeOf(() => say(id, version + 1))).toBe('CONFLICT');
  expect(await codeOf(() => say(id, version - 1))).toBe('CONFLICT');
  expect(await say(id, version)).toMatchObject({ id, trustBundleVersion: version });
});

it('tells a machine that asks for what this server does not have that the two are of different versions', async () => {
  const machine = createHttpClient({ baseUrl: server.url, ...openIdentity(dataDir, id).tls });
  onTestFinished(() => machine.close());
  const path = `/v1/gateways/${id}/trust-bundle`;
  const refusal = (method: string, asked: string, body: unknown): Promise<unknown> =>
    machine.json(method, asked, body).catch((error: unknown) => error);
  const mixed = expect.stringMatching(/of different versions: bring both to the same/);
  expect(await refusal('POST', `${path}/of-tomorrow`, {})).toMatchObject({ code: 'NOT_FOUND', message: mixed });
  expect(await refusal('DELETE', path, {})).toMatchObject({ code: 'METHOD_NOT_ALLOWED', message: mixed });
  expect(await refusal('POST', path, { version: 1, ofTomorrow: true })).toMatchObject({ code: 'BAD_REQUEST', message: mixed });
  expect(await refusal('POST', path, {})).toMatchObject({ code: 'BAD_REQUEST', message: mixed });
  expect(await refusal('POST', '/v1/gateways/other/trust-bundle', { version: 1 })).not.toMatchObject({ message: mixed });
});

it('says it once for changes that come together, and again after a failure', async () => {
  let sent = 0;
  const errors: unknown[] = [];
  let fails = true;
  let change = (_: readonly string[] | undefined): void => {};
  const trust = {
    current: async () => {
      if (fails) throw new Error('blob gone');
      return { bundle: new Uint8Array(1), revoked: [] };
    },
    onChange: (listener: typeof change) => {
      change = listener;
    },
  };
  const publishToGateway = async () => {
    sent += 1;
    return true;
  };
  const log = { error: (error: unknown) => errors.push(error) } as never;
  const push = createBundlePush({ log }, trust, { publishToGateway, isOnline: () => true });
  push.connected('g');
  await eventually(() => errors.length === 1);
  fails = false;
  await eventually(() => sent === 1);
  for (let i = 0; i < 100; i += 1) change(['g', 'never-seen']);
  await eventually(() => sent === 2);
  await new Promise(resolve => setTimeout(resolve, 300));
  expect(sent).toBe(2);
});
