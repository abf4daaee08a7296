import { afterAll, beforeAll, expect, it } from 'vitest';
import type { HttpClient } from '../../gateway-device/link/httpClient.ts';
import { parseCertificate } from '../../src/pki/parse.ts';
import { readCrl } from '../pki/readCrl.ts';
import { codeOf } from '../pki/support.ts';
import { covers } from '../support/covers.ts';
import { ocspStatus } from '../support/openssl.ts';
import { startTestServer, type TestServer } from '../support/server.ts';
import { connectDevice, eventually, type FieldDevice, type Fleet, people, seedFleet, show, typesOf, type Unit } from './fieldKit.ts';

/** Ends of devices on a real server over TLS: revocation of a connected device, and decommission by signed order and receipt. */

let server: TestServer;
let http: HttpClient;
let fleet: Fleet;
let used = 0;
const nextUnit = (): Unit => fleet.units[used++]!;
const open: FieldDevice[] = [];

async function online(unit: Unit): Promise<FieldDevice> {
  const device = await connectDevice(server, unit);
  open.push(device);
  await device.hello();
  await eventually(async () => (await typesOf(http, unit.uid)).includes('AttestationPassed'));
  return device;
}

beforeAll(async () => {
  server = await startTestServer(async ctx => {
    fleet = await seedFleet(ctx, 11);
  });
  http = people(server);
});
afterAll(async () => {
  for (const device of open) await device.close();
  http.close();
  await server.close();
});

const ocspOf = (unit: Unit): Promise<string> => ocspStatus(server.crlPort, unit);

it('cuts a revoked device off, and it cannot return (T23, I11)', async () => {
  covers('T23', 'I11');
  const unit = nextUnit();
  const device = await online(unit);
  const revoked = http.json<{ status: string; revoked: string[] }>('POST', `/v1/devices/${unit.uid}/revoke`, { reason: 'keyCompromise' });
  await eventually(() => !device.client.isConnected());
  const { serialHex } = parseCertificate(unit.certificate);
  expect(await revoked).toEqual({ status: 'REVOKED', revoked: [serialHex] });
  await eventually(async () => (await alarmCodes()).includes('REVOKED_CONNECT'));
  expect(device.client.isConnected()).toBe(false);
  expect(await show(http, unit.uid)).toMatchObject({ status: 'REVOKED', connected: false });
  expect(await codeOf(() => http.json('POST', `/v1/devices/${unit.uid}/attest`, {}))).toBe('DEVICE_STATE');
});

it('puts the serial on the next CRL and into the inventory (R86)', async () => {
  covers('R86');
  const unit = nextUnit();
  await http.json('POST', `/v1/devices/${unit.uid}/revoke`, { reason: 'superseded' });
  const { serialHex } = parseCertificate(unit.certificate);
  const list = await http.json<{ certificates: { serial: string; reason: string }[] }>('GET', '/v1/certificates?status=revoked');
  expect(list.certificates).toContainEqual(expect.objectContaining({ serial: serialHex, reason: 'superseded', status: 'revoked' }));
  const changes = await http.json<{ revocations: { serial: string; revoked: boolean }[] }>('GET', '/v1/revocations');
  expect(changes.revocations).toContainEqual(expect.objectContaining({ serial: serialHex, revoked: true }));
  const response = await fetch(`http://127.0.0.1:${server.crlPort}/crl/device-meter-1.crl`);
  const crl = readCrl(new Uint8Array(await response.arrayBuffer()), parseCertificate(unit.ica), Date.now());
  expect(crl.entries.map(({ serialHex: serial }) => serial)).toContain(serialHex);
});

it('suspends a device: off, on hold in CRL and OCSP, and back when it is resumed (R86)', async () => {
  covers('R86');
  const unit = nextUnit();
  const device = await online(unit);
  const { serialHex } = parseCertificate(unit.certificate);
  const reasonIn = async (path: string): Promise<string | undefined> => {
    const response = await fetch(`http://127.0.0.1:${server.crlPort}/${path}/device-meter-1.crl`);
    const crl = readCrl(new Uint8Array(await response.arrayBuffer()), parseCertificate(unit.ica), Date.now());
    return crl.entries.find(entry => entry.serialHex === serialHex)?.reason;
  };
  const suspended = http.json('POST', `/v1/devices/${unit.uid}/suspend`, { reason: 'lost in transit' });
  await eventually(() => !device.client.isConnected());
  expect(await suspended).toMatchObject({ uid: unit.uid, status: 'SUSPENDED' });
  expect(await reasonIn('crl')).toBe('certificateHold');
  expect(await ocspOf(unit)).toMatch(/revoked[\s\S]*Reason: certificateHold/);
  expect(await codeOf(() => http.json('POST', `/v1/devices/${unit.uid}/attest`, {}))).toBe('DEVICE_STATE');
  await eventually(async () => (await alarms()).some(({ code, subject }) => code === 'REVOKED_CONNECT' && subject === unit.uid));
  expect(device.client.isConnected()).toBe(false);

  expect(await http.json('POST', `/v1/devices/${unit.uid}/resume`, {})).toMatchObject({ status: 'IN_SERVICE', serial: serialHex });
  expect(await reasonIn('crl')).toBeUndefined();
  expect(await reasonIn('delta')).toBe('removeFromCRL');
  expect(await ocspOf(unit)).toMatch(/leaf.pem: good/);
  await eventually(() => device.client.isConnected());
  await device.hello();
  expect((await typesOf(http, unit.uid)).slice(-2)).toEqual(['DeviceSuspended', 'DeviceResumed']);
});

it('revokes a suspended device for good: it does not come back by being resumed (RULE-16)', async () => {
  covers('RULE-16');
  const unit = nextUnit();
  await http.json('POST', `/v1/devices/${unit.uid}/suspend`, { reason: 'lost' });
  expect(await http.json('POST', `/v1/devices/${unit.uid}/revoke`, { reason: 'keyCompromise' })).toMatchObject({ status: 'REVOKED' });
  expect(await codeOf(() => http.json('POST', `/v1/devices/${unit.uid}/resume`, {}))).toBe('DEVICE_STATE');
  const { serialHex } = parseCertificate(unit.certificate);
  const { certificates } = await http.json<{ certificates: object[] }>('GET', '/v1/certificates?status=revoked');
  expect(certificates).toContainEqual(expect.objectContaining({ serial: serialHex, reason: 'keyCompromise' }));
});

it('is done once: a second revocation finds nothing to revoke', async () => {
  const unit = nextUnit();
  await http.json('POST', `/v1/devices/${unit.uid}/revoke`, { reason: 'keyCompromise' });
  const before = await typesOf(http, unit.uid);
  expect(await http.json('POST', `/v1/devices/${unit.uid}/revoke`, { reason: 'keyCompromise' })).toMatchObject({ revoked: [] });
  expect(await typesOf(http, unit.uid)).toEqual(before);
});

it('decommissions by a signed order and the device’s signed receipt; the keys are destroyed (R96, RULE-17)', async () => {
  covers('R96', 'RULE-17');
  const unit = nextUnit();
  const device = await online(unit);
  const order = () => http.json('POST', `/v1/devices/${unit.uid}/decommission`, { reason: 'replaced' });
  expect(await order()).toEqual({ status: 'DECOMMISSIONED', receipt: 'received' });
  expect((await typesOf(http, unit.uid)).slice(-4)).toEqual([
    'DeviceDecommissionOrdered',
    'CertificateRevoked',
    'DeviceDecommissioned',
    'KeyCustodyDestroyed',
  ]);
  const before = await typesOf(http, unit.uid);
  // Whoever has not got the answer asks again.
  expect(await order()).toEqual({ status: 'DECOMMISSIONED', receipt: 'received' });
  expect(await typesOf(http, unit.uid)).toEqual(before);
  await eventually(() => !device.client.isConnected());
  await eventually(async () => (await alarms()).some(({ code, subject }) => code === 'REVOKED_CONNECT' && subject === unit.uid));
});

it.each(['refused', 'forged', 'unwiped'] as const)('does not end a device by a %s receipt, and raises an alarm', async receipts => {
  const unit = nextUnit();
  const device = await online(unit);
  device.manners.receipts = receipts;
  expect(await http.json('POST', `/v1/devices/${unit.uid}/decommission`, { reason: 'end of life' })).toEqual({
    status: 'IN_SERVICE',
    receipt: 'awaited',
  });
  expect(await alarms()).toContainEqual(expect.objectContaining({ code: 'WIPE_REFUSED', subject: unit.uid }));
  device.manners.receipts = 'signed';
  await device.hello();
  await eventually(async () => (await show(http, unit.uid)).status === 'DECOMMISSIONED');
});

it('sends a standing order as soon as the device connects (R96)', async () => {
  covers('R96');
  const unit = nextUnit();
  expect(await http.json('POST', `/v1/devices/${unit.uid}/decommission`, { reason: 'end of life' })).toEqual({
    status: 'STOCK',
    receipt: 'awaited',
  });
  const device = await connectDevice(server, unit);
  open.push(device);
  await device.hello();
  await eventually(async () => (await show(http, unit.uid)).status === 'DECOMMISSIONED');
  const last = (await http.json<{ events: { type: string; data: object }[] }>('GET', `/v1/devices/${unit.uid}/events`)).events;
  expect(last.find(({ type }) => type === 'DeviceDecommissioned')?.data).toHaveProperty('wipeReceiptSha256');
});

const alarms = async () => (await http.json<{ alarms: { code: string; subject: string }[] }>('GET', '/v1/alarms')).alarms;
const alarmCodes = async () => (await alarms()).map(({ code }) => code);
