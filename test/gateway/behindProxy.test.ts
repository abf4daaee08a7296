import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { connect as connectTcp, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect as connectMqtt, type MqttClient } from 'mqtt';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import type { HttpClient } from '../../gateway-device/link/httpClient.ts';
import { type ReservedPorts, reservePorts } from '../../scripts/demo/ports.ts';
import { encodeAs } from '../../src/cbor/schema.ts';
import { spdmMessage } from '../../src/mqttMessages.ts';
import { toPem } from '../../src/pki/pem.ts';
import { covers } from '../support/covers.ts';
import { startTestServer, type TestServer } from '../support/server.ts';
import { connectPacket } from './broker/wire.ts';
import { createTestPki } from './certificates.ts';
import { eventually, type Fleet, people, seedFleet, type Unit } from './fieldKit.ts';
import { startProxy } from './haproxy.ts';

/** MQTT behind Debian's HAProxy with deploy/haproxy.cfg: TLS ends there, and everything else is as without it. */

const proxyFolder = mkdtempSync(join(tmpdir(), 'nusec-proxy-'));
let server: TestServer;
let fleet: Fleet;
let http: HttpClient;
let proxy: ChildProcess;
let reserved: ReservedPorts;
let port = 0;

beforeAll(async () => {
  const seed = async (ctx: Parameters<typeof seedFleet>[0]): Promise<void> => {
    fleet = await seedFleet(ctx, 6);
  };
  server = await startTestServer(seed, undefined, { mqttProxyFolder: proxyFolder });
  http = people(server);
  reserved = await reservePorts(1);
  [port = 0] = reserved.ports;
  proxy = await startProxy(proxyFolder, port);
});
afterAll(async () => {
  proxy?.kill('SIGKILL');
  reserved?.close();
  http?.close();
  await server?.close();
  rmSync(proxyFolder, { recursive: true, force: true });
});

type Keys = { readonly key: string; readonly cert: string };
const keysOf = (unit: Unit): Keys => ({
  key: unit.key.privateKey.export({ format: 'pem', type: 'pkcs8' }) as string,
  cert: toPem('CERTIFICATE', unit.certificate) + toPem('CERTIFICATE', unit.ica),
});

function open(clientId: string, keys?: Keys): MqttClient {
  const tls = { ca: server.rootPem, servername: 'localhost', ...keys };
  const client = connectMqtt(`mqtts://127.0.0.1:${port}`, { clientId, reconnectPeriod: 0, ...tls });
  onTestFinished(() => void client.end(true));
  client.on('error', () => undefined);
  return client;
}
const heard = (client: MqttClient, event: 'connect' | 'close' | 'error'): Promise<readonly unknown[]> =>
  new Promise(resolve => client.once(event as 'error', (...args) => resolve(args)));
const codeOf = async (client: MqttClient): Promise<unknown> => ((await heard(client, 'error')) as [{ code?: unknown }])[0].code;
const presenceOf = ({ uid }: Unit) =>
  http.json<{ connected: boolean; recent: { state: string; address: string; reason?: string }[] }>('GET', `/v1/devices/${uid}/presence`);

describe('a device behind HAProxy', () => {
  it('is known by its certificate, seen with its own address, and answered', async () => {
    const [unit] = fleet.units as [Unit];
    const client = open(unit.uid, keysOf(unit));
    await heard(client, 'connect');
    await client.publishAsync(`n1/${unit.uid}/up/spdm`, Buffer.from(encodeAs(spdmMessage, { cid: 1, data: new Uint8Array(16) })), {
      qos: 1,
    });
    expect(await presenceOf(unit)).toMatchObject({ connected: true, recent: [{ state: 'connected', address: '127.0.0.1' }] });
  });

  it('is refused in the words of MQTT: without a certificate, with a foreign one, with the client id of another (RULE-9)', async () => {
    covers('RULE-9');
    const [, unit, other] = fleet.units as [Unit, Unit, Unit];
    const foreign = createTestPki();
    onTestFinished(foreign.remove);
    expect(await codeOf(open(unit.uid))).toBe(5);
    expect(await codeOf(open(unit.uid, foreign.device(unit.uid)))).toBe(5);
    expect(await codeOf(open(other.uid, keysOf(unit)))).toBe(2);
  });

  it('is cut off when its certificate is revoked, and stays out (T23)', async () => {
    covers('T23');
    const [, , unit] = fleet.units as [Unit, Unit, Unit];
    const client = open(unit.uid, keysOf(unit));
    await heard(client, 'connect');
    const ended = heard(client, 'close');
    await http.json('POST', `/v1/devices/${unit.uid}/revoke`, { reason: 'keyCompromise' });
    await ended;
    expect(await codeOf(open(unit.uid, keysOf(unit)))).toBe(5);
  });

  it('is gone for the server when HAProxy dies', async () => {
    const [, , , unit] = fleet.units as [Unit, Unit, Unit, Unit];
    const client = open(unit.uid, keysOf(unit));
    await heard(client, 'connect');
    const ended = heard(client, 'close');
    proxy.kill('SIGKILL');
    await ended;
    await eventually(async () => !(await presenceOf(unit)).connected);
    proxy = await startProxy(proxyFolder, port);
  });
});

describe('the socket between HAProxy and the server', () => {
  it('is in a folder that only its owner enters, with the key that HAProxy shows', () => {
    expect(statSync(proxyFolder).mode & 0o777).toBe(0o700);
    for (const name of readdirSync(proxyFolder)) expect(statSync(join(proxyFolder, name)).mode & 0o077, name).toBe(0);
    expect(readdirSync(proxyFolder).sort()).toEqual(['clients.pem', 'mqtt-1.sock', 'server.pem']);
  });

  it.each([
    ['MQTT without a header', (unit: Unit) => connectPacket(unit.uid)],
    ['a header that says nothing of TLS', (unit: Unit) => Buffer.concat([header(Buffer.alloc(0)), connectPacket(unit.uid)])],
    ['a health check', () => Buffer.concat([header(Buffer.alloc(0)).fill(0x20, 12, 13)])],
    ['a header that is longer than any of ours', () => Buffer.concat([header(Buffer.alloc(2_000))])],
  ])('ends with %s', async (_name, bytes) => {
    const socket = await inner();
    socket.write(bytes(fleet.units[4] as Unit));
    await once(socket, 'close');
  });
});

const inner = async (): Promise<Socket> => {
  const socket = connectTcp(join(proxyFolder, 'mqtt-1.sock'));
  socket.on('error', () => undefined);
  socket.resume();
  await once(socket, 'connect');
  return socket;
};

/** PROXY, TCP over IPv4, from 192.0.2.1. */
function header(fields: Uint8Array): Buffer {
  const addresses = Buffer.from([192, 0, 2, 1, 192, 0, 2, 2, 0, 1, 0, 2]);
  const length = addresses.length + fields.length;
  const head = Buffer.from([0x21, 0x11, length >> 8, length & 0xff]);
  return Buffer.concat([Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1'), head, addresses, fields]);
}
