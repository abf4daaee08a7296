import { randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { Agent, request } from 'node:https';
import { connect, createServer, type Server } from 'node:tls';
import { toHex } from '../src/bytes.ts';
import { decodeAs, encodeAs } from '../src/cbor/schema.ts';
import { parseVersion } from '../src/domain/version.ts';
import { otaBlock, otaQuestion } from '../src/mqttMessages.ts';
import { maxBlocksPerRequest } from '../src/ota/blockPlan.ts';
import { blockCount, type OtaJob, verifyJob } from '../src/ota/otaJob.ts';
import { parseCertificate } from '../src/pki/parse.ts';
import { toPem } from '../src/pki/pem.ts';
import { signingKeysOf, verifyTrustBundle } from '../src/production/trustBundle.ts';
import { approveRelease, publishRelease, uploadRelease } from '../src/services/firmware/releases.ts';
import { connectDevice, type FieldDevice, type Fleet, people, seedFleet, type Unit } from '../test/gateway/fieldKit.ts';
import { type ServerProcess, startServerProcesses } from '../test/support/server.ts';
import { median, type Report } from './parts/measure.ts';

/** One release to many devices at once, the server in a process of its own: over MQTT in sealed blocks and over HTTPS as one file, beside raw TLS with the
 *  same bytes to as many sockets in the same run (server and clients in one process); and by how much the server grows for each delivery that is open. `NUSEC_BENCH_DEVICES`: how many; 20. */

const count = Number(process.env.NUSEC_BENCH_DEVICES ?? 20);
const imageBytes = 1000 * 1024;

type Online = { readonly unit: Unit; readonly device: FieldDevice; readonly job: OtaJob };

/** Of the two lines: what a small chip holds at once, and what a large one does. */
const blockKib = [16, 64];
const rounds = 3;
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

/** In turn, after one round in which everything is compiled. */
async function rates(report: Report, kib: number, ...[server, units, releaseId]: Parameters<Work>): Promise<void> {
  const devices = await bringOnline(server, units, releaseId);
  const bytes = count * (devices[0]?.job.imageBytes ?? 0);
  const ways = {
    raw: () => rawTls(devices),
    MQTT: () => Promise.all(devices.map(overMqtt)),
    HTTPS: () => Promise.all(devices.map(one => overHttps(server, one))),
  };
  const seen = { raw: [] as number[], MQTT: [] as number[], HTTPS: [] as number[] };
  for (let round = 0; round <= rounds; round += 1)
    for (const way of ['raw', 'MQTT', 'HTTPS'] as const) {
      const rate = await rateOf(bytes, ways[way]);
      if (round > 0) seen[way].push(rate);
    }
  const bound = median(seen.raw);
  for (const way of ['MQTT', 'HTTPS'] as const) {
    const value = median(seen[way]);
    report({ figure: `${kib} KiB, ${way}: 1 MiB to ${count} devices`, value, unit: 'MiB/s', bound, boundWhat: 'MiB/s, raw TLS' });
  }
  await closeAll(devices);
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
  await closeAll(devices);
}

/** KiB of the server: the most while these deliveries go out, several times. */
async function busyKib({ pid }: ServerProcess, devices: readonly Online[]): Promise<number> {
  // Forgets the largest size so far (proc(5)).
  writeFileSync(`/proc/${pid}/clear_refs`, '5');
  for (let round = 0; round < rounds; round += 1) await Promise.all(devices.map(overMqtt));
  return sizeKib(pid, 'VmHWM');
}

const closeAll = (devices: readonly Online[]): Promise<unknown> => Promise.all(devices.map(({ device }) => device.close()));

/** Of the process, from the operating system. */
const sizeKib = (pid: number, name: string): number =>
  Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0);

async function rateOf(bytes: number, work: () => Promise<unknown>): Promise<number> {
  const startMs = performance.now();
  await work();
  return bytes / 1024 / 1024 / ((performance.now() - startMs) / 1000);
}

async function bringOnline(server: ServerProcess, units: readonly Unit[], releaseId: string): Promise<readonly Online[]> {
  const [alice, bob] = [people(server), people(server, server.bob)];
  const devices: { readonly unit: Unit; readonly device: FieldDevice }[] = [];
  for (const unit of units) {
    const device = await connectDevice(server, unit);
    await device.hello();
    devices.push({ unit, device });
  }
  const { rolloutId } = await alice.json<{ rolloutId: string }>('POST', '/v1/rollouts', {
    releaseId,
    devices: units.map(({ uid }) => uid),
  });
  await bob.json('POST', `/v1/rollouts/${rolloutId}/approve`, {});
  await alice.json('POST', `/v1/rollouts/${rolloutId}/start`, {});
  const bundleBytes = await alice.bytes('GET', '/v1/trust-bundle');
  const bundle = await verifyTrustBundle(bundleBytes, parseCertificate((units[0] as Unit).root).spki);
  for (const http of [alice, bob]) http.close();
  const online: Online[] = [];
  for (const { unit, device } of devices) {
    while (device.jobs.length === 0) await new Promise(resolve => setTimeout(resolve, 20));
    const { job } = await verifyJob(device.jobs.at(-1) as Uint8Array, signingKeysOf(bundle, 'otaJob'));
    online.push({ unit, device, job });
  }
  return online;
}

/** Eight blocks are asked for at a time, as a device does; blocks that are lost on the way are asked for again. */
async function overMqtt({ device, job }: Online): Promise<void> {
  const missing = new Set(Array.from({ length: blockCount(job) }, (_, index) => index));
  let wake = (): void => undefined;
  const stop = device.client.on('ota', payload => {
    missing.delete(decodeAs(otaBlock, payload).index);
    wake();
  });
  const topic = `ota/${toHex(job.otaJobId)}`;
  while (missing.size > 0) {
    const [first = 0] = missing;
    const wanted = Math.min(maxBlocksPerRequest, blockCount(job) - first);
    await device.client.publish(topic, encodeAs(otaQuestion, { cid: first, first, count: wanted, blockBytes: job.blockBytes }), { qos: 0 });
    const isHere = (): boolean => !Array.from({ length: wanted }, (_, i) => missing.has(first + i)).includes(true);
    const endMs = performance.now() + 5000;
    while (!isHere() && performance.now() < endMs)
      await new Promise<void>(resolve => {
        const timer = setTimeout(resolve, 1000);
        wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
  }
  stop();
}

const keyOf = ({ key }: Unit): string => key.privateKey.export({ format: 'pem', type: 'pkcs8' }) as string;
const certOf = ({ certificate, ica }: Unit): string => toPem('CERTIFICATE', certificate) + toPem('CERTIFICATE', ica);

function overHttps(server: ServerProcess, { unit, job }: Online): Promise<void> {
  const agent = new Agent({ ca: server.rootPem, key: keyOf(unit), cert: certOf(unit) });
  return new Promise((resolve, reject) => {
    request(`${server.url}/v1/ota/${toHex(job.otaJobId)}`, { agent }, response => {
      if (response.statusCode !== 200) reject(new Error(`HTTP ${response.statusCode}`));
      response.resume();
      response.on('end', () => {
        agent.destroy();
        resolve();
      });
    })
      .on('error', reject)
      .end();
  });
}

/** As many bytes to as many TLS sockets, in blocks of the same size. */
async function rawTls(devices: readonly Online[]): Promise<void> {
  const [{ unit, job }] = devices as readonly [Online];
  const block = new Uint8Array(job.blockBytes);
  const server: Server = createServer({ key: keyOf(unit), cert: certOf(unit), minVersion: 'TLSv1.3' }, async socket => {
    socket.on('error', () => undefined);
    for (let sent = 0; sent < job.imageBytes; sent += block.length)
      if (!socket.write(block)) await new Promise(resolve => socket.once('drain', resolve));
    socket.end();
  });
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  const one = (): Promise<void> =>
    new Promise((resolve, reject) => {
      const socket = connect({ port, host: '127.0.0.1', rejectUnauthorized: false }, () => socket.resume());
      socket.on('end', resolve).on('error', reject);
    });
  await Promise.all(devices.map(one));
  server.close();
}
