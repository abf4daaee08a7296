import { type ChildProcess, fork } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { connect } from 'node:tls';
import { fileURLToPath } from 'node:url';
import { toHex } from '../src/bytes.ts';
import { parseVersion } from '../src/domain/version.ts';
import { maxBlocksPerRequest } from '../src/ota/blockPlan.ts';
import { sealedFileBytes } from '../src/ota/blocks.ts';
import { blockCount, type OtaJob, verifyJob } from '../src/ota/otaJob.ts';
import { parseCertificate } from '../src/pki/parse.ts';
import { signingKeysOf, verifyTrustBundle } from '../src/production/trustBundle.ts';
import { approveRelease, publishRelease, uploadRelease } from '../src/services/firmware/releases.ts';
import { type Fleet, people, seedFleet, type Unit } from '../test/gateway/fieldKit.ts';
import { type ServerProcess, startServerProcesses } from '../test/support/server.ts';
import { connectLean, identityOf, type LeanDevice, secureSocket } from './parts/leanDevice.ts';
import { median, type Report } from './parts/measure.ts';
import type { RawSettings } from './parts/rawTlsServer.ts';

/** One release to many devices at once: over MQTT in sealed blocks and over HTTPS as one file, beside raw TLS with the same bytes to as many sockets in the
 *  same run. Each server is a process of its own, and all devices are in this one, where they count what comes and do nothing else: how fast it goes, and
 *  what CPU the server takes. And by how much the server grows for each delivery that is open. `NUSEC_BENCH_DEVICES`: how many; 20. */

const count = Number(process.env.NUSEC_BENCH_DEVICES ?? 20);
const imageBytes = 1000 * 1024;

type Online = { readonly device: LeanDevice; readonly job: OtaJob };
/** Milliseconds of CPU of the server, and MiB per second. */
type Cost = { readonly cpuMs: number; readonly rate: number };

/** Of the two lines: what a small chip holds at once, and what a large one does. */
const blockKib = [16, 64];
const rounds = 3;
const warmUps = 3;
/** So that what a delivery has is measured, and not how much the collector of V8 has let lie: by default it lets up to 48 MiB, however many devices there are. */
const smallYoungGeneration = '--max-semi-space-size=2';

export async function run(report: Report): Promise<void> {
  // What the whole costs is measured, not the share of a line that firmware gets.
  process.env.NUSEC_OTA_LIMITS = JSON.stringify({ deviceBytesPerSecond: 2 ** 32, totalBytesPerSecond: 2 ** 32 });
  for (const kib of blockKib) {
    await withServer(kib, (server, units, releaseId) => rates(report, kib, server, units, releaseId));
    process.env.NODE_OPTIONS = smallYoungGeneration;
    await withServer(kib, (server, units, releaseId) => memory(report, kib, server, units, releaseId));
    delete process.env.NODE_OPTIONS;
  }
}

type Work = (server: ServerProcess, units: readonly Unit[], releaseId: string) => Promise<void>;

async function withServer(kib: number, work: Work): Promise<void> {
  let fleet: Fleet | undefined;
  let releaseId = '';
  const group = await startServerProcesses(1, async ctx => {
    fleet = await seedFleet(ctx, count, { blockBytes: kib * 1024 });
    const wish = { line: 'meter', image: 'app', version: parseVersion('2.0.0'), counter: 3 } as const;
    ({ releaseId } = await uploadRelease(ctx, wish, new Uint8Array(randomBytes(imageBytes)), 'operator:rita'));
    await approveRelease(ctx, releaseId, 'operator:rolf');
    await publishRelease(ctx, releaseId, 'operator:rita');
  });
  try {
    await work(group.first[0] as ServerProcess, (fleet as Fleet).units, releaseId);
  } finally {
    await group.close();
  }
}

/** In turn, after rounds in which everything is compiled: a server that delivers has done so for a while. */
async function rates(report: Report, kib: number, ...[server, units, releaseId]: Parameters<Work>): Promise<void> {
  const devices = await bringOnline(server, units, releaseId);
  const [{ device, job }] = devices as readonly [Online];
  const settings = { ...identityOf(device.unit), totalBytes: job.imageBytes, blockBytes: job.blockBytes };
  const [raw, mutual] = [await startRaw(settings), await startRaw({ ...settings, ca: server.rootPem })];
  const ways = {
    raw: { pid: raw.pid, work: (one: Online) => overRaw(raw.port, one) },
    mutual: { pid: mutual.pid, work: (one: Online) => overRaw(mutual.port, one) },
    MQTT: { pid: server.pid, work: overMqtt },
    HTTPS: { pid: server.pid, work: (one: Online) => overHttps(server, one) },
  };
  const seen = { raw: [] as Cost[], mutual: [] as Cost[], MQTT: [] as Cost[], HTTPS: [] as Cost[] };
  for (let round = -warmUps; round < rounds; round += 1)
    for (const way of ['raw', 'mutual', 'MQTT', 'HTTPS'] as const) {
      const { pid, work } = ways[way];
      const cost = await costOf(pid, job.imageBytes, () => Promise.all(devices.map(work)));
      if (round >= 0) seen[way].push(cost);
    }
  const medianOf = (way: keyof typeof ways, of: keyof Cost): number => median(seen[way].map(cost => cost[of]));
  // By HTTPS each file has a connection of its own, with two certificates; by MQTT the connection is there.
  for (const [way, bound, what] of [
    ['MQTT', 'raw', 'raw TLS'],
    ['HTTPS', 'mutual', 'raw TLS with two certificates'],
  ] as const) {
    const [rate, cpu] = [
      { value: medianOf(way, 'rate'), unit: 'MiB/s', bound: medianOf(bound, 'rate'), boundWhat: `MiB/s, ${what}` },
      { value: medianOf(way, 'cpuMs') / count, unit: 'ms CPU', bound: medianOf(bound, 'cpuMs') / count, boundWhat: `ms, ${what}` },
    ] as const;
    report({ figure: `${kib} KiB, ${way}: 1 MiB to ${count} devices`, ...rate });
    report({ figure: `${kib} KiB, ${way}: the server for each of them`, ...cpu });
  }
  for (const server of [raw, mutual]) server.close();
  closeAll(devices);
}

/** By how much the server is larger with all devices than with half of them: while their jobs are open, and at most while all download. */
async function memory(report: Report, kib: number, ...[server, units, releaseId]: Parameters<Work>): Promise<void> {
  const half = Math.ceil(count / 2);
  const first = await bringOnline(server, units.slice(0, half), releaseId);
  // A server that has delivered before: its code is compiled, its heap has its size.
  await busyKib(server, first);
  const openHalf = sizeKib(server.pid, 'VmRSS');
  const devices = [...first, ...(await bringOnline(server, units.slice(half), releaseId))];
  const openAll = sizeKib(server.pid, 'VmRSS');
  await busyKib(server, devices);
  const [busyHalf, busyAll] = [await busyKib(server, first), await busyKib(server, devices)];
  const goal = { unit: 'KiB', bound: 256, boundWhat: 'KiB, the goal' } as const;
  report({ figure: `${kib} KiB: memory of one more open delivery`, value: (openAll - openHalf) / (count - half), ...goal });
  report({ figure: `${kib} KiB: of one more that downloads`, value: (busyAll - busyHalf) / (count - half), ...goal });
  closeAll(devices);
}

/** KiB of the server: the most while these deliveries go out, several times. */
async function busyKib({ pid }: ServerProcess, devices: readonly Online[]): Promise<number> {
  // Forgets the largest size so far (proc(5)).
  writeFileSync(`/proc/${pid}/clear_refs`, '5');
  for (let round = 0; round < rounds; round += 1) await Promise.all(devices.map(overMqtt));
  return sizeKib(pid, 'VmHWM');
}

function closeAll(devices: readonly Online[]): void {
  for (const { device } of devices) device.close();
}

/** Of the process, from the operating system. */
const sizeKib = (pid: number, name: string): number =>
  Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0);

const clockTickMs = 10;

/** Of the process, in user and system mode (proc(5)). */
function cpuMs(pid: number): number {
  const [, fields = ''] = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ');
  const [user, system] = fields.split(' ').slice(11, 13);
  return (Number(user) + Number(system)) * clockTickMs;
}

async function costOf(pid: number, imageBytes: number, work: () => Promise<unknown>): Promise<Cost> {
  const [startMs, startCpuMs] = [performance.now(), cpuMs(pid)];
  await work();
  const seconds = (performance.now() - startMs) / 1000;
  return { cpuMs: cpuMs(pid) - startCpuMs, rate: (count * imageBytes) / 1024 / 1024 / seconds };
}

async function bringOnline(server: ServerProcess, units: readonly Unit[], releaseId: string): Promise<readonly Online[]> {
  const [alice, bob] = [people(server), people(server, server.bob)];
  const devices: LeanDevice[] = [];
  for (const unit of units) devices.push(await connectLean(server, unit));
  const { rolloutId } = await alice.json<{ rolloutId: string }>('POST', '/v1/rollouts', {
    releaseId,
    devices: units.map(({ uid }) => uid),
  });
  await bob.json('POST', `/v1/rollouts/${rolloutId}/approve`, {});
  await alice.json('POST', `/v1/rollouts/${rolloutId}/start`, {});
  const bundleBytes = await alice.bytes('GET', '/v1/trust-bundle');
  const bundle = await verifyTrustBundle(bundleBytes, parseCertificate((units[0] as Unit).root).spki);
  for (const http of [alice, bob]) http.close();
  return Promise.all(devices.map(async device => ({ device, ...(await verifyJob(await device.job, signingKeysOf(bundle, 'otaJob'))) })));
}

/** As many blocks at a time as a device asks for. */
async function overMqtt({ device, job }: Online): Promise<void> {
  for (let first = 0; first < blockCount(job); first += maxBlocksPerRequest)
    await device.blocks(job, first, Math.min(maxBlocksPerRequest, blockCount(job) - first));
}

/** Resolves when so many bytes have come, of HTTP behind the head. */
function overHttps(server: ServerProcess, { device, job }: Online): Promise<void> {
  const socket = secureSocket(server, device.unit, server.httpsPort);
  socket.once('secureConnect', () => socket.write(`GET /v1/ota/${toHex(job.otaJobId)} HTTP/1.1\r\nHost: localhost\r\n\r\n`));
  return new Promise((resolve, reject) => {
    let left = Number.NaN;
    socket.on('error', reject).on('data', (chunk: Buffer) => {
      if (Number.isNaN(left)) {
        const headBytes = chunk.indexOf('\r\n\r\n') + 4;
        if (!chunk.includes('HTTP/1.1 200') || headBytes < 4) reject(new Error(chunk.toString()));
        left = sealedFileBytes(job) + headBytes;
      }
      left -= chunk.length;
      if (left > 0) return;
      socket.destroy();
      resolve();
    });
  });
}

async function startRaw(settings: RawSettings): Promise<{ readonly port: number; readonly pid: number; close(): void }> {
  const child: ChildProcess = fork(fileURLToPath(new URL('./parts/rawTlsServer.ts', import.meta.url)));
  child.send(settings);
  const [port] = await once(child, 'message');
  return { port, pid: child.pid as number, close: () => child.disconnect() };
}

function overRaw(port: number, { device, job }: Online): Promise<void> {
  const socket = connect({ port, host: '127.0.0.1', rejectUnauthorized: false, ...identityOf(device.unit) });
  return new Promise((resolve, reject) => {
    let left = job.imageBytes;
    socket.on('error', reject).on('data', ({ length }: Buffer) => {
      left -= length;
      if (left > 0) return;
      socket.destroy();
      resolve();
    });
  });
}
