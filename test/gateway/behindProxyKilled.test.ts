import type { ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect, type MqttClient } from 'mqtt';
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest';
import { type ReservedPorts, reservePorts } from '../../scripts/demo/ports.ts';
import { toPem } from '../../src/pki/pem.ts';
import { covers } from '../support/covers.ts';
import { type ServerProcess, startServerProcesses } from '../support/server.ts';
import { type Fleet, people, seedFleet, type Unit } from './fieldKit.ts';
import { startProxy } from './haproxy.ts';

/** The server process is killed while HAProxy in front of it lives. */

const proxyFolder = mkdtempSync(join(tmpdir(), 'nusec-proxy-'));
let fleet: Fleet;
let group: Awaited<ReturnType<typeof startServerProcesses>>;
let proxy: ChildProcess;
let reserved: ReservedPorts;
let port = 0;

beforeAll(async () => {
  process.env.NUSEC_MQTT_PROXY_FOLDER = proxyFolder;
  group = await startServerProcesses(1, async ctx => {
    fleet = await seedFleet(ctx, 3);
  });
  reserved = await reservePorts(1);
  [port = 0] = reserved.ports;
  proxy = await startProxy(proxyFolder, port);
});
afterAll(async () => {
  delete process.env.NUSEC_MQTT_PROXY_FOLDER;
  proxy?.kill('SIGKILL');
  reserved?.close();
  await group?.close();
  rmSync(proxyFolder, { recursive: true, force: true });
});

/** MQTT.js with its own way to connect again. */
function open(unit: Unit): MqttClient {
  const key = unit.key.privateKey.export({ format: 'pem', type: 'pkcs8' }) as string;
  const cert = toPem('CERTIFICATE', unit.certificate) + toPem('CERTIFICATE', unit.ica);
  const [{ rootPem: ca }] = group.first as [ServerProcess];
  const options = { clientId: unit.uid, servername: 'localhost', ca, key, cert, reconnectPeriod: 100 };
  const client = connect(`mqtts://127.0.0.1:${port}`, options);
  onTestFinished(() => void client.end(true));
  client.on('error', () => undefined);
  return client;
}
const heard = (clients: readonly MqttClient[], event: 'connect' | 'close'): Promise<unknown> =>
  Promise.all(clients.map(client => new Promise(resolve => client.once(event as 'close', () => resolve(undefined)))));

it('ends the connection of each device; all come back by themselves, and a revocation cuts one off as before (T23)', async () => {
  covers('T23');
  const [server] = group.first as [ServerProcess];
  const clients = fleet.units.map(open);
  await heard(clients, 'connect');
  const ended = heard(clients, 'close');
  await server.kill();
  await ended;
  const back = heard(clients, 'connect');
  const next = await group.startOne();
  await back;
  const http = people(next);
  onTestFinished(() => http.close());
  const [unit, ...others] = fleet.units as [Unit, ...Unit[]];
  const presenceOf = ({ uid }: Unit) => http.json('GET', `/v1/devices/${uid}/presence`);
  for (const one of fleet.units) expect(await presenceOf(one)).toMatchObject({ connected: true });
  const cut = heard(clients.slice(0, 1), 'close');
  await http.json('POST', `/v1/devices/${unit.uid}/revoke`, { reason: 'keyCompromise' });
  await cut;
  expect(await presenceOf(unit)).toMatchObject({ connected: false });
  for (const other of others) expect(await presenceOf(other)).toMatchObject({ connected: true });
});
