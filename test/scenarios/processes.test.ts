import { connect, type TLSSocket } from 'node:tls';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { maxWrongTokens } from '../../src/api/wrongTokens.ts';
import { parseCertificate } from '../../src/pki/parse.ts';
import { toPem } from '../../src/pki/pem.ts';
import { connectPacket, pingPacket, Wire } from '../gateway/broker/wire.ts';
import {
  connectDevice,
  eventually,
  type FieldDevice,
  type Fleet,
  people,
  seedFleet,
  show,
  typesOf,
  type Unit,
} from '../gateway/fieldKit.ts';
import { readCrl } from '../pki/readCrl.ts';
import { codeOf } from '../pki/support.ts';
import { covers } from '../support/covers.ts';
import { exchange } from '../support/http.ts';
import { ocspStatus } from '../support/openssl.ts';
import { type ServerProcess, startServerProcesses } from '../support/server.ts';

/** Three server processes at one data folder: each takes connections and commands, none is the only one. */

let fleet: Fleet;
let group: Awaited<ReturnType<typeof startServerProcesses>>;
let servers: readonly [ServerProcess, ServerProcess, ServerProcess];
let used = 0;
const nextUnit = (): Unit => fleet.units[used++] as Unit;

beforeAll(async () => {
  group = await startServerProcesses(3, async ctx => {
    fleet = await seedFleet(ctx, 16);
  });
  servers = group.first as unknown as typeof servers;
});
afterAll(() => group?.close());

const person = (server: ServerProcess) => {
  const http = people(server);
  onTestFinished(() => http.close());
  return http;
};

async function online(server: ServerProcess, unit: Unit): Promise<FieldDevice> {
  const device = await connectDevice(server, unit);
  onTestFinished(() => device.close());
  await device.hello();
  await eventually(async () => (await typesOf(person(server), unit.uid)).includes('AttestationPassed'));
  return device;
}

const credentialsOf = (unit: Unit) => ({
  key: unit.key.privateKey.export({ format: 'pem', type: 'pkcs8' }) as string,
  cert: toPem('CERTIFICATE', unit.certificate) + toPem('CERTIFICATE', unit.ica),
});

/** A new connection with the device's certificate. */
const refusalOf = (server: ServerProcess, unit: Unit) =>
  exchange(`${server.url}/.well-known/est/ldevid/simpleenroll`, { ca: server.rootPem, ...credentialsOf(unit), body: '' });

/** A live HTTPS connection with the device's certificate. @returns its end */
async function liveHttps(server: ServerProcess, unit: Unit): Promise<{ readonly ended: Promise<void> }> {
  const where = { port: server.httpsPort, host: '127.0.0.1', servername: 'localhost' };
  const socket: TLSSocket = connect({ ...where, ca: server.rootPem, ...credentialsOf(unit) });
  onTestFinished(() => void socket.destroy());
  const ended = new Promise<void>(resolve => socket.once('close', () => resolve()));
  socket.on('error', () => {});
  await new Promise((resolve, reject) => socket.once('secureConnect', resolve).once('error', reject));
  const answered = new Promise(resolve => socket.once('data', resolve));
  socket.write('GET /v1/trust-bundle HTTP/1.1\r\nHost: localhost\r\n\r\n');
  await answered;
  return { ended };
}

const listed = async (server: ServerProcess, unit: Unit): Promise<boolean> => {
  const response = await fetch(`http://127.0.0.1:${server.crlPort}/crl/device-meter-1.crl`);
  const { entries } = readCrl(new Uint8Array(await response.arrayBuffer()), parseCertificate(unit.ica), Date.now());
  return entries.some(({ serialHex }) => serialHex === parseCertificate(unit.certificate).serialHex);
};

describe('a revocation', () => {
  it('ends MQTT and HTTPS connections in every process, and is in the CRL and OCSP of each (T23, R86)', async () => {
    covers('T23', 'R86');
    const [one, two, three] = servers;
    for (const [home, commanded] of [
      [two, one],
      [three, two],
      [one, three],
    ] as const) {
      const unit = nextUnit();
      const device = await online(home, unit);
      const live = await Promise.all(servers.map(server => liveHttps(server, unit)));
      const others = await liveHttps(home, nextUnit());
      let othersEnded = false;
      void others.ended.then(() => {
        othersEnded = true;
      });
      const revoked = person(commanded).json('POST', `/v1/devices/${unit.uid}/revoke`, { reason: 'keyCompromise' });
      await eventually(() => !device.client.isConnected());
      await Promise.all(live.map(({ ended }) => ended));
      await revoked;
      for (const server of servers) {
        expect(await ocspStatus(server.crlPort, unit)).toMatch(/revoked[\s\S]*Reason: keyCompromise/);
        expect(await listed(server, unit)).toBe(true);
        expect(await refusalOf(server, unit)).toMatchObject({ status: 403, json: { code: 'CERTIFICATE_REVOKED' } });
      }
      expect(othersEnded).toBe(false);
    }
  });
});

describe('a device', () => {
  it('is attested and decommissioned by whatever process is asked', async () => {
    const [one, two, three] = servers;
    const unit = nextUnit();
    const device = await online(two, unit);
    for (const server of servers) {
      expect(await show(person(server), unit.uid)).toMatchObject({ connected: true });
      expect(await person(server).json('POST', `/v1/devices/${unit.uid}/attest`, {})).toMatchObject({ result: 'passed', via: 'mqtt' });
    }
    const done = await person(three).json('POST', `/v1/devices/${unit.uid}/decommission`, { reason: 'sold' });
    expect(done).toMatchObject({ status: 'DECOMMISSIONED', receipt: 'received' });
    expect(device.orders).toHaveLength(1);
    expect(await codeOf(() => person(one).json('POST', `/v1/devices/${unit.uid}/attest`, {}))).toBe('DEVICE_STATE');
  });

  it('that connects to another process leaves the first', async () => {
    const [one, two] = servers;
    const unit = nextUnit();
    const before = await online(one, unit);
    const after = await connectDevice(two, unit);
    onTestFinished(() => after.close());
    await eventually(() => !before.client.isConnected());
    await before.close();
    await eventually(() => after.client.isConnected());
  });
});

/** MQTT by hand. @returns the return code of its CONNACK */
async function mqttOf(server: ServerProcess, unit: Unit, session?: Buffer) {
  const where = { port: server.mqttPort, host: '127.0.0.1', servername: 'localhost' };
  const socket: TLSSocket = connect({ ...where, ca: server.rootPem, ...credentialsOf(unit), ...(session && { session }) });
  onTestFinished(() => void socket.destroy());
  const ticket = new Promise<Buffer>(resolve => socket.once('session', resolve));
  await new Promise((resolve, reject) => socket.once('secureConnect', resolve).once('error', reject));
  const wire = new Wire(socket);
  wire.send(connectPacket(unit.uid));
  const code = (await wire.next(2)).body[1];
  return { wire, code, ticket, isResumed: socket.isSessionReused() };
}

const alarmsOf = async (server: ServerProcess, code: string): Promise<readonly { subject: string }[]> => {
  const { alarms } = (await person(server).json('GET', '/v1/alarms?limit=500')) as { alarms: { code: string; subject: string }[] };
  return alarms.filter(alarm => alarm.code === code);
};

describe('one identity at two processes', () => {
  it('at the same time: exactly one of the two connections stays', async () => {
    const [one, two] = servers;
    for (let round = 0; round < 3; round += 1) {
      const unit = nextUnit();
      const both = await Promise.all([mqttOf(one, unit), mqttOf(two, unit)]);
      await Promise.race(both.map(({ wire }) => wire.closed));
      const [left, ...others] = both.filter(({ wire }) => !wire.socket.destroyed);
      expect(others).toEqual([]);
      left?.wire.send(pingPacket);
      await left?.wire.next(13);
      // Long enough for what the processes tell each other.
      await new Promise(resolve => setTimeout(resolve, 100));
      expect(left?.wire.socket.destroyed).toBe(false);
      left?.wire.destroy();
    }
  });

  it('in turn: a clone raises an alarm, wherever each of the two connects', async () => {
    const [one, two] = servers;
    const unit = nextUnit();
    for (let round = 0; round < 4; round += 1) for (const server of [one, two]) expect((await mqttOf(server, unit)).code).toBe(0);
    await eventually(async () => (await alarmsOf(one, 'DUPLICATE_IDENTITY')).some(({ subject }) => subject === unit.uid));
  });

  it('has one bucket of connects at all of them', async () => {
    const unit = nextUnit();
    const codes: (number | undefined)[] = [];
    for (let count = 0; count < 30; count += 1) codes.push((await mqttOf(servers[count % 3] as ServerProcess, unit)).code);
    const unavailable = 3;
    expect(codes.at(-1)).toBe(unavailable);
    // What the processes tell each other is on its way for a moment.
    expect(codes.filter(code => code === 0).length).toBeLessThanOrEqual(24);
  });
});

describe('a TLS session', () => {
  it('resumes at another process, and with another listener it does not', async () => {
    const [one, two] = servers;
    const unit = nextUnit();
    const first = await mqttOf(one, unit);
    const ticket = await first.ticket;
    const second = await mqttOf(two, unit, ticket);
    expect({ code: second.code, isResumed: second.isResumed }).toEqual({ code: 0, isResumed: true });
    const https = connect({ port: two.httpsPort, host: '127.0.0.1', servername: 'localhost', ca: two.rootPem, session: ticket });
    onTestFinished(() => void https.destroy());
    await new Promise((resolve, reject) => https.once('secureConnect', resolve).once('error', reject));
    expect(https.isSessionReused()).toBe(false);
  });
});

describe('wrong tokens', () => {
  it('are counted by all processes together (T17)', async () => {
    covers('T17');
    const codeAt = async (server: ServerProcess) =>
      (await exchange(`${server.url}/v1/operators/me`, { ca: server.rootPem, headers: { Authorization: 'Bearer wrong' } })).json.code;
    for (let count = 0; count < maxWrongTokens; count += 1) expect(await codeAt(servers[count % 2 === 0 ? 0 : 1])).toBe('UNAUTHENTICATED');
    // The third has seen none itself; what the others have told it is on its way.
    await eventually(async () => (await codeAt(servers[2])) === 'RATE_LIMITED');
    const { alarms } = (await person(servers[0]).json('GET', '/v1/alarms?limit=500')) as { alarms: { code: string }[] };
    expect(alarms.map(({ code }) => code)).toContain('WRONG_TOKENS');
  });
});

describe('the process that leads', () => {
  it('is followed by another when it is killed: lists are signed, and what it had taken is there', async () => {
    const [one, two, three] = servers;
    const unit = nextUnit();
    await online(two, unit);
    const proposal = await person(one).json<{ id: string }>('POST', '/v1/bulk-revocations', {
      selection: { uids: [unit.uid, nextUnit().uid] },
      reason: 'superseded',
      note: 'test',
    });
    await one.kill();
    const http = person(three);
    await people({ ...three, alice: three.bob }).json('POST', `/v1/bulk-revocations/${proposal.id}/approve`, {});
    const isDone = async () => (await http.json<{ status: string }>('GET', `/v1/bulk-revocations/${proposal.id}`)).status === 'DONE';
    await eventually(isDone);
    await eventually(() => listed(two, unit));
    const again = await group.startOne();
    expect(await show(person(again), unit.uid)).toMatchObject({ status: 'REVOKED' });
  });
});
