import { createPrivateKey, createPublicKey, sign } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { enrol, openIdentity } from '../../gateway-device/agent/identity.ts';
import type { HttpClient } from '../../gateway-device/link/httpClient.ts';
import { connectMqtt, type NusecMqttClient } from '../../gateway-device/link/mqttClient.ts';
import { fromHex, toHex } from '../../src/bytes.ts';
import { decodeAs, encodeAs } from '../../src/cbor/schema.ts';
import { attestMessage, evidenceMessage, helloMessage } from '../../src/mqttMessages.ts';
import { type Fleet, people, seedFleet, show, typesOf, type Unit } from '../gateway/fieldKit.ts';
import type { Key } from '../pki/support.ts';
import { bentAnswer } from '../services/field/gatewayBench.ts';
import { lies } from '../services/field/lies.ts';
import { covers } from '../support/covers.ts';
import { startTestServer, type TestServer } from '../support/server.ts';

/** A gateway that lies about the devices that are attached to it. */

let server: TestServer;
let http: HttpClient;
let fleet: Fleet;
let liar: NusecMqttClient;
let liarsKey: Key;
const kinds = Object.keys(lies);

/** Of the machine that the liar has. */
function keyIn(pem: string): Key {
  const privateKey = createPrivateKey(pem);
  const spki = new Uint8Array(createPublicKey(privateKey).export({ type: 'spki', format: 'der' }));
  const signer = { algorithm: 'P-256', sign: async (tbs: Uint8Array) => new Uint8Array(sign('sha256', tbs, privateKey)) } as const;
  return { spki, privateKey, signer, point: spki.subarray(-65) };
}

beforeAll(async () => {
  server = await startTestServer(async ctx => {
    fleet = await seedFleet(ctx, 2 + kinds.length);
  });
  http = people(server);
  const id = 'liar-1';
  const folder = mkdtempSync(join(tmpdir(), 'nusec-liar-'));
  await http.json('POST', '/v1/gateways', { id });
  for (const { uid } of fleet.units) await http.json('POST', `/v1/gateways/${id}/devices`, { uid });
  await enrol(folder, id, server.rootPem, http);
  const { tls } = openIdentity(folder, id);
  liarsKey = keyIn(tls.key);
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

type Refused = { readonly type: string; readonly stream: string; readonly data: { readonly uid?: string; readonly code?: string } };

/** In the stream of the liar. */
async function eventsOf(wanted: string): Promise<readonly Refused[]> {
  const found: Refused[] = [];
  for (let after = 0; ; ) {
    const { events } = await http.json<{ events: (Refused & { position: number })[] }>('GET', `/v1/events?limit=500&after=${after}`);
    found.push(...events.filter(({ type, stream }) => type === wanted && stream === 'gateway-liar-1'));
    if (events.length === 0) return found;
    after = events.at(-1)!.position;
  }
}

it.each([
  ['names another registration', 'other-registration', { objId: '00'.repeat(16) }],
  ['reports an older counter', 'firmware-below-registry', { securityCounter: 0 }],
] as const)('is named itself, once, and nothing of the device changes when it %s in its name (T20, T8)', async (what, code, lie) => {
  covers('T20', 'T8');
  const unit = fleet.units[what.startsWith('names') ? 0 : 1] as Unit;
  const { objId, securityCounter } = { ...unit, ...unit.firmware, ...lie };
  const before = await typesOf(http, unit.uid);
  for (let time = 0; time < 3; time++) await sayHello(unit, objId, securityCounter);
  const of = async () => (await eventsOf('GatewayEvidenceRefused')).filter(({ data }) => data.uid === unit.uid);
  expect((await of()).map(({ data }) => data.code)).toEqual([code]);
  expect(await typesOf(http, unit.uid)).toEqual(before);
  const { alarms } = await http.json<{ alarms: { code: string; subject: string }[] }>('GET', '/v1/alarms?limit=500');
  expect(alarms).toContainEqual(expect.objectContaining({ code: 'GATEWAY_HELLO', subject: 'liar-1' }));
});

it('harms no device whatever it brings as its evidence, and is named for each of them, over its own connection (T20)', async () => {
  covers('T20');
  const bends = new Map(kinds.map((kind, i) => [fleet.units[2 + i]!.uid, { kind, unit: fleet.units[2 + i]! }]));
  let sequence = 1;
  liar.on('attest', async payload => {
    const { cid, uid, nonce } = decodeAs(attestMessage, payload);
    const { kind, unit } = bends.get(toHex(uid))!;
    const bend = lies[kind]!(unit, fleet.units[0]!);
    const asked = { uid: unit.uid, nonce, sequence: sequence++, timeSeconds: Math.floor(Date.now() / 1000) };
    const { evidence, verdict } = await bentAnswer({ id: 'liar-1', unit, key: liarsKey, bend, signingKey: unit.key }, asked);
    await liar.publish('evidence', encodeAs(evidenceMessage, { cid, evidence, verdict }), { uid: unit.uid });
  });
  for (const [uid, { kind }] of bends) {
    const before = await show(http, uid);
    const asked = await http.json<{ result: string; reason: string }>('POST', `/v1/devices/${uid}/attest`, { via: 'gateway' });
    expect([kind, asked]).toEqual([kind, expect.objectContaining({ result: 'unproven', reason: expect.stringContaining('liar-1') })]);
    expect(await typesOf(http, uid), kind).toEqual(
      expect.not.arrayContaining(['AttestationFailed', 'CloneSuspected', 'DeviceQuarantined']),
    );
    const { status, attestation } = await show(http, uid);
    expect([kind, status, attestation]).toEqual([kind, before.status, before.attestation]);
  }
  const named = new Set((await eventsOf('GatewayEvidenceRefused')).map(({ data }) => data.uid));
  expect([...bends.keys()].filter(uid => !named.has(uid))).toEqual([]);
  const { alarms } = await http.json<{ alarms: { code: string; subject: string }[] }>('GET', '/v1/alarms?limit=500');
  expect(alarms).toContainEqual(expect.objectContaining({ code: 'GATEWAY_EVIDENCE', subject: 'liar-1' }));
});
