import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type Agent, startAgent } from '../../../gateway-device/agent/agent.ts';
import { enrol, openIdentity } from '../../../gateway-device/agent/identity.ts';
import { type ByteServer, listenTcp } from '../../../gateway-device/link/byteLink.ts';
import type { HttpClient } from '../../../gateway-device/link/httpClient.ts';
import { serveMctp } from '../../../gateway-device/link/mctpLink.ts';
import { connectMqtt, type NusecMqttClient } from '../../../gateway-device/link/mqttClient.ts';
import { fromHex, utf8 } from '../../../src/bytes.ts';
import { decodeAs, encodeAs } from '../../../src/cbor/schema.ts';
import { authority, authorityStream } from '../../../src/domain/authority.ts';
import { importKey } from '../../../src/ecKey.ts';
import { attestMessage, evidenceMessage, helloMessage } from '../../../src/mqttMessages.ts';
import { publishTrustBundle } from '../../../src/services/authority/trustBundle.ts';
import { execute } from '../../../src/services/base/context.ts';
import { defineLine } from '../../../src/services/firmware/lines.ts';
import { spdmError } from '../../../src/spdm/constants.ts';
import { decodeEvidence, encodeEvidence, verifyEvidence } from '../../../src/spdm/evidence.ts';
import { encodeError } from '../../../src/spdm/messages/error.ts';
import { runAttestation } from '../../../src/spdm/requester/run.ts';
import { decodeTyped, encodeTyped } from '../../../src/spdm/transport/mqtt.ts';
import { codeOf, makeKey, makeRoot } from '../../pki/support.ts';
import { agentTrust } from '../../support/agentTrust.ts';
import { covers } from '../../support/covers.ts';
import { startTestServer, type TestServer } from '../../support/server.ts';
import { build, eventually, type Fleet, people, responderOf, seedFleet, show, typesOf, type Unit } from '../fieldKit.ts';

/** A gateway between a real server (MQTT over TLS) and devices on serial lines: the agent, and a gateway that lies. */

let server: TestServer;
let http: HttpClient;
let fleet: Fleet;
let agent: Agent;
let goodManners: Parameters<typeof responderOf>[1];
let start: () => Promise<Agent>;
/** A device of an authority that was stolen. */
let outcast: Unit;
const dataDir = mkdtempSync(join(tmpdir(), 'nusec-gateway-'));
const wires: ByteServer[] = [];
const events: { event: string }[] = [];

async function serial(unit: Unit, manners: Parameters<typeof responderOf>[1]): Promise<string> {
  const responder = responderOf(unit, manners);
  const wire = await listenTcp(0, link =>
    serveMctp(link, async (message, send) => send(encodeTyped((await responder.handle(decodeTyped(message)))!))),
  );
  wires.push(wire);
  return `127.0.0.1:${wire.port}`;
}

beforeAll(async () => {
  server = await startTestServer(async ctx => {
    fleet = await seedFleet(ctx, 5);
    await defineLine(ctx, { line: 'stolen' }, 'operator:rita');
    outcast = await build(ctx, fleet.bl2, fleet.app, 'stolen');
    const compromise = { type: 'CompromiseIssuingCa', icaId: 'device-stolen-1', reason: 'theft', by: 'operator:olga' } as const;
    await execute(ctx, authority, authorityStream(ctx.project), compromise, 'operator:olga');
    await publishTrustBundle(ctx);
  });
  http = people(server);
  await http.json('POST', '/v1/gateways', { id: 'hall-7' });
  for (const { uid } of fleet.units.slice(0, 4)) await http.json('POST', '/v1/gateways/hall-7/devices', { uid });
  await enrol(dataDir, 'hall-7', server.rootPem, http);
  goodManners = { debugState: 1, signingKey: fleet.units[0]!.key };
  const [good, clone, silent] = fleet.units as [Unit, Unit, Unit];
  const devices = new Map([
    [good.uid, await serial(good, goodManners)],
    [clone.uid, await serial(clone, { debugState: 1, signingKey: makeKey() })],
    [silent.uid, '127.0.0.1:1'],
  ]);
  start = () =>
    startAgent({
      dataDir,
      gatewayId: 'hall-7',
      server: server.url,
      mqtt: { host: '127.0.0.1', port: server.mqttPort },
      servername: 'localhost',
      devices,
      tell: event => events.push(event),
    });
  agent = await start();
  await agent.connected();
});
afterAll(async () => {
  await agent.close();
  for (const wire of wires) await wire.close();
  http.close();
  await server.close();
  rmSync(dataDir, { recursive: true, force: true });
});

const attest = (unit: Unit) => http.json<{ result: string; via: string; reason?: string }>('POST', `/v1/devices/${unit.uid}/attest`);

it('attests a device on a serial line with the nonce of the cloud (R84)', async () => {
  covers('R84');
  const [unit] = fleet.units as [Unit];
  expect(await attest(unit)).toMatchObject({ result: 'passed', via: 'gateway', version: '1.0.0' });
  expect(await show(http, unit.uid)).toMatchObject({ status: 'IN_SERVICE', attestation: 'passed', connected: false });
  expect(events).toContainEqual({ event: 'attested', uid: unit.uid });
});

it('shows every attestation with the evidence that it was judged by, also one that changed nothing (R85)', async () => {
  covers('R85');
  const [unit] = fleet.units as [Unit];
  const before = await typesOf(http, unit.uid);
  const again = await http.json<{ evidenceSha256: string }>('POST', `/v1/devices/${unit.uid}/attest`);
  expect(await typesOf(http, unit.uid)).toEqual(before);
  type Row = { at: string; via: string; nonceHex: string; result: string; evidenceSha256: string; verdictSha256: string };
  const { attestations } = await http.json<{ attestations: Row[] }>('GET', `/v1/devices/${unit.uid}/attestations`);
  const [row] = attestations;
  expect(attestations.length).toBeGreaterThan(1);
  expect(row).toMatchObject({ via: 'gateway:hall-7', result: 'passed', evidenceSha256: again.evidenceSha256 });
  expect((await show(http, unit.uid)).attestedAt).toBe(row?.at);
  const { devices } = await http.json<{ devices: { uid: string; attestedAt: string }[] }>('GET', '/v1/devices?limit=100');
  expect(devices.find(({ uid }) => uid === unit.uid)?.attestedAt).toBe(row?.at);
  const evidence = decodeEvidence(await http.bytes('GET', `/v1/devices/${unit.uid}/evidence/${row?.evidenceSha256}`));
  const nonce = fromHex(row?.nonceHex ?? '');
  await expect(verifyEvidence(evidence, { nonce, uidHex: unit.uid, trust: () => importKey(unit.key.spki) })).resolves.toBeDefined();
  expect((await http.bytes('GET', `/v1/devices/${unit.uid}/evidence/${row?.verdictSha256}`)).length).toBeGreaterThan(64);
});

it('waits for a device on a serial line that is not ready at once, and blames nobody for one that never is (R84)', async () => {
  covers('R84');
  const [unit] = fleet.units as [Unit];
  const [challenge, getMeasurements] = [0x83, 0xe0];
  goodManners.defers = code => code === challenge || code === getMeasurements;
  expect(await attest(unit)).toMatchObject({ result: 'passed', via: 'gateway' });
  goodManners.instead = ([version = 0, code]) => (code === challenge ? encodeError(version, spdmError.unspecified) : undefined);
  const before = await typesOf(http, unit.uid);
  expect(await codeOf(() => attest(unit))).toBe('DEVICE_UNREACHABLE');
  expect(await typesOf(http, unit.uid)).toEqual(before);
  Object.assign(goodManners, { defers: undefined, instead: undefined });
});

it('names the gateway that brings a false signature, and changes nothing about the device on its word (T8, T20)', async () => {
  covers('T8', 'T20');
  const unit = fleet.units[1]!;
  const before = await typesOf(http, unit.uid);
  expect(await attest(unit)).toMatchObject({ result: 'unproven', via: 'gateway' });
  expect(await typesOf(http, unit.uid)).toEqual(before);
  const { alarms } = await http.json<{ alarms: { code: string; subject: string }[] }>('GET', '/v1/alarms?limit=500');
  expect(alarms).toContainEqual(expect.objectContaining({ code: 'GATEWAY_EVIDENCE', subject: 'hall-7' }));
});

it('says that a device on a dead line cannot be reached, and records no failure', async () => {
  const unit = fleet.units[2]!;
  const refusal = (one: Unit) => attest(one).catch(({ code, message }) => `${code}: ${message}`);
  expect(await refusal(unit)).toMatch(/^DEVICE_UNREACHABLE: .* its wire to the device does not open, or broke off \(LINK_FAILED\)$/);
  expect(await refusal(fleet.units[3]!)).toMatch(/^DEVICE_UNREACHABLE: .*nusec gateway run --device UID=ADDRESS\) \(NOT_FOUND\)$/);
  expect(await typesOf(http, unit.uid)).not.toContain('AttestationFailed');
});

it('keeps its key in a file of its own for nobody else, and gets the same certificate again', async () => {
  expect(statSync(join(dataDir, 'gateway.key')).mode & 0o777).toBe(0o600);
  const before = openIdentity(dataDir, 'hall-7').tls.cert;
  await enrol(dataDir, 'hall-7', server.rootPem, http);
  expect(openIdentity(dataDir, 'hall-7').tls.cert).toBe(before);
});

it('gets no trust bundle for a root that is not of this project (T14)', async () => {
  covers('T14');
  const { tls } = openIdentity(dataDir, 'hall-7');
  const { der: root } = await makeRoot();
  expect(await codeOf(() => agentTrust(() => ({ tls, root }), server.url))).toBe('NOT_FOUND');
});

it('judges a chain by the authorities of the bundle: a compromised one is not among them (R84)', async () => {
  covers('R84');
  const trust = await agentTrust(() => openIdentity(dataDir, 'hall-7'), server.url);
  const judge = ({ root, ica, certificate }: Unit, uid: string) => codeOf(() => trust.judge([root, ica, certificate], uid));
  const [good, other] = fleet.units as [Unit, Unit];
  expect(await judge(good, good.uid)).toMatchObject({ type: 'public' });
  expect(await judge(good, other.uid)).toBe('CHAIN_REFUSED');
  expect(await judge(outcast, outcast.uid)).toBe('CHAIN_REFUSED');
});

async function liar(id: string): Promise<NusecMqttClient> {
  const folder = mkdtempSync(join(tmpdir(), 'nusec-liar-'));
  await http.json('POST', '/v1/gateways', { id });
  await enrol(folder, id, server.rootPem, http);
  const { tls } = openIdentity(folder, id);
  rmSync(folder, { recursive: true });
  const identity = { kind: 'gateway', gatewayId: id } as const;
  const client = connectMqtt({ host: '127.0.0.1', port: server.mqttPort, servername: 'localhost', identity, tls });
  await client.connected();
  return client;
}

it('denies a gateway that speaks for a device that is not attached to it, with an alarm (T20)', async () => {
  covers('T20');
  const unit = fleet.units[4]!;
  const client = await liar('liar-1');
  const errors: string[] = [];
  client.on('err', (_, uid) => errors.push(uid));
  const { version, securityCounter, imageHash } = unit.firmware;
  const said = { cid: 1, version, securityCounter, imageHash: fromHex(imageHash), bootCount: 1, imageState: 'confirmed' } as const;
  await client.publish('hello', encodeAs(helloMessage, { ...said, objId: fromHex(unit.objId) }), { uid: unit.uid });
  await eventually(() => errors.includes(unit.uid));
  expect((await show(http, unit.uid)).status).toBe('STOCK');
  const { alarms } = await http.json<{ alarms: { code: string; subject: string }[] }>('GET', '/v1/alarms?limit=500');
  expect(alarms).toContainEqual(expect.objectContaining({ code: 'FOREIGN_DEVICE', subject: 'liar-1' }));
  await client.close();
});

it('names a gateway whose answer cannot be read, and waits for no other one (T20)', async () => {
  covers('T20');
  const unit = fleet.units[4]!;
  const client = await liar('liar-2');
  await http.json('POST', '/v1/gateways/liar-2/devices', { uid: unit.uid });
  client.on('attest', () => void client.publish('evidence', utf8('all is well'), { uid: unit.uid }).catch(() => undefined));
  expect(await attest(unit)).toMatchObject({ result: 'unproven', reason: expect.stringContaining('liar-2: EVIDENCE_MALFORMED') });
  expect((await show(http, unit.uid)).status).toBe('STOCK');
  const { alarms } = await http.json<{ alarms: { code: string; subject: string }[] }>('GET', '/v1/alarms?limit=500');
  expect(alarms).toContainEqual(expect.objectContaining({ code: 'GATEWAY_EVIDENCE', subject: 'liar-2' }));
  await client.close();
});

it('cuts a suspended gateway off, and lets it return when it is resumed', async () => {
  const state = () => http.json<{ gateways: { id: string; status: string }[] }>('GET', '/v1/gateways');
  await http.json('POST', '/v1/gateways/hall-7/suspend', { reason: 'moved' });
  expect((await state()).gateways).toContainEqual(expect.objectContaining({ id: 'hall-7', status: 'SUSPENDED' }));
  expect(await codeOf(() => attest(fleet.units[0]!))).toBe('DEVICE_UNREACHABLE');
  await http.json('POST', '/v1/gateways/hall-7/resume', {});
  await agent.connected();
  await eventually(async () => (await codeOf(() => attest(fleet.units[0]!))) !== 'DEVICE_UNREACHABLE');
});

it('numbers its verdicts by a counter that it keeps, so that a clock that goes back refuses nobody (R84)', async () => {
  covers('R84');
  const restart = async (): Promise<void> => {
    await agent.close();
    agent = await start();
    await agent.connected();
  };
  await agent.close();
  // As if the clock had been a century ahead when it started the last time.
  writeFileSync(join(dataDir, 'sequence'), `${Date.now() + 100 * 365 * 86_400_000}\n`);
  agent = await start();
  await agent.connected();
  expect(await attest(fleet.units[0]!)).toMatchObject({ result: 'passed' });
  await restart();
  expect(await attest(fleet.units[0]!)).toMatchObject({ result: 'passed' });
});

it('takes the answer of a gateway whose device was detached after the question, and raises no alarm; nothing else (T20)', async () => {
  covers('T20');
  const unit = fleet.units[4]!;
  const client = await liar('late-1');
  await http.json('POST', '/v1/gateways/late-1/devices', { uid: unit.uid });
  const errors: string[] = [];
  client.on('err', (_, uid) => errors.push(uid));
  client.on('attest', async payload => {
    const { cid, nonce } = decodeAs(attestMessage, payload);
    await http.json('DELETE', `/v1/gateways/late-1/devices/${unit.uid}`);
    const responder = responderOf(unit, { debugState: 1, signingKey: unit.key });
    const evidence = encodeEvidence(await runAttestation({ nonce, raw: true }, async wire => (await responder.handle(wire))!));
    await client.publish('evidence', encodeAs(evidenceMessage, { cid, evidence, verdict: utf8('a verdict') }), { uid: unit.uid });
  });
  // The evidence came: it is judged, and its verdict is no verdict.
  expect(await attest(unit)).toMatchObject({ result: 'unproven', reason: expect.stringContaining('late-1') });
  const { version, securityCounter, imageHash } = unit.firmware;
  const said = { cid: 1, version, securityCounter, imageHash: fromHex(imageHash), bootCount: 1, imageState: 'confirmed' } as const;
  await client.publish('hello', encodeAs(helloMessage, { ...said, objId: fromHex(unit.objId) }), { uid: unit.uid });
  await eventually(() => errors.includes(unit.uid));
  const { alarms } = await http.json<{ alarms: { code: string; subject: string }[] }>('GET', '/v1/alarms?limit=500');
  expect(alarms.filter(({ code, subject }) => code === 'FOREIGN_DEVICE' && subject === 'late-1')).toEqual([]);
  await client.close();
});

it('says why the server does not accept its certificate, and what to do', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'nusec-left-'));
  await http.json('POST', '/v1/gateways', { id: 'left-1' });
  await enrol(folder, 'left-1', server.rootPem, http);
  await http.json('POST', '/v1/gateways/left-1/suspend', { reason: 'moved to another hall' });
  const told: { event: string; text?: string }[] = [];
  const where = { server: server.url, mqtt: { host: '127.0.0.1', port: server.mqttPort }, servername: 'localhost' };
  const left = await startAgent({ dataDir: folder, gatewayId: 'left-1', ...where, devices: new Map(), tell: event => told.push(event) });
  await eventually(() => told.some(({ event }) => event === 'refused'));
  expect(told.find(({ event }) => event === 'refused')?.text).toContain(folder);
  await left.close();
  rmSync(folder, { recursive: true });
});
