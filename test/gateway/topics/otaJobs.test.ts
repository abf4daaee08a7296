import { afterAll, beforeAll, expect, it } from 'vitest';
import type { HttpClient } from '../../../gateway-device/link/httpClient.ts';
import { concat, toHex } from '../../../src/bytes.ts';
import { decodeAs, encodeAs } from '../../../src/cbor/schema.ts';
import { sha256Hex } from '../../../src/digest.ts';
import { jobStatusMessage, otaBlock, otaQuestion } from '../../../src/mqttMessages.ts';
import {
  blockSecretBytes,
  blockSecretLabel,
  openBlock,
  openBlockChannel,
  sealedBlockAt,
  sealedFileBytes,
} from '../../../src/ota/blocks.ts';
import { referenceHash } from '../../../src/ota/build.ts';
import { blockCount, type SignedJob, verifyJob } from '../../../src/ota/otaJob.ts';
import { parseCertificate } from '../../../src/pki/parse.ts';
import { toPem } from '../../../src/pki/pem.ts';
import { signingKeysOf, verifyTrustBundle } from '../../../src/production/trustBundle.ts';
import { spdmError } from '../../../src/spdm/constants.ts';
import { deriveExporterKey } from '../../../src/spdm/keySchedule.ts';
import { encodeError } from '../../../src/spdm/messages/error.ts';
import { codeOf } from '../../pki/support.ts';
import { covers } from '../../support/covers.ts';
import { exchange } from '../../support/http.ts';
import { startTestServer, type TestServer } from '../../support/server.ts';
import { connectDevice, eventually, type FieldDevice, type Fleet, people, seedFleet, show, typesOf } from '../fieldKit.ts';

/** An upgrade on a real server over TLS, from the plan of a person to the evidence of the device. */

let server: TestServer;
let http: HttpClient;
let bob: HttpClient;
let fleet: Fleet;
let device: FieldDevice;
let rolloutId = '';
let busy = 0;
let signed: SignedJob;

beforeAll(async () => {
  server = await startTestServer(async ctx => {
    fleet = await seedFleet(ctx, 1);
  });
  http = people(server);
  bob = people(server, server.bob);
  device = await connectDevice(server, fleet.units[0]!);
  const keyExchange = 0xe4;
  device.manners.defers = code => code === keyExchange;
  device.manners.instead = ([version = 0, code]) => {
    if (code !== keyExchange || busy > 0) return undefined;
    busy += 1;
    return encodeError(version, spdmError.busy);
  };
  await device.hello();
  await eventually(async () => (await typesOf(http, fleet.units[0]!.uid)).includes('AttestationPassed'));
});
afterAll(async () => {
  await device.close();
  http.close();
  bob.close();
  await server.close();
});

type View = { rolloutId: string; status: string; counts: Record<string, number> };

it('is planned by one person and approved by another (I16)', async () => {
  covers('I16');
  const plan = { releaseId: fleet.next.releaseId, devices: [fleet.units[0]!.uid] };
  ({ rolloutId } = await http.json<View>('POST', '/v1/rollouts', plan));
  expect(await codeOf(() => http.json('POST', `/v1/rollouts/${rolloutId}/approve`, {}))).toBe('FOUR_EYES_REQUIRED');
  expect(await bob.json('POST', `/v1/rollouts/${rolloutId}/approve`, {})).toMatchObject({ status: 'APPROVED' });
  expect(await http.json('POST', `/v1/rollouts/${rolloutId}/start`, {})).toMatchObject({ status: 'RUNNING' });
});

it('is pushed to a connected device as a signed job, after a session that it is not ready for at once', async () => {
  await eventually(() => device.jobs.length > 0);
  expect(busy).toBe(1);
  const unit = fleet.units[0]!;
  const bundle = await verifyTrustBundle(await http.bytes('GET', '/v1/trust-bundle'), parseCertificate(unit.root).spki);
  signed = await verifyJob(device.jobs[0]!, signingKeysOf(bundle, 'otaJob'));
  expect(toHex(signed.job.uid)).toBe(unit.uid);
  const again = await device.client.request({ up: 'job/next', down: 'job', fields: new Map() });
  expect(toHex(again.get(1) as Uint8Array)).toBe(toHex(device.jobs[0]!));
});

it('comes in blocks at QoS 0 that only the session opens (R94, RULE-13, T21)', async () => {
  covers('R94', 'RULE-13', 'T21');
  const { job } = signed;
  const blocks = new Map<number, Uint8Array>();
  const stop = device.client.on('ota', payload => {
    const { index, sealed } = decodeAs(otaBlock, payload);
    blocks.set(index, sealed);
  });
  for (let first = 0; first < blockCount(job); first += 8) {
    const count = Math.min(8, blockCount(job) - first);
    const question = encodeAs(otaQuestion, { cid: first, first, count, blockBytes: job.blockBytes });
    await device.client.publish(`ota/${toHex(job.otaJobId)}`, question, { qos: 0 });
  }
  await eventually(() => blocks.size === blockCount(job));
  stop();
  const channel = openBlockChannel(deriveExporterKey(device.exporter(), blockSecretLabel, job.otaJobId, blockSecretBytes), signed);
  const image = concat(...[...blocks].sort(([a], [b]) => a - b).map(([index, sealed]) => openBlock(channel, index, sealed)!));
  expect(toHex(referenceHash(image.subarray(0, fleet.next.size)))).toBe(fleet.next.imageHash);
  const changed = blocks.get(0)!.slice();
  changed[10]! ^= 1;
  expect(openBlock(channel, 0, changed)).toBeUndefined();
  expect(openBlock(channel, 1, blocks.get(0)!)).toBeUndefined();
});

it('comes by HTTPS too, whole or in ranges, as the same sealed blocks, and for this device only (R88, R94)', async () => {
  covers('R88', 'R94');
  const { job } = signed;
  const url = `${server.url}/v1/ota/${toHex(job.otaJobId)}`;
  const { key, certificate, ica } = fleet.units[0]!;
  const cert = toPem('CERTIFICATE', certificate) + toPem('CERTIFICATE', ica);
  const tls = { ca: server.rootPem, cert, key: key.privateKey.export({ format: 'pem', type: 'pkcs8' }) as string };
  const get = (headers: Record<string, string> = {}) => exchange(url, { ...tls, headers });
  const whole = await get();
  expect(whole.status).toBe(200);
  expect(whole.bytes).toHaveLength(sealedFileBytes(job));
  const channel = openBlockChannel(deriveExporterKey(device.exporter(), blockSecretLabel, job.otaJobId, blockSecretBytes), signed);
  const [from, to] = sealedBlockAt(job, 1);
  expect(openBlock(channel, 1, new Uint8Array(whole.bytes.subarray(from, to)))).toBeDefined();

  const across = await get({ Range: `bytes=${from - 5}-${from + 4}` });
  expect(across).toMatchObject({ status: 206, bytes: whole.bytes.subarray(from - 5, from + 5) });
  expect(across.headers['content-range']).toBe(`bytes ${from - 5}-${from + 4}/${whole.bytes.length}`);
  expect((await get({ Range: 'bytes=-7' })).bytes).toEqual(whole.bytes.subarray(-7));
  expect((await get({ Range: `bytes=${from}-` })).bytes).toEqual(whole.bytes.subarray(from));
  expect((await get({ Range: `bytes=${whole.bytes.length}-` })).status).toBe(416);
  expect((await get({ Range: 'bytes=0-1', 'If-Range': '"another"' })).status).toBe(200);
  expect((await get({ Range: 'bytes=0-1', 'If-Range': whole.headers.etag ?? '' })).status).toBe(206);
  expect((await exchange(url, { ca: server.rootPem })).json.code).toBe('CLIENT_CERTIFICATE_REQUIRED');
  expect((await exchange(`${url.slice(0, -4)}0000`, tls)).json.code).toBe('STATE');
});

it.each([
  ['a block beyond the end', () => ({ first: blockCount(signed.job), count: 1, blockBytes: signed.job.blockBytes })],
  ['another block length', () => ({ first: 0, count: 1, blockBytes: 512 })],
])('answers a question for %s with an error and stays connected', async (_, question) => {
  const before = device.errors.length;
  await device.client.publish(`ota/${toHex(signed.job.otaJobId)}`, encodeAs(otaQuestion, { cid: 5, ...question() }), { qos: 0 });
  await eventually(() => device.errors.length > before);
  expect(device.client.isConnected()).toBe(true);
});

it('serves no block of a job that is not the device’s own', async () => {
  const before = device.errors.length;
  const other = sha256Hex('other').slice(0, 32);
  await device.client.publish(`ota/${other}`, encodeAs(otaQuestion, { cid: 6, first: 0, count: 1, blockBytes: 16_384 }), { qos: 0 });
  await eventually(() => device.errors.length > before);
  await device.client.publish(`job/${other}`, encodeAs(jobStatusMessage, { cid: 7, status: 'written' }));
  await eventually(() => device.errors.length > before + 1);
  expect(device.client.isConnected()).toBe(true);
});

it('is an upgrade when the device has proven the new image, and not before (RULE-18, I18)', async () => {
  covers('RULE-18', 'I18');
  const unit = fleet.units[0]!;
  const path = `job/${toHex(signed.job.otaJobId)}`;
  for (const status of ['downloading', 'written', 'testing'] as const)
    await device.client.publish(path, encodeAs(jobStatusMessage, { cid: 8, status, version: '1.1.0' }));
  expect(await show(http, unit.uid)).toMatchObject({ status: 'UPGRADING', version: '1.0.0' });
  device.install(fleet.next);
  await device.hello();
  await eventually(async () => (await show(http, unit.uid)).version === '1.1.0');
  expect(await show(http, unit.uid)).toMatchObject({ status: 'IN_SERVICE', securityCounter: 3, imageHash: fleet.next.imageHash });
  await eventually(async () => (await http.json<View>('GET', `/v1/rollouts/${rolloutId}`)).status === 'COMPLETED');
  const next = await device.client.request({ up: 'job/next', down: 'job', fields: new Map() });
  expect(next.get(1)).toBeNull();
});

it('shows the report that evidence outweighs: an older version said later is a clone', async () => {
  const unit = fleet.units[0]!;
  await device.hello({ version: '1.0.0', securityCounter: 2, imageHash: fleet.app.imageHash });
  await eventually(async () => (await show(http, unit.uid)).status === 'QUARANTINED');
  const released = await http.json('POST', `/v1/devices/${unit.uid}/release`, { reason: 'looked at it' });
  expect(released).toMatchObject({ status: 'IN_SERVICE' });
});

it('answers whoever asks without a right with a code', async () => {
  const nobody = people(server, 'wrong');
  expect(await codeOf(() => nobody.json('GET', '/v1/devices'))).toBe('UNAUTHENTICATED');
  expect(await codeOf(() => http.json('GET', `/v1/devices/${'00'.repeat(16)}`))).toBe('NOT_FOUND');
  expect(await codeOf(() => http.json('GET', '/v1/devices/xyz'))).toBe('BAD_REQUEST');
  expect(await codeOf(() => http.json('POST', '/v1/rollouts', { releaseId: '00'.repeat(16) }))).toBe('NOT_FOUND');
  expect(await codeOf(() => http.json('POST', '/v1/rollouts', { releaseId: fleet.bl2.releaseId }))).toBe('WRONG_PRODUCT');
  nobody.close();
});
