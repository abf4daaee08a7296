import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest';
import { connectMqtt } from '../../gateway-device/link/mqttClient.ts';
import { parseCertificate } from '../../src/pki/parse.ts';
import { toPem } from '../../src/pki/pem.ts';
import { connectDevice, eventually, type Fleet, people, seedFleet, show, typesOf, type Unit } from '../gateway/fieldKit.ts';
import { readCrl } from '../pki/readCrl.ts';
import { startCommand } from '../support/command.ts';
import { covers } from '../support/covers.ts';
import { exchange } from '../support/http.ts';
import { ocspStatus } from '../support/openssl.ts';
import { type ServerProcess, startServerProcesses } from '../support/server.ts';

/** Somebody puts yesterday's data folder back, as whole processes see it (T34). */

let fleet: Fleet;
let group: Awaited<ReturnType<typeof startServerProcesses>>;
let folder: string;
let dataDir: string;
const tokenFile = (name: string): string => join(folder, `${name}.token`);

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'nusec-restore-'));
  group = await startServerProcesses(1, async ctx => {
    fleet = await seedFleet(ctx, 3);
  });
  const [server] = group.first as [ServerProcess];
  dataDir = server.dataDir;
  writeFileSync(tokenFile('alice'), server.alice);
  writeFileSync(tokenFile('bob'), `${server.bob}\n`);
});
afterAll(async () => {
  await group?.close();
  rmSync(folder, { recursive: true });
});

const crlOf = async (server: ServerProcess, unit: Unit) => {
  const response = await fetch(`http://127.0.0.1:${server.crlPort}/crl/device-meter-1.crl`);
  return readCrl(new Uint8Array(await response.arrayBuffer()), parseCertificate(unit.ica), Date.now());
};
const serialOf = (unit: Unit): string => parseCertificate(unit.certificate).serialHex;
const bundleVersion = async (server: ServerProcess): Promise<number> => {
  const http = people(server);
  const { trustBundle } = await http.json<{ trustBundle: { version: number } }>('GET', '/v1/authority');
  http.close();
  return trustBundle.version;
};
const credentialsOf = (server: ServerProcess, unit: Unit) => ({
  ca: server.rootPem,
  key: unit.key.privateKey.export({ format: 'pem', type: 'pkcs8' }) as string,
  cert: toPem('CERTIFICATE', unit.certificate) + toPem('CERTIFICATE', unit.ica),
});
const refusalOf = (server: ServerProcess, unit: Unit) =>
  exchange(`${server.url}/.well-known/est/ldevid/simpleenroll`, { ...credentialsOf(server, unit), body: '' });

/** The broker refuses the device and raises its alarm. */
async function mqttRefuses(server: ServerProcess, unit: Unit): Promise<void> {
  const client = connectMqtt({
    host: '127.0.0.1',
    port: server.mqttPort,
    servername: 'localhost',
    identity: { kind: 'device', uid: unit.uid },
    tls: credentialsOf(server, unit),
  });
  onTestFinished(() => client.close());
  const http = people(server);
  onTestFinished(() => http.close());
  const alarms = async () => (await http.json<{ alarms: { code: string; subject: string }[] }>('GET', '/v1/alarms')).alarms;
  await eventually(async () => (await alarms()).some(({ code, subject }) => code === 'REVOKED_CONNECT' && subject === unit.uid));
  expect(client.isConnected()).toBe(false);
}

async function ask(server: ServerProcess, path: string, body: object): Promise<void> {
  const http = people(server);
  await http.json('POST', path, body);
  http.close();
}

/** What everybody sees of a device that is out of use. */
async function expectEnded(server: ServerProcess, unit: Unit, reason: string): Promise<void> {
  expect(await refusalOf(server, unit)).toMatchObject({ status: 403, json: { code: 'CERTIFICATE_REVOKED' } });
  await mqttRefuses(server, unit);
  expect((await crlOf(server, unit)).entries).toContainEqual(expect.objectContaining({ serialHex: serialOf(unit), reason }));
  expect(await ocspStatus(server.crlPort, unit)).toMatch(new RegExp(`revoked[\\s\\S]*Reason: ${reason}`));
}

const restore = (...args: string[]) => startCommand(['restore', '--data', dataDir, '--json', ...args]).ended();

it('is refused with what to do, and with two people serves without un-revoking anything (T34)', async () => {
  covers('T34', 'I16', 'I11');
  const [revoked, held, good] = fleet.units as [Unit, Unit, Unit];
  await group.first[0]?.close();
  cpSync(dataDir, join(folder, 'yesterday'), { recursive: true });

  const today = await group.startOne();
  await ask(today, `/v1/devices/${revoked.uid}/revoke`, { reason: 'keyCompromise' });
  await ask(today, `/v1/devices/${held.uid}/suspend`, { reason: 'lost' });
  await expectEnded(today, revoked, 'keyCompromise');
  const [{ number }, version] = [await crlOf(today, good), await bundleVersion(today)];
  await today.close();
  rmSync(dataDir, { recursive: true });
  cpSync(join(folder, 'yesterday'), dataDir, { recursive: true });

  const refused = await startCommand(['server', '--data', dataDir, '--json']).ended();
  expect(refused.status).toBe(1);
  const said = JSON.parse(refused.err.trim().split('\n').at(-1) ?? '');
  expect(said).toMatchObject({ error: 'STORE_OLDER', detail: expect.stringContaining('nusec restore --data') });

  const onePerson = ['--token-file', tokenFile('alice'), '--second-token-file', tokenFile('alice')];
  for (const [args, code] of [
    [[], 'STORE_OLDER'],
    [onePerson, 'FOUR_EYES_REQUIRED'],
  ] as const) {
    const end = await restore(...args);
    expect([end.status, end.err]).toEqual([1, expect.stringContaining(code)]);
  }
  expect((await startCommand(['server', '--data', dataDir, '--json']).ended()).err).toContain('STORE_OLDER');

  const accepted = await restore('--token-file', tokenFile('alice'), '--second-token-file', tokenFile('bob'));
  expect([accepted.status, accepted.err]).toEqual([0, '']);
  expect(JSON.parse(accepted.out)).toMatchObject({ by: ['alice', 'bob'], revokedAgain: 2 });

  const server = await group.startOne();
  await expectEnded(server, revoked, 'keyCompromise');
  await expectEnded(server, held, 'certificateHold');
  expect((await crlOf(server, good)).number).toBeGreaterThan(number);
  expect(await bundleVersion(server)).toBeGreaterThan(version);
  const http = people(server);
  onTestFinished(() => http.close());
  expect(await show(http, revoked.uid)).toMatchObject({ status: 'REVOKED' });
  const device = await connectDevice(server, good);
  onTestFinished(() => device.close());
  await device.hello();
  await eventually(async () => (await typesOf(http, good.uid)).includes('AttestationPassed'));
  await server.close();
  await (await group.startOne()).close();
});
