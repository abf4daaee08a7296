import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { enrol, openIdentity } from '../../gateway-device/agent/identity.ts';
import type { HttpClient } from '../../gateway-device/link/httpClient.ts';
import { connectMqtt, type NusecMqttClient } from '../../gateway-device/link/mqttClient.ts';
import { fromHex } from '../../src/bytes.ts';
import { encodeAs } from '../../src/cbor/schema.ts';
import { helloMessage } from '../../src/mqttMessages.ts';
import { eventually, type Fleet, people, seedFleet, show, typesOf, type Unit } from '../gateway/fieldKit.ts';
import { startTestServer, type TestServer } from '../support/server.ts';

/** A gateway that lies about the devices that are attached to it. Evidence that it makes up: test/services/field/attestation.test.ts. */

let server: TestServer;
let http: HttpClient;
let fleet: Fleet;
let liar: NusecMqttClient;

beforeAll(async () => {
  server = await startTestServer(async ctx => {
    fleet = await seedFleet(ctx, 2);
  });
  http = people(server);
  const id = 'liar-1';
  const folder = mkdtempSync(join(tmpdir(), 'nusec-liar-'));
  await http.json('POST', '/v1/gateways', { id });
  for (const { uid } of fleet.units) await http.json('POST', `/v1/gateways/${id}/devices`, { uid });
  await enrol(folder, id, server.rootPem, http);
  const { tls } = openIdentity(folder, id);
  rmSync(folder, { recursive: true });
  const identity = { kind: 'gateway', gatewayId: id } as const;
  liar = connectMqtt({ host: '127.0.0.1', port: server.mqttPort, servername: 'localhost', identity, tls });
  await liar.connected();
});
afterAll(async () => {
  await liar.close();
  http.close();
  await server.close();
});

const sayHello = (unit: Unit, objId = unit.objId, securityCounter = unit.firmware.securityCounter) => {
  const { version, imageHash } = unit.firmware;
  const said = { cid: 1, version, imageHash: fromHex(imageHash), bootCount: 1, imageState: 'confirmed' } as const;
  return liar.publish('hello', encodeAs(helloMessage, { ...said, securityCounter, objId: fromHex(objId) }), { uid: unit.uid });
};

it.each([
  ['names another registration', 'other-registration-by-gateway', { objId: '00'.repeat(16) }],
  ['reports an older counter', 'firmware-below-registry-by-gateway', { securityCounter: 0 }],
] as const)('raises a suspicion, once, and takes no device out of use when it %s in its name (T20, T8)', async (what, reason, lie) => {
  const unit = fleet.units[what.startsWith('names') ? 0 : 1] as Unit;
  const { objId, securityCounter } = { ...unit, ...unit.firmware, ...lie };
  for (let time = 0; time < 3; time++) await sayHello(unit, objId, securityCounter);
  await eventually(async () => (await typesOf(http, unit.uid)).includes('CloneSuspected'));
  const { events } = await http.json<{ events: { type: string; data: { reason?: string } }[] }>('GET', `/v1/devices/${unit.uid}/events`);
  expect(events.filter(({ type }) => type === 'CloneSuspected').map(({ data }) => data.reason)).toEqual([reason]);
  expect((await show(http, unit.uid)).status).toBe('STOCK');
});
