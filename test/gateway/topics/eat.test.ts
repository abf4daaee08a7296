import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type Agent, startAgent } from '../../../gateway-device/agent/agent.ts';
import { enrol } from '../../../gateway-device/agent/identity.ts';
import { tokenSource } from '../../../gateway-device/chip/attestationToken.ts';
import { createBoard } from '../../../gateway-device/chip/board.ts';
import { appStage } from '../../../gateway-device/device/appStage.ts';
import { type ByteServer, listenTcp } from '../../../gateway-device/link/byteLink.ts';
import type { HttpClient } from '../../../gateway-device/link/httpClient.ts';
import { serveMctp } from '../../../gateway-device/link/mctpLink.ts';
import { verifyAttestationProof } from '../../../src/evidence/attestationProof.ts';
import { fromPem } from '../../../src/pki/pem.ts';
import { covers } from '../../support/covers.ts';
import { startTestServer, type TestServer } from '../../support/server.ts';
import { eventually, people, seedFleet, show } from '../fieldKit.ts';
import { buildMcu, type Mcu, open, type RunningMcu, runMcu } from './virtualMcu.ts';

/** Devices that give PSA attestation tokens and no SPDM, with a real server: on their own connection (MQTT over TLS), and on the wire of a gateway agent. */

let server: TestServer;
let http: HttpClient;
let online: Mcu;
let wired: Mcu;
let running: RunningMcu;
let agent: Agent;
let wire: ByteServer;
const dataDir = mkdtempSync(join(tmpdir(), 'nusec-eat-'));

beforeAll(async () => {
  server = await startTestServer(async ctx => {
    await seedFleet(ctx, 0);
    [online, wired] = [await buildMcu(ctx), await buildMcu(ctx)];
  });
  http = people(server);
  await http.json('POST', '/v1/lines/meter/attestation', { evidence: 'psa-token' });
  running = await runMcu(server, online, { tokenFor: tokenSource });
  const board = createBoard({ chip: open(wired), stages: { app: appStage(undefined, tokenSource) } });
  await board.reset();
  wire = await listenTcp(0, link => serveMctp(link, board.receive));
  await http.json('POST', '/v1/gateways', { id: 'hall-9' });
  await http.json('POST', '/v1/gateways/hall-9/devices', { uid: wired.unit.uid });
  await enrol(dataDir, 'hall-9', server.rootPem, http);
  agent = await startAgent({
    dataDir,
    gatewayId: 'hall-9',
    server: server.url,
    mqtt: { host: '127.0.0.1', port: server.mqttPort },
    servername: 'localhost',
    devices: new Map([[wired.unit.uid, `127.0.0.1:${wire.port}`]]),
    tell: () => undefined,
  });
  await agent.connected();
});
afterAll(async () => {
  await agent.close();
  await running.stop();
  await wire.close();
  http.close();
  await server.close();
  rmSync(dataDir, { recursive: true, force: true });
});

const attest = ({ unit }: Mcu) => http.json<{ result: string }>('POST', `/v1/devices/${unit.uid}/attest`);
/** With the root certificate alone. */
async function provenOf({ unit }: Mcu) {
  const { attestations } = await http.json<{ attestations: { id: number }[] }>('GET', `/v1/devices/${unit.uid}/attestations`);
  const file = await http.bytes('GET', `/v1/devices/${unit.uid}/attestations/${attestations[0]?.id}`);
  return verifyAttestationProof(new TextDecoder().decode(file), { roots: fromPem('CERTIFICATE', server.rootPem) });
}

it('proves itself after its hello, and whenever it is asked, with a token (R84, R85)', async () => {
  covers('R84', 'R85');
  await eventually(async () => (await show(http, online.unit.uid)).attestation === 'passed');
  // It gets its operational certificate now, and connects once more.
  const again = await eventually(() => attest(online).catch(error => void expect(error).toMatchObject({ code: 'DEVICE_UNREACHABLE' })));
  expect(again).toMatchObject({ result: 'passed', via: 'mqtt', version: '1.0.0', token: { lifeCycle: 'secured' } });
  expect(await provenOf(online)).toMatchObject({ result: 'passed', token: { algorithm: 'ES256' } });
});

it('proves itself to the cloud through a gateway, which signs a verdict over the token (R84)', async () => {
  covers('R84');
  expect(await attest(wired)).toMatchObject({ result: 'passed', via: 'gateway', version: '1.0.0', token: { lifeCycle: 'secured' } });
  expect(await show(http, wired.unit.uid)).toMatchObject({ status: 'IN_SERVICE', attestation: 'passed', connected: false });
  expect(await provenOf(wired)).toMatchObject({ result: 'passed', certificates: [{ subject: expect.any(String) }, {}, {}] });
});

it('is unsupported on a line that asks for SPDM', async () => {
  await http.json('POST', '/v1/lines/meter/attestation', { evidence: 'spdm' });
  await expect(attest(wired)).rejects.toMatchObject({ code: 'DEVICE_UNREACHABLE' });
  await http.json('POST', '/v1/lines/meter/attestation', { evidence: 'psa-token' });
  expect(await attest(wired)).toMatchObject({ result: 'passed' });
});
