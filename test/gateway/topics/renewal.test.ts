import { createPrivateKey, generateKeyPairSync } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest';
import { type Agent, startAgent } from '../../../gateway-device/agent/agent.ts';
import { openIdentity, requestOf } from '../../../gateway-device/agent/identity.ts';
import { renewedIdentity } from '../../../gateway-device/agent/renewal.ts';
import { listenTcp } from '../../../gateway-device/link/byteLink.ts';
import type { HttpClient } from '../../../gateway-device/link/httpClient.ts';
import { serveMctp } from '../../../gateway-device/link/mctpLink.ts';
import { connectMqtt } from '../../../gateway-device/link/mqttClient.ts';
import { parseCertificate } from '../../../src/pki/parse.ts';
import { fromPem, toPem } from '../../../src/pki/pem.ts';
import { registerGateway } from '../../../src/services/field/gateways.ts';
import { certifyGateway } from '../../../src/services/identity/enrolment.ts';
import { decodeTyped, encodeTyped } from '../../../src/spdm/transport/mqtt.ts';
import { codeOf } from '../../pki/support.ts';
import { agentTrust } from '../../support/agentTrust.ts';
import { covers } from '../../support/covers.ts';
import { startTestServer, type TestServer } from '../../support/server.ts';
import { eventually, type Fleet, people, responderOf, seedFleet } from '../fieldKit.ts';

/** Gateways whose certificates are as old as the test wants: they were issued that long ago. */

const dayMs = 86_400_000;
const by = 'operator:alice';
let server: TestServer;
let http: HttpClient;
let fleet: Fleet;
const folders = new Map<string, string>();

beforeAll(async () => {
  server = await startTestServer(async ctx => {
    fleet = await seedFleet(ctx, 1);
    for (const [id, ageDays] of [
      ['young', 200],
      ['due', 250],
      ['busy', 300],
      ['ended', 366],
      ['rolled', 300],
    ] as const) {
      const dataDir = mkdtempSync(join(tmpdir(), 'nusec-renewal-'));
      folders.set(id, dataDir);
      const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
      await registerGateway(ctx, id, id, by);
      const then = { ...ctx, clock: () => new Date(Date.now() - ageDays * dayMs) };
      const { certificate, ica, root } = await certifyGateway(then, id, requestOf(privateKey, id), by);
      writeFileSync(join(dataDir, 'gateway.key'), privateKey.export({ format: 'pem', type: 'pkcs8' }));
      writeFileSync(join(dataDir, 'gateway.pem'), toPem('CERTIFICATE', certificate) + toPem('CERTIFICATE', ica));
      writeFileSync(join(dataDir, 'root.pem'), toPem('CERTIFICATE', root));
    }
  }, 400);
  http = people(server);
});
afterAll(async () => {
  http.close();
  await server.close();
  for (const folder of folders.values()) rmSync(folder, { recursive: true, force: true });
});

const folderOf = (id: string): string => folders.get(id) ?? '';
const leafOf = (id: string) =>
  parseCertificate(fromPem('CERTIFICATE', readFileSync(join(folderOf(id), 'gateway.pem'), 'utf8'))[0] ?? new Uint8Array());
const serialOf = (id: string): string => leafOf(id).serialHex;

/** The HTTPS port of the server behind a door that can be shut for connections to come. */
async function doorTo(port: number) {
  let open = Promise.withResolvers<void>();
  open.resolve();
  const door = createServer(async socket => {
    socket.on('error', () => undefined);
    await open.promise;
    const inner = connect(port, '127.0.0.1');
    inner.on('error', () => socket.destroy());
    socket.on('close', () => inner.destroy());
    socket.pipe(inner).pipe(socket);
  });
  await new Promise<void>(resolve => door.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => new Promise(resolve => door.close(() => resolve())));
  return {
    url: `https://localhost:${(door.address() as AddressInfo).port}`,
    shut: () => {
      open = Promise.withResolvers();
    },
    open: () => open.resolve(),
  };
}

type Told = { readonly event: string; readonly [field: string]: unknown };
async function run(id: string, devices = new Map<string, string>(), url = server.url): Promise<{ agent: Agent; told: Told[] }> {
  const told: Told[] = [];
  const mqtt = { host: '127.0.0.1', port: server.mqttPort };
  const options = { dataDir: folderOf(id), gatewayId: id, server: url, mqtt, servername: 'localhost', devices };
  const agent = await startAgent({ ...options, tell: event => told.push(event) });
  onTestFinished(() => agent.close());
  return { agent, told };
}
async function renewed(id: string) {
  const identity = openIdentity(folderOf(id), id);
  const { clock, ...trust } = await agentTrust(() => identity, server.url);
  return renewedIdentity({ identity, trust, clock, server: server.url });
}

it('renews its certificate by EST in the last third of its life, for the same key, and keeps it (RFC 7030 §4.2.2)', async () => {
  const [before, key] = [leafOf('due'), readFileSync(join(folderOf('due'), 'gateway.key'), 'utf8')];
  const { agent, told } = await run('due');
  await eventually(() => told.some(({ event }) => event === 'renewed'));
  const after = leafOf('due');
  expect(after.serialHex).not.toBe(before.serialHex);
  expect(Date.parse(after.notAfter) - Date.now()).toBeGreaterThan(364 * dayMs);
  expect(after.spki).toEqual(before.spki);
  expect(readFileSync(join(folderOf('due'), 'gateway.key'), 'utf8')).toBe(key);
  await agent.connected();
  await agent.close();
  const again = await run('due');
  await eventually(() => again.told.some(({ event }) => event === 'trust'));
  expect(serialOf('due')).toBe(after.serialHex);
});

it('leaves a young certificate alone', async () => {
  const before = serialOf('young');
  expect(await renewed('young')).toBeUndefined();
  expect(serialOf('young')).toBe(before);
});

it('tells when it is too late: a person enrols the gateway again', async () => {
  expect(await codeOf(() => renewed('ended'))).toBe('CERTIFICATE_EXPIRED');
});

it('answers what it was asked before the renewal on the connection after it: nothing is lost (R84)', async () => {
  covers('R84');
  const [unit] = fleet.units;
  await http.json('POST', '/v1/gateways/busy/devices', { uid: unit!.uid });
  const responder = responderOf(unit!, { debugState: 1, signingKey: unit!.key });
  const door = await doorTo(server.httpsPort);
  let [asked, isHeld] = [0, true];
  const wire = await listenTcp(0, link =>
    serveMctp(link, async (message, send) => {
      asked += 1;
      await eventually(() => !isHeld);
      await send(encodeTyped((await responder.handle(decodeTyped(message)))!));
    }),
  );
  onTestFinished(() => wire.close());
  const before = serialOf('busy');
  const { agent, told } = await run('busy', new Map([[unit!.uid, `127.0.0.1:${wire.port}`]]), door.url);
  door.shut();
  await agent.connected();
  const attested = http.json<{ result: string }>('POST', `/v1/devices/${unit!.uid}/attest`);
  await eventually(() => asked > 0);
  expect(told.some(({ event }) => event === 'renewed')).toBe(false);
  door.open();
  await eventually(() => told.some(({ event }) => event === 'renewed'));
  isHeld = false;
  expect(await attested).toMatchObject({ result: 'passed', via: 'gateway' });
  expect(serialOf('busy')).not.toBe(before);
  // Each connection begins with the trust bundle: this was the second.
  await eventually(() => told.filter(({ event }) => event === 'trust').length === 2);
  expect(told.filter(({ event }) => event === 'fault')).toEqual([]);
});

it('keeps the certificate and the connection that it has when the next one is not accepted', async () => {
  const { tls } = openIdentity(folderOf('young'), 'young');
  const ended = openIdentity(folderOf('ended'), 'ended');
  const identity = { kind: 'gateway', gatewayId: 'young' } as const;
  const lost: Error[] = [];
  const options = { host: '127.0.0.1', port: server.mqttPort, servername: 'localhost', identity, tls };
  const client = connectMqtt({ ...options, onOffline: error => lost.push(error) });
  onTestFinished(() => client.close());
  await client.connected();
  await expect(client.switchTls(ended.tls)).rejects.toThrow();
  expect(client.isConnected()).toBe(true);
  expect(lost).toEqual([]);
});

it('follows a root rollover with its certificate: the next one hangs on the new root', async () => {
  const bob = people(server, server.bob);
  onTestFinished(() => bob.close());
  const ceremony = async (wish: Record<string, string>) => {
    const { id } = await http.json<{ id: string }>('POST', '/v1/authority/ceremonies', wish);
    await bob.json('POST', `/v1/authority/ceremonies/${id}/approve`, {});
  };
  await ceremony({ type: 'rollRoot' });
  await ceremony({ type: 'establishIssuingCa', use: 'gateway' });
  await ceremony({ type: 'activateIssuingCa', icaId: 'gateway-2' });
  const before = openIdentity(folderOf('rolled'), 'rolled').root;
  const { agent, told } = await run('rolled');
  await eventually(() => told.some(({ event }) => event === 'renewed'));
  const after = openIdentity(folderOf('rolled'), 'rolled');
  expect(after.root).not.toEqual(before);
  expect(createPrivateKey(after.tls.key).asymmetricKeyType).toBe('ec');
  await agent.close();
  const again = await run('rolled');
  await eventually(() => again.told.some(({ event }) => event === 'trust'));
  expect(again.told.filter(({ event }) => event === 'fault')).toEqual([]);
});
