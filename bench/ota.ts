import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
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
import type { Report } from './parts/measure.ts';

/** One release to many devices at once, the server in a process of its own: over MQTT in sealed blocks and over HTTPS as one file, beside raw TLS with the
 *  same bytes to as many sockets in the same run (server and clients in one process); and by how much the server grows for each delivery that is open. `NUSEC_BENCH_DEVICES`: how many; 20. */

const count = Number(process.env.NUSEC_BENCH_DEVICES ?? 20);
const imageBytes = 1000 * 1024;

type Online = { readonly unit: Unit; readonly device: FieldDevice; readonly job: OtaJob };

/** Of the two lines: what a small chip holds at once, and what a large one does. */
const blockKib = [16, 64];

export async function run(report: Report): Promise<void> {
  for (const kib of blockKib) await measure(report, kib);
}

async function measure(report: Report, kib: number): Promise<void> {
  let fleet: Fleet | undefined;
  let releaseId = '';
  // What the whole costs is measured, not the share of a line that firmware gets.
  process.env.NUSEC_OTA_LIMITS = JSON.stringify({ deviceBytesPerSecond: 2 ** 32, totalBytesPerSecond: 2 ** 32 });
  const group = await startServerProcesses(1, async ctx => {
    fleet = await seedFleet(ctx, count, { blockBytes: kib * 1024 });
    const wish = { line: 'meter', image: 'app', version: parseVersion('2.0.0'), counter: 3 } as const;
    ({ releaseId } = await uploadRelease(ctx, wish, new Uint8Array(randomBytes(imageBytes)), 'operator:rita'));
    await approveRelease(ctx, releaseId, 'operator:rolf');
    await publishRelease(ctx, releaseId, 'operator:rita');
  });
  const server = group.first[0] as ServerProcess;
  try {
    const { units } = fleet as Fleet;
    const half = Math.ceil(count / 2);
    const first = await bringOnline(server, units.slice(0, half), releaseId);
    const before = residentKib(server.pid);
    const devices = [...first, ...(await bringOnline(server, units.slice(half), releaseId))];
    report({
      figure: `${kib} KiB blocks: memory of one more delivery`,
      value: (residentKib(server.pid) - before) / (count - half),
      unit: 'KiB',
      bound: 256,
      boundWhat: 'KiB, the goal',
    });
    const bytes = count * (devices[0]?.job.imageBytes ?? 0);
    const raw = await rateOf(bytes, () => rawTls(devices));
    const mqtt = await rateOf(bytes, () => Promise.all(devices.map(overMqtt)));
    report({ figure: `${kib} KiB, MQTT: 1 MiB to ${count} devices`, value: mqtt, unit: 'MiB/s', bound: raw, boundWhat: 'MiB/s, raw TLS' });
    const https = await rateOf(bytes, () => Promise.all(devices.map(one => overHttps(server, one))));
    report({
      figure: `${kib} KiB, HTTPS: 1 MiB to ${count} devices`,
      value: https,
      unit: 'MiB/s',
      bound: raw,
      boundWhat: 'MiB/s, raw TLS',
    });
    await Promise.all(devices.map(({ device }) => device.close()));
  } finally {
    await group.close();
  }
}

/** Of the process, from the operating system. */
const residentKib = (pid: number): number => Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0);

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
