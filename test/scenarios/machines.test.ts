import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { startDouble } from '../eventstore/kurrentdb/double.ts';
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
import { startS3Double } from '../objects/s3Double.ts';
import { codeOf } from '../pki/support.ts';
import { type Command, startCommand } from '../support/command.ts';
import { covers } from '../support/covers.ts';
import { exchange } from '../support/http.ts';
import { limitOfProcesses } from '../support/limits.ts';
import { type Machine, twoMachines, whyNoNamespaces } from '../support/namespaces.ts';
import { makeProject, type TestServer } from '../support/server.ts';

/** Two machines, each a network namespace with a server and a data folder of its own. They share an event store and an object store (both doubles), and a
 *  network that can be cut. Everything is set up by the commands that an operator gives.
 *
 *  With KURRENTDB_URL (on this machine, without TLS) the event store is that server; with NUSEC_TEST_OBJECT_STORE and NUSEC_TEST_OBJECT_STORE_KEYS (test/objects/s3.test.ts) the object store is a real one on this machine. */

const why = whyNoNamespaces();
if (why !== undefined) console.log(`skipped: two machines: ${why}`);
const hasFaketime = ((): boolean => {
  try {
    execFileSync('faketime', ['--version'], { stdio: 'pipe' });
    return true;
  } catch {
    console.log('skipped: an hour between two clocks: Debian package faketime is not installed');
    return false;
  }
})();

const [storePort, objectPort] = [2113, 9000];
const realObjects = process.env.NUSEC_TEST_OBJECT_STORE;
const bucket = realObjects === undefined ? 'nusec' : (/^s3:\/\/([^/?]+)/.exec(realObjects)?.[1] ?? '');
/** Each run begins a project. */
const objectPlace = `s3://${bucket}/oem-${Date.now()}`;
const openObjects = (): Promise<{ port: number; credentials: string; close(): unknown }> =>
  realObjects === undefined
    ? startS3Double()
    : Promise.resolve({
        port: Number(/endpoint=http:\/\/127\.0\.0\.1:(\d+)/.exec(realObjects)?.[1]),
        credentials: process.env.NUSEC_TEST_OBJECT_STORE_KEYS ?? '',
        close: () => undefined,
      });
const stores = (storePort: number, objectPort: number) => ({
  KURRENTDB_URL: `kurrentdb://127.0.0.1:${storePort}?tls=false`,
  NUSEC_OBJECT_STORE: `${objectPlace}?endpoint=http://127.0.0.1:${objectPort}`,
});
const realLog = process.env.KURRENTDB_URL;
// The project begins on one machine, in a folder.
delete process.env.KURRENTDB_URL;
const openLog = (): Promise<{ url: string; close(): unknown }> =>
  realLog === undefined ? startDouble() : Promise.resolve({ url: realLog, close: () => undefined });
const hourSeconds = 3600;
/** Each test takes units of its own. */
const fleetUnits = 32;
/** The disk of the second machine. */
const secondDiskMiB = 96;
/** The leader of before is replaced within five seconds; twice that on a machine that is at its limits is no failure of ours. */
const handOverMs = 60_000;

type Site = TestServer & { readonly machine: Machine; readonly command: () => Command; start(wrapper?: readonly string[]): Promise<void> };

let fleet: Fleet;
let a: Site;
let b: Site;
let between: (state: 'up' | 'down') => void;
const closers: (() => unknown)[] = [];
/** For commands that are given outside of the machines. */
let toolsEnv: NodeJS.ProcessEnv = {};
let used = 0;
function nextUnit(): Unit {
  const unit = fleet.units[used++];
  if (unit === undefined) throw new Error(`the fleet has ${fleetUnits} units; the tests need more`);
  return unit;
}

async function run(args: readonly string[], env: NodeJS.ProcessEnv): Promise<void> {
  const { status, err } = await startCommand([...args, '--json'], { NUSEC_LOG_LEVEL: 'silent', ...env }).ended();
  if (status !== 0) throw new Error(`nusec ${args.join(' ')}: ${err}`);
}

async function siteOn(
  machine: Machine,
  project: Awaited<ReturnType<typeof makeProject>>,
  dataDir: string,
  env: NodeJS.ProcessEnv,
): Promise<Site> {
  const [httpsPort, mqttPort, crlPort] = [await machine.reach(8443), await machine.reach(8883), await machine.reach(8080)];
  const args = ['server', '--data', dataDir, '--host', machine.host, '--link-host', machine.linkHost, '--json'];
  let command: Command | undefined;
  const start = async (wrapper: readonly string[] = []): Promise<void> => {
    command = startCommand([...args, '--json'], { NUSEC_LOG_LEVEL: 'silent', ...env }, [...machine.wrapper, ...wrapper]);
    await command.ready;
  };
  await start();
  const end = (): Promise<unknown> => {
    command?.kill('SIGKILL');
    return command?.ended() ?? Promise.resolve();
  };
  closers.push(end);
  const ports = { httpsPort, mqttPort, crlPort, url: `https://localhost:${httpsPort}` };
  return { ...project, ...ports, dataDir, machine, start, command: () => command as Command, close: async () => void (await end()) };
}

beforeAll(async () => {
  if (why !== undefined) return;
  const folder = mkdtempSync(join(tmpdir(), 'nusec-machines-'));
  closers.push(() => rmSync(folder, { recursive: true, force: true }));
  const [log, objects] = [await openLog(), await openObjects()];
  closers.push(log.close, objects.close);
  const machines = await twoMachines(close => closers.push(close));
  between = machines.setBetween;
  const logPort = Number(new URL(log.url.replace('kurrentdb', 'http')).port);
  for (const machine of [machines.a, machines.b]) await machine.forward({ [storePort]: logPort, [objectPort]: objects.port });
  const project = await makeProject(async ctx => {
    fleet = await seedFleet(ctx, fleetUnits);
  });
  closers.push(project.remove);
  const keys = join(folder, 'keys');
  writeFileSync(keys, objects.credentials, { mode: 0o600 });
  const shared = { NUSEC_OBJECT_STORE_CREDENTIALS_FILE: keys, NUSEC_STATE_DIR: join(folder, 'state') };
  toolsEnv = { ...shared, ...stores(logPort, objects.port) };
  await run(['log', 'move', '--data', project.dataDir], toolsEnv);
  const keyFile = join(folder, 'keystore.key');
  copyFileSync(join(project.dataDir, 'keystore.key'), keyFile);
  const second = join(folder, 'second');
  mkdirSync(second, { mode: 0o700 });
  execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${secondDiskMiB}m,mode=700`, 'nusec-machines', second]);
  closers.push(() => execFileSync('umount', ['-l', second]));
  await run(['join', '--data', second, '--key-file', keyFile], {
    ...shared,
    ...stores(logPort, objects.port),
    NUSEC_STATE_DIR: join(folder, 'state-b'),
  });
  const env = { ...shared, ...stores(storePort, objectPort) };
  a = await siteOn(machines.a, project, project.dataDir, env);
  b = await siteOn(machines.b, project, second, { ...env, NUSEC_STATE_DIR: join(folder, 'state-b') });
}, limitOfProcesses(6));
afterAll(async () => {
  for (const close of closers.toReversed()) await Promise.resolve(close()).catch?.(() => undefined);
}, limitOfProcesses(2));

const person = (site: Site, token = site.alice) => {
  const http = people(site, token);
  onTestFinished(() => http.close());
  return http;
};

async function online(site: Site, unit: Unit): Promise<FieldDevice> {
  const device = await connectDevice(site, unit);
  onTestFinished(() => device.close());
  await device.hello();
  await eventually(async () => (await typesOf(person(site), unit.uid)).includes('AttestationPassed'));
  return device;
}

const isKnown = (site: Site, unit: Unit) => async () => (await show(person(site), unit.uid)).connected === true;
const attest = (site: Site, unit: Unit) => person(site).json('POST', `/v1/devices/${unit.uid}/attest`, {});
/** Each machine has its own person: one alone may not take so many out of service in a day. */
const decommission = (site: Site, unit: Unit) =>
  person(site, site === a ? site.alice : site.bob).json('POST', `/v1/devices/${unit.uid}/decommission`, { reason: 'sold' });
const count = async (site: Site, unit: Unit, type: string): Promise<number> =>
  (await typesOf(person(site), unit.uid)).filter(each => each === type).length;
/** Tries a command until it is taken: a person who got no answer asks again. */
const insist = (work: () => Promise<unknown>) =>
  eventually(() =>
    work().then(
      () => true,
      () => false,
    ),
  );

/** An order reaches a device at the other machine, in either direction; nothing is done twice. */
async function ordersCross(): Promise<void> {
  for (const [home, other] of [
    [a, b],
    [b, a],
  ] as const) {
    const unit = nextUnit();
    const device = await online(home, unit);
    await eventually(isKnown(other, unit));
    expect(await attest(other, unit)).toMatchObject({ result: 'passed', via: 'mqtt' });
    expect(await decommission(other, unit)).toMatchObject({ status: 'DECOMMISSIONED', receipt: 'received' });
    expect(device.orders).toHaveLength(1);
  }
}

async function revocationReaches(from: Site, at: Site): Promise<number> {
  const unit = nextUnit();
  const device = await online(at, unit);
  const startMs = performance.now();
  const revoked = person(from).json('POST', `/v1/devices/${unit.uid}/revoke`, { reason: 'keyCompromise' });
  await eventually(() => !device.client.isConnected());
  const tookMs = performance.now() - startMs;
  await revoked;
  expect(await show(person(at), unit.uid)).toMatchObject({ status: 'REVOKED' });
  return tookMs;
}

let lines = 0;
/** Only who leads signs checkpoints: one over the newest event shows that somebody leads. */
async function someoneLeads(site: Site): Promise<number> {
  const startMs = performance.now();
  lines += 1;
  await insist(() => person(site).json('POST', '/v1/lines', { line: `line-${lines}` }));
  const headers = { Authorization: `Bearer ${site.alice}` };
  await eventually(async () => (await exchange(`${site.url}/v1/log/checkpoint`, { ca: site.rootPem, headers })).status === 200);
  return performance.now() - startMs;
}

const say = (what: string, ms: number): void => console.log(`${what}: ${Math.round(ms)} ms`);

describe.skipIf(why !== undefined)('two machines', () => {
  it('work for each other: attestation, orders with a receipt, and revocation at the other machine (T23)', async () => {
    covers('T23');
    await ordersCross();
    say('a revocation at the other machine', await revocationReaches(a, b));
    say('and in the other direction', await revocationReaches(b, a));
  });

  it('share people, boot keys and images: what one makes the other uses', async () => {
    await person(b).json('POST', '/v1/operators', { name: 'carol', roles: ['auditor'] });
    for (const site of [a, b]) {
      const { operators } = (await person(site).json('GET', '/v1/operators')) as { operators: { name: string }[] };
      expect(operators.map(({ name }) => name)).toEqual(expect.arrayContaining(['alice', 'bob', 'carol']));
    }
  });

  it('show the same attestations, with the same evidence, and repeat an answer that the other gave', async () => {
    const unit = nextUnit();
    await online(a, unit);
    await attest(a, unit);
    type Rows = { attestations: { id: number; evidenceSha256: string }[] };
    const rows = async (site: Site) => ((await person(site).json('GET', `/v1/devices/${unit.uid}/attestations`)) as Rows).attestations;
    const known = await rows(a);
    expect(known.length).toBeGreaterThan(1);
    await eventually(async () => (await rows(b)).length === known.length);
    expect(await rows(b)).toEqual(known);
    const [newest] = known;
    const proofs = [a, b].map(site => person(site).json('GET', `/v1/devices/${unit.uid}/attestations/${newest?.id}`));
    const [one, two] = await Promise.all(proofs);
    expect(two).toEqual(one);
    const headers = { Authorization: `Bearer ${a.alice}`, 'Content-Type': 'application/json', 'Idempotency-Key': 'between-machines' };
    const ask = (site: Site, line: string) =>
      exchange(`${site.url}/v1/lines`, { ca: site.rootPem, headers, body: JSON.stringify({ line }) });
    const [made, again, other] = [await ask(a, 'of-two'), await ask(b, 'of-two'), await ask(b, 'another')];
    expect([made.status < 300, again.status, again.headers['idempotent-replay']]).toEqual([true, made.status, 'true']);
    expect(again.json).toEqual(made.json);
    expect(other.json).toMatchObject({ code: 'IDEMPOTENCY_KEY_REUSED' });
  });

  it('go on alone when the network between them is cut, revocation reaches both, and they find each other again', async () => {
    const unit = nextUnit();
    const device = await online(a, unit);
    await eventually(isKnown(b, unit));
    between('down');
    await eventually(async () => !(await isKnown(b, unit)()));
    expect(await codeOf(() => attest(b, unit))).toBe('DEVICE_UNREACHABLE');
    expect(await attest(a, unit)).toMatchObject({ result: 'passed' });
    say('a revocation while the network is cut', await revocationReaches(a, b));
    between('up');
    await eventually(isKnown(b, unit));
    expect(await decommission(b, unit)).toMatchObject({ receipt: 'received' });
    expect(device.orders).toHaveLength(1);
  });

  it.each([
    ['the first', () => [a, b] as const],
    ['the second', () => [b, a] as const],
  ])(
    'lose nothing and do nothing twice when %s is killed; the other leads',
    async (_, sites) => {
      const [killed, left] = sites();
      // One person may quarantine ten devices in a day.
      const units = Array.from({ length: 3 }, nextUnit);
      const quarantine = (site: Site, unit: Unit) =>
        person(site).json('POST', `/v1/devices/${unit.uid}/quarantine`, { reason: 'a test of two machines' });
      const working = units.map((unit, i) =>
        quarantine(i % 2 === 0 ? killed : left, unit).catch(() => insist(() => quarantine(left, unit))),
      );
      killed.command().kill('SIGKILL');
      say('the other leads after', await someoneLeads(left));
      await Promise.all(working);
      for (const unit of units) expect(await count(left, unit, 'DeviceQuarantined')).toBe(1);
      // Nobody rotates keys behind the back of a server that runs.
      await expect(run(['keystore', 'rotate', '--data', a.dataDir], toolsEnv)).rejects.toThrow(/KEYSTORE_LOCKED/);
      await killed.start();
      for (const unit of units) expect(await show(person(killed), unit.uid)).toMatchObject({ status: 'QUARANTINED' });
      await ordersCross();
    },
    handOverMs * 5,
  );

  it(
    'have one leader when it is paused and wakes up',
    async () => {
      a.command().kill('SIGSTOP');
      say('the other leads after', await someoneLeads(b));
      const unit = nextUnit();
      await person(b).json('POST', `/v1/devices/${unit.uid}/quarantine`, { reason: 'while the other sleeps' });
      a.command().kill('SIGCONT');
      await eventually(async () => (await show(person(a), unit.uid)).status === 'QUARANTINED');
      await ordersCross();
    },
    handOverMs * 5,
  );

  it(
    'a leader that is cut off from the event store is replaced, answers nothing that is old, and is back by itself',
    async () => {
      b.machine.setTrunk('down');
      say('the other leads after', await someoneLeads(a));
      const unit = nextUnit();
      await insist(() => person(a).json('POST', `/v1/devices/${unit.uid}/quarantine`, { reason: 'while the other is away' }));
      b.machine.setTrunk('up');
      await insist(async () => {
        const { status } = await show(person(b), unit.uid);
        if (status !== 'QUARANTINED') throw new Error('not yet');
      });
      expect(await count(b, unit, 'DeviceQuarantined')).toBe(1);
      await ordersCross();
    },
    handOverMs * 5,
  );

  it(
    'a machine whose disk is full says so and loses nothing; the other works, and with room again it is back by itself',
    async () => {
      const filler = join(b.dataDir, 'filler');
      expect(() => writeFileSync(filler, Buffer.alloc(secondDiskMiB * 1024 * 1024))).toThrow('ENOSPC');
      const unit = nextUnit();
      const refused = await codeOf(() => person(b).json('POST', '/v1/lines', { line: 'no-room' }));
      await insist(() => person(a).json('POST', `/v1/devices/${unit.uid}/quarantine`, { reason: 'while the disk of the other is full' }));
      rmSync(filler);
      await insist(async () => {
        const { status } = await show(person(b), unit.uid);
        if (status !== 'QUARANTINED') throw new Error('not yet');
      });
      expect(['STORE_FULL', 'STORE_UNAVAILABLE']).toContain(refused);
      await insist(() => person(b).json('POST', '/v1/lines', { line: 'room-again' }));
      expect(await count(b, unit, 'DeviceQuarantined')).toBe(1);
      await ordersCross();
    },
    handOverMs * 5,
  );

  it.skipIf(!hasFaketime)(
    'do not mind an hour between their clocks',
    async () => {
      b.command().kill('SIGTERM');
      await b.command().ended();
      // `faketime` itself would stand between: a signal to it does not reach the server.
      const library = execFileSync('faketime', ['-f', '+0', 'printenv', 'LD_PRELOAD'], { encoding: 'utf8' }).trim();
      await b.start(['env', 'FAKETIME_DONT_FAKE_MONOTONIC=1', `FAKETIME=+${hourSeconds}s`, `LD_PRELOAD=${library}`]);
      const unit = nextUnit();
      const device = await online(a, unit);
      await eventually(isKnown(b, unit));
      expect(await attest(b, unit)).toMatchObject({ result: 'passed' });
      await device.close();
      say('a revocation over an hour', await revocationReaches(a, b));
      a.command().kill('SIGKILL');
      say('the one an hour ahead leads after', await someoneLeads(b));
      await a.start();
      b.command().kill('SIGSTOP');
      say('the one an hour behind leads after', await someoneLeads(a));
      b.command().kill('SIGCONT');
      await ordersCross();
    },
    handOverMs * 5,
  );
});
