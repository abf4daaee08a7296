import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { reservePorts } from '../scripts/demo/ports.ts';
import { fromHex } from '../src/bytes.ts';
import { encodeAs } from '../src/cbor/schema.ts';
import { sha256Hex } from '../src/digest.ts';
import { device, deviceStream } from '../src/domain/device.ts';
import { moduleBeside } from '../src/entry.ts';
import { helloMessage, spdmMessage } from '../src/mqttMessages.ts';
import { toPem } from '../src/pki/pem.ts';
import { type Context, execute } from '../src/services/base/context.ts';
import { openContext } from '../src/services/dataFolder/open.ts';
import { certifyOperational } from '../src/services/identity/operational.ts';
import { build, line, people, publish, seedFleet, type Unit } from '../test/gateway/fieldKit.ts';
import { startProxy } from '../test/gateway/haproxy.ts';
import { makeCsr, makeKey } from '../test/pki/support.ts';
import { type ServerProcess, startServerProcesses, testSettings } from '../test/support/server.ts';
import type { Answer, Device, Target, Work } from './parts/gatewayClient.ts';
import { bringWorkers } from './parts/gatewayLive.ts';
import { type Rival, startAedes, startMosquitto } from './parts/gatewayRivals.ts';
import { inTemporaryFolder, median, type Report } from './parts/measure.ts';
import { isInstalled } from './parts/rival.ts';

/** The MQTT gateway of a whole server process beside Mosquitto and stock Aedes, over mTLS with the same client certificates: the load comes from a
 *  process of its own. `NUSEC_BENCH_DEVICES=5000` measures more connections, `NUSEC_BENCH_PARTS=hello,storm` only these parts. */

const devices = Number(process.env.NUSEC_BENCH_DEVICES ?? 500);
/** In one round of connects that end again; memory and the storm are of all devices. */
const connects = Math.min(devices, 1_000);
const rounds = 3;
const parts = process.env.NUSEC_BENCH_PARTS?.split(',');
type Part = 'hello' | 'proxy' | 'connects' | 'open' | 'strangers' | 'storm' | 'live' | 'revocation' | 'processes';
const isAsked = (part: Part): boolean => parts === undefined || parts.includes(part);
const buildsAtOnce = 32;
const echoes = 400;
const fan = { clients: 50, each: 400 } as const;
/** From one address (deploy/haproxy.cfg). */
const mostBehindProxy = 2_000;
const crowd = { silent: 12_000, slow: 500, connects: 100 } as const;
/** `getconf CLK_TCK` of every Linux. */
const ticksPerSecond = 100;
const goalMs = { echoP50: 0.5, echoP99: 2, besideFrozen: 100, besideStrangers: 1_000, cut: 50, liveCut: 1_000, loopDelay: 60 };
const revocations = 20;
/** Half of them attest, half of them fetch firmware. */
const workerCount = 20;
const workerImageBytes = 300_000;
const workMs = 10_000;
/** Device fields in a hello. */
const cid = 1;

export function run(report: Report): Promise<void> {
  return inTemporaryFolder(async folder => {
    let fleet: BuiltFleet = { units: [], workers: [], releaseId: '' };
    // The same devices come again and again.
    process.env.NUSEC_EFFECTS_PER_DAY = '1000';
    // As the `nusec` command does.
    process.env.NODE_COMPILE_CACHE = join(folder, 'compiled');
    process.env.NUSEC_MQTT_LIMITS = JSON.stringify({ connectBurst: 100_000, takeoverBurst: 100_000 });
    process.env.NUSEC_MQTT_PROXY_FOLDER = folder;
    const group = await startServerProcesses(1, async ctx => {
      fleet = await buildFleet(ctx);
    });
    const { units } = fleet;
    const [server] = group.first as [ServerProcess];
    const clientCa = join(folder, 'clients.pem');
    writeFileSync(clientCa, server.rootPem);
    const file = join(folder, 'devices.json');
    writeFileSync(file, JSON.stringify(units.map(deviceOf)));
    const rivals = [await startMosquitto(folder, clientCa), await startAedes(folder, clientCa)];
    const load = startLoad();
    try {
      await load.ask({ do: 'load', file });
      const brokers: Broker[] = [{ name: 'nusec', target: targetOf(server), pid: server.pid }];
      for (const rival of rivals) if (rival !== undefined) brokers.push(rival);
      if (rivals[0] === undefined)
        report({ figure: 'beside mosquitto', notMeasured: 'Mosquitto is not installed (Debian package mosquitto)' });
      // Memory comes first, while nothing has been allocated before.
      if (isAsked('hello')) await measureHello(report, load, brokers[0] as Broker);
      if (isAsked('proxy')) await measureBehindProxy(report, load, server, folder);
      if (isAsked('connects')) await measureConnects(report, load, brokers);
      if (isAsked('open')) await measureOpen(report, load, brokers);
      if (isAsked('strangers')) await measureStrangers(report, load, server);
      const inService = isAsked('storm') || isAsked('live') ? await putInService(group, server, units) : server;
      const restarted = isAsked('storm') ? await measureStorm(report, load, group, inService, rivals[0]) : inService;
      if (isAsked('live')) await measureLive(report, load, restarted, fleet);
      if (isAsked('revocation')) await measureRevocation(report, load, restarted, units);
      if (isAsked('processes')) await measureTwoProcesses(report, load, file, restarted, await group.startOne());
    } finally {
      load.close();
      for (const rival of rivals) await rival?.close();
      await group.close();
    }
  });
}

type Broker = Pick<Rival, 'name' | 'target' | 'pid'>;
/** Workers have the certificate of their production, which a measured chain begins with. */
type BuiltFleet = { readonly units: readonly Unit[]; readonly workers: readonly Unit[]; readonly releaseId: string };
type Servers = Awaited<ReturnType<typeof startServerProcesses>>;
type Load = ReturnType<typeof startLoad>;

async function buildFleet(ctx: Context): Promise<BuiltFleet> {
  const { bl2, app } = await seedFleet(ctx, 0, { blockBytes: 16 * 1024 });
  const units: Unit[] = [];
  const builder = async (): Promise<void> => {
    while (units.length < devices) {
      const at = units.push(undefined as never) - 1;
      units[at] = await operational(ctx, await build(ctx, bl2, app));
    }
  };
  await Promise.all(Array.from({ length: buildsAtOnce }, builder));
  const { releaseId } = await publish(ctx, 'app', '2.0.0', 3, line, workerImageBytes);
  const workers: Unit[] = [];
  while (workers.length < workerCount) workers.push(await build(ctx, bl2, app));
  return { units, workers, releaseId };
}

/** As devices come in the field: with the certificate of their operation. */
async function operational(ctx: Context, unit: Unit): Promise<Unit> {
  const key = makeKey();
  const shown = { uid: unit.uid, certificateSha256: sha256Hex(unit.certificate) };
  const { certificate, ica } = await certifyOperational(ctx, shown, makeCsr(key, { commonName: unit.objId, serialNumber: unit.uid }));
  return { ...unit, key, certificate, ica };
}

const deviceOf = (unit: Unit): Device => ({
  uid: unit.uid,
  key: unit.key.privateKey.export({ format: 'pem', type: 'pkcs8' }) as string,
  cert: toPem('CERTIFICATE', unit.certificate) + toPem('CERTIFICATE', unit.ica),
  hello: Buffer.from(helloOf(unit)).toString('base64'),
});

const targetOf = ({ mqttPort: port, rootPem: ca }: ServerProcess): Target => ({ port, ca, servername: 'localhost' });

/** Full and resumed connects, each with CONNECT, CONNACK and DISCONNECT, and what they cost the broker. */
async function measureConnects(report: Report, load: Load, brokers: readonly Broker[]): Promise<void> {
  const rates = new Map<string, number[]>();
  const note = (name: string, value: number) => rates.set(name, [...(rates.get(name) ?? []), value]);
  for (let round = 0; round < rounds; round += 1) {
    for (const { name, target, pid } of brokers) {
      for (const resume of [false, true]) {
        const cpuBefore = cpuSeconds(pid);
        const { seconds, failed } = await load.ask({ do: 'connect', target, count: connects, keep: false, resume });
        if (failed > 0) throw new Error(`${name}: ${failed} connects failed`);
        note(`${resume ? 'resumed' : 'full'} ${name}`, connects / seconds);
        note(`${resume ? 'resumed' : 'full'} CPU ${name}`, ((cpuSeconds(pid) - cpuBefore) * 1000) / connects);
      }
    }
  }
  const of = (name: string): number => median(rates.get(name) ?? [Number.NaN]);
  for (const { name } of brokers.slice(1)) {
    for (const kind of ['full', 'resumed'] as const) {
      report({
        figure: `${kind} mTLS connects, ${name}`,
        value: of(`${kind} nusec`),
        unit: '1/s',
        bound: of(`${kind} ${name}`),
        boundWhat: name,
      });
      const cpu = { value: of(`${kind} CPU nusec`), unit: 'ms', bound: of(`${kind} CPU ${name}`) } as const;
      report({ figure: `processor time of a ${kind} connect, ${name}`, ...cpu, boundWhat: name });
    }
  }
}

/** Memory of connections, QoS 1 round trips, QoS 0 from many, and round trips beside clients that read nothing. */
async function measureOpen(report: Report, load: Load, brokers: readonly Broker[]): Promise<void> {
  const payload = Buffer.from(encodeAs(spdmMessage, { cid, data: new Uint8Array(16) })).toString('base64');
  const topic = 'n1/{uid}/up/spdm';
  const found = new Map<string, Record<'memory' | 'p50' | 'p99' | 'fanIn' | 'beside', number>>();
  for (const { name, target, pid } of brokers) {
    const before = residentKiB(pid);
    await load.ask({ do: 'connect', target, count: devices, keep: true, resume: false });
    const memory = (residentKiB(pid) - before) / devices;
    const { ms } = await load.ask({ do: 'echo', count: echoes, topic, payload });
    const { seconds } = await load.ask({ do: 'fanIn', ...fan, topic, payload });
    await load.ask({ do: 'freeze', topic });
    const beside = await load.ask({ do: 'echo', count: echoes, topic, payload });
    found.set(name, {
      memory,
      p50: percentile(ms, 50),
      p99: percentile(ms, 99),
      fanIn: (fan.clients * fan.each) / seconds,
      beside: percentile(beside.ms, 99),
    });
    await load.ask({ do: 'end' });
  }
  const ours = found.get('nusec');
  if (ours === undefined) return;
  for (const { name } of brokers.slice(1)) {
    const theirs = found.get(name) ?? ours;
    const rows = [
      ['memory of a connection', 'memory', 'KiB'],
      ['QoS 1 round trip, p50', 'p50', 'ms'],
      ['QoS 1 round trip, p99', 'p99', 'ms'],
      ['QoS 0 from 50 clients', 'fanIn', '1/s'],
      ['p99 beside five frozen clients', 'beside', 'ms'],
    ] as const;
    for (const [figure, key, unit] of rows)
      report({ figure: `${figure}, ${name}`, value: ours[key], unit, bound: theirs[key], boundWhat: name });
  }
  const goals = [
    ['QoS 1 round trip, p50', ours.p50, goalMs.echoP50],
    ['QoS 1 round trip, p99', ours.p99, goalMs.echoP99],
    ['p99 beside five frozen clients', ours.beside, goalMs.besideFrozen],
  ] as const;
  for (const [figure, value, bound] of goals) report({ figure: `${figure}, goal`, value, unit: 'ms', bound, boundWhat: 'the goal' });
}

/** A fleet in service has proven its state; the clients of the bench do not answer who asks for it. */
async function putInService({ dataDir, startOne }: Servers, server: ServerProcess, units: readonly Unit[]): Promise<ServerProcess> {
  await server.close();
  const { ctx, close } = await openContext(testSettings(dataDir), { https: 0, crl: 0 });
  const facts = { passed: true, evidenceSha256: 'e2', measurementSha256: 'm1', via: 'mqtt' } as const;
  const waiting = [...units];
  const recorder = async (): Promise<void> => {
    for (let unit = waiting.pop(); unit !== undefined; unit = waiting.pop())
      await execute(ctx, device, deviceStream(unit.uid), { type: 'RecordAttestation', ...facts }, 'system:attestation');
  };
  await Promise.all(Array.from({ length: buildsAtOnce }, recorder));
  await close();
  return startOne();
}

/** Every client comes back after the broker was killed: ours with TLS tickets and a stored hello, Mosquitto without a hello. The processor time of a
 *  broker is counted from its ready line on, the time from the kill. */
async function measureStorm(
  report: Report,
  load: Load,
  group: Servers,
  server: ServerProcess,
  mosquitto: Rival | undefined,
): Promise<ServerProcess> {
  let restarted = server;
  const storm = async (target: Target, restart: () => Promise<Pick<Broker, 'target' | 'pid'>>, hello: boolean) => {
    await load.ask({ do: 'connect', target, count: devices, keep: true, resume: false, hello });
    const begin = performance.now();
    const { target: next, pid } = await restart();
    const startSeconds = (performance.now() - begin) / 1000;
    const cpuBefore = cpuSeconds(pid);
    await load.ask({ do: 'end' });
    const found = await load.ask({ do: 'connect', target: next, count: devices, keep: true, resume: true, hello });
    const loopDelayMs = hello ? await loopDelayOf(restarted) : Number.NaN;
    const seconds = (performance.now() - begin) / 1000;
    const cpuMs = ((cpuSeconds(pid) - cpuBefore) * 1000) / devices;
    await load.ask({ do: 'end' });
    return { seconds, startSeconds, cpuMs, loopDelayMs, clientCpuMs: (found.cpuSeconds * 1000) / devices, failed: found.failed };
  };
  const restartOurs = async () => {
    await restarted.kill();
    restarted = await group.startOne();
    return { target: targetOf(restarted), pid: restarted.pid };
  };
  const ours = await storm(targetOf(restarted), restartOurs, true);
  if (ours.failed > 0)
    report({ figure: 'lost in a storm after kill -9', value: ours.failed, unit: 'of all', bound: devices, boundWhat: 'all' });
  const figure = `all ${devices} back with a durable hello after kill -9, restart included`;
  if (mosquitto?.restart === undefined) {
    report({ figure, notMeasured: 'Mosquitto is not installed (Debian package mosquitto)' });
    return restarted;
  }
  const restartTheirs = async () => {
    await mosquitto.restart?.();
    return mosquitto;
  };
  const theirs = await storm(mosquitto.target, restartTheirs, false);
  const boundWhat = 'mosquitto, without a hello';
  const rows = [
    [figure, 'seconds', 's'],
    ['of it until the server is ready', 'startSeconds', 's'],
    ['processor time of the server for each device', 'cpuMs', 'ms CPU'],
    ['processor time of the clients for each device', 'clientCpuMs', 'ms CPU'],
  ] as const;
  for (const [name, key, unit] of rows) report({ figure: name, value: ours[key], unit, bound: theirs[key], boundWhat });
  const delay = { value: ours.loopDelayMs, unit: 'ms', bound: goalMs.loopDelay, boundWhat: 'the goal' } as const;
  report({ figure: 'delay of the event loop from the start to the end of the storm, p99', ...delay });
  return restarted;
}

/** All devices connected after their hello, while others prove their state, fetch firmware and are revoked. What the workers do without the others
 *  is the bound of what they do beside them. */
async function measureLive(report: Report, load: Load, server: ServerProcess, { units, workers, releaseId }: BuiltFleet): Promise<void> {
  const working = await bringWorkers(server, workers, releaseId);
  await working.work(workMs);
  const alone = await working.work(workMs);
  const before = residentKiB(server.pid);
  const { failed } = await load.ask({ do: 'connect', target: targetOf(server), count: devices, keep: true, resume: false, hello: true });
  const memory = (residentKiB(server.pid) - before) / devices;
  const revoked = units.slice(-2 * revocations, -revocations);
  const [beside, ms] = await Promise.all([working.work(workMs), revokeSome(load, server, revoked)]);
  const lost = failed + (await load.ask({ do: 'lost' })).failed - revoked.length;
  working.close();
  await load.ask({ do: 'end' });
  // A server that has had them in a storm before does not grow again.
  const isFresh = !isAsked('storm');
  if (isFresh)
    report({
      figure: `memory of a connection after hello, ${devices} of them`,
      value: memory,
      unit: 'KiB',
      bound: 80,
      boundWhat: 'the goal',
    });
  const boundWhat = 'without the others';
  const what = `beside ${devices} connections`;
  report({ figure: `attestations ${what}`, value: beside.attestations, unit: '1/s', bound: alone.attestations, boundWhat });
  report({ figure: `blocks of firmware ${what}`, value: beside.blocks, unit: '1/s', bound: alone.blocks, boundWhat });
  for (const p of [50, 99] as const)
    report({
      figure: `revocation to cut ${what}, p${p}`,
      value: percentile(ms, p),
      unit: 'ms',
      bound: goalMs.liveCut,
      boundWhat: 'the goal',
    });
  report({ figure: `of ${devices} connections stayed`, value: devices - lost, unit: 'of all', bound: devices, boundWhat: 'all' });
}

async function loopDelayOf(server: ServerProcess): Promise<number> {
  const http = people(server);
  const figures = new TextDecoder().decode(await http.bytes('GET', '/metrics'));
  http.close();
  return Number(/^nodejs_eventloop_lag_p99_seconds (\S+)$/m.exec(figures)?.[1]) * 1000;
}

/** From the request of an officer to the end of the connection, at the device. */
async function measureRevocation(report: Report, load: Load, server: ServerProcess, units: readonly Unit[]): Promise<void> {
  await load.ask({ do: 'connect', target: targetOf(server), count: devices, keep: true, resume: true });
  const ms = await revokeSome(load, server, units.slice(-revocations));
  await load.ask({ do: 'end' });
  for (const p of [50, 99] as const) {
    const figure = `revocation to cut, request and commit included, p${p}`;
    report({ figure, value: percentile(ms, p), unit: 'ms', bound: goalMs.cut, boundWhat: 'the goal' });
  }
}

async function revokeSome(load: Load, server: ServerProcess, units: readonly Unit[]): Promise<readonly number[]> {
  const http = people(server);
  // The handshake of the officer's client is not what is measured.
  await http.json('GET', '/v1/lines');
  const ms: number[] = [];
  for (const { uid } of units) {
    const ended = load.ask({ do: 'ended', uid });
    const begin = performance.timeOrigin + performance.now();
    await http.json('POST', `/v1/devices/${uid}/revoke`, { reason: 'keyCompromise' });
    ms.push(...(await ended).ms.map(at => at - begin));
  }
  http.close();
  return ms;
}

/** Two processes of one data folder beside one, under the same load of two clients. On few processors the clients take what the second process would
 *  need. A process can do no more than its main thread can, so there is a second figure: the rates at which one main thread and two are busy all the time. */
async function measureTwoProcesses(report: Report, load: Load, file: string, one: ServerProcess, two: ServerProcess): Promise<void> {
  const other = startLoad();
  const half = Math.floor(Math.min(devices - 2 * revocations, connects) / 2);
  try {
    await other.ask({ do: 'load', file });
    const measure = async (servers: readonly ServerProcess[], resume: boolean) => {
      const work = { do: 'connect', count: half, keep: false, resume } as const;
      const busyBefore = sum(servers.map(mainThreadSeconds));
      const all = await Promise.all(
        [load, other].map((clients, i) =>
          clients.ask({ ...work, target: targetOf(servers[i % servers.length] as ServerProcess), from: i * half }),
        ),
      );
      const busy = sum(servers.map(mainThreadSeconds)) - busyBefore;
      return { rate: (2 * half) / Math.max(...all.map(({ seconds }) => seconds)), busyRate: (servers.length * 2 * half) / busy };
    };
    for (const resume of [false, true]) {
      const alone: Awaited<ReturnType<typeof measure>>[] = [];
      const together: typeof alone = [];
      for (let round = 0; round < rounds; round += 1) {
        alone.push(await measure([one], resume));
        together.push(await measure([one, two], resume));
      }
      const figure = `${resume ? 'resumed' : 'full'} mTLS connects, two processes`;
      const row = (name: string, key: 'rate' | 'busyRate'): void =>
        report({
          figure: name,
          value: median(together.map(each => each[key])),
          unit: '1/s',
          bound: median(alone.map(each => each[key])),
          boundWhat: 'one process',
        });
      row(figure, 'rate');
      row(`${figure}, by time of their main threads`, 'busyRate');
    }
  } finally {
    other.close();
  }
}

function helloOf({ objId, firmware: { version, securityCounter, imageHash } }: Unit): Uint8Array {
  const facts = { version, securityCounter, imageHash: fromHex(imageHash) };
  return encodeAs(helloMessage, { cid, ...facts, bootCount: 1, imageState: 'confirmed', objId: fromHex(objId) });
}

/** TLS ends in HAProxy (deploy/haproxy.cfg), and the server has a Unix socket for each device. */
async function measureBehindProxy(report: Report, load: Load, server: ServerProcess, folder: string): Promise<void> {
  const figure = 'memory of a connection after hello, TLS in HAProxy';
  if (!isInstalled('haproxy', '-v')) return report({ figure, notMeasured: 'HAProxy is not installed (Debian package haproxy)' });
  const count = Math.min(devices, mostBehindProxy);
  const reserved = await reservePorts(1);
  const [port = 0] = reserved.ports;
  const proxy = await startProxy(folder, port);
  const before = residentKiB(server.pid);
  const { failed } = await load.ask({
    do: 'connect',
    target: { ...targetOf(server), port },
    count,
    keep: true,
    resume: false,
    hello: true,
  });
  if (failed > 0) throw new Error(`${failed} connects through HAProxy failed`);
  report({ figure, value: (residentKiB(server.pid) - before) / count, unit: 'KiB', bound: 40, boundWhat: 'the goal' });
  await load.ask({ do: 'end' });
  proxy.kill();
  await once(proxy, 'exit');
  reserved.close();
}

/** A hello is stored before its PUBACK. */
async function measureHello(report: Report, load: Load, { target, pid }: Broker): Promise<void> {
  const before = residentKiB(pid);
  const { seconds, ms, failed } = await load.ask({ do: 'connect', target, count: devices, keep: true, resume: false, hello: true });
  const memory = { value: (residentKiB(pid) - before) / devices, unit: 'KiB', bound: 80 } as const;
  const plain = await load.ask({ do: 'end' }).then(() => load.ask({ do: 'connect', target, count: devices, keep: true, resume: false }));
  const boundWhat = 'the same without a hello';
  report({ figure: 'connects with a durable hello', value: devices / seconds, unit: '1/s', bound: devices / plain.seconds, boundWhat });
  for (const p of [50, 99] as const)
    report({
      figure: `connect with a durable hello, p${p}`,
      value: percentile(ms, p),
      unit: 'ms',
      bound: percentile(plain.ms, p),
      boundWhat,
    });
  report({ figure: 'memory of a connection after hello', ...memory, boundWhat: 'the goal' });
  if (failed > 0)
    report({ figure: 'connects with a durable hello that failed', value: failed, unit: 'of all', bound: devices, boundWhat: 'all' });
  await load.ask({ do: 'end' });
}

/** Devices connect while thousands of strangers hold connections, from another network. */
async function measureStrangers(report: Report, load: Load, server: ServerProcess): Promise<void> {
  const attack = startLoad();
  try {
    await attack.ask({ do: 'strangers', port: server.mqttPort, silent: crowd.silent, slow: crowd.slow });
    const { ms } = await load.ask({
      do: 'connect',
      target: targetOf(server),
      count: Math.min(crowd.connects, devices),
      keep: false,
      resume: false,
    });
    const figure = `p99 of a connect beside ${crowd.silent} silent and ${crowd.slow} slow connections`;
    report({ figure, value: percentile(ms, 99), unit: 'ms', bound: goalMs.besideStrangers, boundWhat: 'the goal' });
  } finally {
    attack.close();
  }
}

function startLoad() {
  const child: ChildProcess = fork(moduleBeside(import.meta.url, 'parts/gatewayClient'));
  return {
    async ask(work: Work): Promise<Answer> {
      child.send(work);
      const [answer] = (await once(child, 'message')) as [Answer | { readonly error: string }];
      if ('error' in answer) throw new Error(`${work.do}: ${answer.error}`);
      return answer;
    },
    close: () => void child.kill('SIGKILL'),
  };
}

const residentKiB = (pid: number): number => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);

/** User and system time (proc(5): fields 14 and 15, counted behind the name in brackets). */
const cpuSeconds = (pid: number): number => secondsIn(`/proc/${pid}/stat`);
const mainThreadSeconds = ({ pid }: ServerProcess): number => secondsIn(`/proc/${pid}/task/${pid}/stat`);
const sum = (values: readonly number[]): number => values.reduce((all, value) => all + value, 0);

function secondsIn(file: string): number {
  const fields = readFileSync(file, 'utf8').split(') ')[1]?.split(' ') ?? [];
  return (Number(fields[11]) + Number(fields[12])) / ticksPerSecond;
}

const percentile = (values: readonly number[], percent: number): number =>
  values.toSorted((a, b) => a - b)[Math.min(values.length - 1, Math.floor((values.length * percent) / 100))] ?? Number.NaN;
