import { connect } from 'node:tls';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { HttpClient } from '../../gateway-device/link/httpClient.ts';
import { toPem } from '../../src/pki/pem.ts';
import { codeOf } from '../pki/support.ts';
import { exchange } from '../support/http.ts';
import { startTestServer, type TestServer } from '../support/server.ts';
import { connectPacket, Wire } from './broker/wire.ts';
import { connectDevice, eventually, type Fleet, people, seedFleet } from './fieldKit.ts';

/** Whoever asks why a device is not online gets the reason, from the API and on the command line. */

let server: TestServer;
let fleet: Fleet;
let http: HttpClient;
beforeAll(async () => {
  server = await startTestServer(async ctx => {
    fleet = await seedFleet(ctx, 2);
  });
  http = people(server);
});
afterAll(async () => {
  await http?.close();
  await server?.close();
});

type Presence = { connected: boolean; connects: number; refusals: number; recent: { state: string; reason?: string; detail?: string }[] };
const presenceOf = (uid: string) => http.json<Presence>('GET', `/v1/devices/${uid}/presence`);

/** @param withCertificate of a device, with the client id of another */
async function refused(withCertificate: boolean): Promise<number | undefined> {
  const unit = fleet.units[1]!;
  const keys = {
    key: unit.key.privateKey.export({ format: 'pem', type: 'pkcs8' }) as string,
    cert: toPem('CERTIFICATE', unit.certificate) + toPem('CERTIFICATE', unit.ica),
  };
  const where = { port: server.mqttPort, host: '127.0.0.1', servername: 'localhost', ca: server.rootPem };
  const socket = connect({ ...where, ...(withCertificate && keys) });
  await new Promise((resolve, reject) => socket.once('secureConnect', resolve).once('error', reject));
  const wire = new Wire(socket);
  wire.send(connectPacket('somebody-else'));
  const code = (await wire.next(2)).body[1];
  await wire.closed;
  return code;
}

it('shows when a device connected, left and was revoked, and that it is refused since', async () => {
  const unit = fleet.units[0]!;
  const device = await connectDevice(server, unit);
  await device.hello();
  expect(await presenceOf(unit.uid)).toMatchObject({ connected: true, connects: 1, recent: [{ state: 'connected' }] });
  await http.json('POST', `/v1/devices/${unit.uid}/revoke`, { reason: 'keyCompromise' });
  await eventually(async () => (await presenceOf(unit.uid)).refusals > 0);
  await device.close();
  const { connected, recent } = await presenceOf(unit.uid);
  expect(connected).toBe(false);
  expect(recent.slice(-3)).toMatchObject([
    { state: 'refused', reason: 'REVOKED', detail: 'certificate revoked' },
    { state: 'disconnected', reason: 'REVOKED' },
    { state: 'connected' },
  ]);
});

it('knows no device that was never made', async () => {
  expect(await codeOf(() => presenceOf('f'.repeat(32)))).toBe('NOT_FOUND');
});

it('shows who was refused without a certificate or with the client id of another, and counts them', async () => {
  expect(await refused(false)).toBe(5);
  expect(await refused(true)).toBe(2);
  // The end of a connection is seen by its client first.
  await eventually(async () => (await presenceOf(fleet.units[1]!.uid)).refusals === 1);
  const { refusals, addresses } = await http.json<{ refusals: object[]; addresses: object[] }>('GET', '/v1/gateway/refusals?limit=2');
  expect(refusals).toMatchObject([
    { clientId: fleet.units[1]!.uid, reason: 'AUTH_ERROR', detail: 'client id is not the one of the certificate', address: '127.0.0.1' },
    { clientId: null, reason: 'AUTH_ERROR', detail: 'CLIENT_CERTIFICATE_REQUIRED: no client certificate', address: '127.0.0.1' },
  ]);
  expect(addresses).toMatchObject([{ address: '127.0.0.1', lastReason: 'AUTH_ERROR' }]);
  const { text } = await exchange(`${server.url}/metrics`, { ca: server.rootPem, headers: { Authorization: `Bearer ${server.alice}` } });
  expect(text).toMatch(/^nusec_mqtt_refusals_total\{reason="AUTH_ERROR"\} [2-9]/m);
  expect(text).toMatch(/^nusec_mqtt_connects_total 1$/m);
  expect(text).toMatch(/^nusec_mqtt_online 0$/m);
});
