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
import { type Fleet, people, seedFleet, typesOf, type Unit } from '../gateway/fieldKit.ts';
import { covers } from '../support/covers.ts';
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
  ['names another registration', 'other-registration', { objId: '00'.repeat(16) }],
  ['reports an older counter', 'firmware-below-registry', { securityCounter: 0 }],
] as const)('is named itself, once, and nothing of the device changes when it %s in its name (T20, T8)', async (what, code, lie) => {
  covers('T20', 'T8');
  const unit = fleet.units[what.startsWith('names') ? 0 : 1] as Unit;
  const { objId, securityCounter } = { ...unit, ...unit.firmware, ...lie };
  const before = await typesOf(http, unit.uid);
  for (let time = 0; time < 3; time++) await sayHello(unit, objId, securityCounter);
  const of = async () => {
    const { events } = await http.json<{ events: { type: string; stream: string; data: { uid?: string; code?: string } }[] }>(
      'GET',
      '/v1/events?limit=500',
    );
    return events.filter(
      ({ type, stream, data }) => type === 'GatewayEvidenceRefused' && stream === 'gateway-liar-1' && data.uid === unit.uid,
    );
  };
  expect((await of()).map(({ data }) => data.code)).toEqual([code]);
  expect(await typesOf(http, unit.uid)).toEqual(before);
  const { alarms } = await http.json<{ alarms: { code: string; subject: string }[] }>('GET', '/v1/alarms?limit=500');
  expect(alarms).toContainEqual(expect.objectContaining({ code: 'GATEWAY_HELLO', subject: 'liar-1' }));
});
