import { afterAll, beforeAll, expect, it } from 'vitest';
import type { HttpClient } from '../../../gateway-device/link/httpClient.ts';
import { importKey } from '../../../src/ecKey.ts';
import { decodeEvidence, verifyEvidence } from '../../../src/spdm/evidence.ts';
import { codeOf } from '../../pki/support.ts';
import { covers } from '../../support/covers.ts';
import { startTestServer, type TestServer } from '../../support/server.ts';
import { connectDevice, eventually, type Fleet, people, seedFleet, show, typesOf, type Unit } from '../fieldKit.ts';

/** Devices say hello to a real server over TLS. */

let server: TestServer;
let http: HttpClient;
let fleet: Fleet;

beforeAll(async () => {
  server = await startTestServer(async ctx => {
    fleet = await seedFleet(ctx, 4);
  });
  http = people(server);
});
afterAll(async () => {
  http.close();
  await server.close();
});

it('puts a device from stock into service with its first hello, and attests it by itself (R85)', async () => {
  covers('R85');
  const [unit] = fleet.units as [Fleet['units'][number]];
  const device = await connectDevice(server, unit);
  await device.hello();
  const types = await eventually(async () => {
    const seen = await typesOf(http, unit.uid);
    return seen.includes('AttestationPassed') && seen;
  });
  expect(types.slice(-2)).toEqual(['DevicePutInService', 'AttestationPassed']);
  expect(await show(http, unit.uid)).toMatchObject({ status: 'IN_SERVICE', attestation: 'passed', connected: true });
  await device.hello();
  await new Promise(resolve => setTimeout(resolve, 100));
  expect(await typesOf(http, unit.uid)).toEqual(types);
  await device.close();
});

it('gives out the evidence that an event names, for anybody to verify again (R85)', async () => {
  covers('R85');
  const [unit, other] = fleet.units as [Unit, Unit];
  const path = `/v1/devices/${unit.uid}`;
  const { events } = await http.json<{ events: { type: string; data: Record<string, string> }[] }>('GET', `${path}/events`);
  const sha256 = events.find(({ type }) => type === 'AttestationPassed')!.data.evidenceSha256!;
  const evidence = decodeEvidence(await http.bytes('GET', `${path}/evidence/${sha256}`));
  const nonce = evidence.exchange[0]!.slice(4, 36);
  const judge = (spki: Uint8Array) => codeOf(() => verifyEvidence(evidence, { nonce, trust: () => importKey(spki) }));
  expect(await judge(unit.key.spki)).toMatchObject({ version: 0x12 });
  expect(await judge(other.key.spki)).toBe('SPDM_SIGNATURE');
  expect(await codeOf(() => http.bytes('GET', `/v1/devices/${other.uid}/evidence/${sha256}`))).toBe('NOT_FOUND');
  expect(await codeOf(() => http.bytes('GET', `${path}/evidence/${fleet.app.bodySha256}`))).toBe('NOT_FOUND');
});

it('suspects a clone when a device reports a lower counter than was proven (T8, I18)', async () => {
  covers('T8', 'I18');
  const unit = fleet.units[1]!;
  const device = await connectDevice(server, unit);
  await device.hello({ securityCounter: 1, version: '0.9.0' });
  await eventually(async () => (await typesOf(http, unit.uid)).includes('CloneSuspected'));
  expect(await show(http, unit.uid)).toMatchObject({ status: 'QUARANTINED', version: '1.0.0', securityCounter: 2 });
  const { alarms } = await http.json<{ alarms: { code: string; subject: string }[] }>('GET', '/v1/alarms');
  expect(alarms).toContainEqual(expect.objectContaining({ code: 'CloneSuspected', subject: `device-${unit.uid}` }));
  await device.close();
});

it('suspects a clone when a device names another registration', async () => {
  const unit = fleet.units[2]!;
  const device = await connectDevice(server, unit);
  await device.hello({ objId: '00'.repeat(16) });
  await eventually(async () => (await typesOf(http, unit.uid)).includes('CloneSuspected'));
  await device.close();
});

it('answers a device whose hello is not its CBOR map, and takes nothing of it (T27)', async () => {
  covers('T27');
  const unit = fleet.units[3]!;
  const device = await connectDevice(server, unit);
  await device.client.publish('hello', Uint8Array.of(0xa1, 0x00, 0x01));
  await eventually(() => device.errors.length > 0);
  expect((await show(http, unit.uid)).status).toBe('STOCK');
  await device.close();
});
