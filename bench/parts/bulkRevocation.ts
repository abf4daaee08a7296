import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { Agent, get } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { toHex } from '../../src/bytes.ts';
import { deviceStream } from '../../src/domain/device.ts';
import type { DeviceEvent } from '../../src/domain/deviceEvents.ts';
import { establishIssuingCa } from '../../src/services/authority/issuingCa.ts';
import type { Context } from '../../src/services/base/context.ts';
import { people } from '../../test/gateway/fieldKit.ts';
import { type ServerProcess, startServerProcesses } from '../../test/support/server.ts';
import type { Report } from './measure.ts';

/** Revokes a whole fleet through the API of a server process: how fast, what it writes for each device, and how long others wait meanwhile. */

/** `NUSEC_BENCH_DEVICES=88850` measures a large fleet. */
const devices = Number(process.env.NUSEC_BENCH_DEVICES ?? 10_000);
const devicesInCommit = 50;
const commitsAtOnce = 16;
const progressPollMs = 50;
const healthPollMs = 5;
const [quietLookMs, quietLooks] = [500, 6];
/** The goal for 88 850 devices. */
const goal = { devices: 88_850, seconds: 20, bytesPerDevice: 8192, blockMs: 50 };

export async function measureBulkRevocation(report: Report): Promise<void> {
  const servers = await startServerProcesses(1, ctx => seedStock(ctx, devices));
  const [server] = servers.first as [ServerProcess];
  const [alice, bob] = [people(server), people(server, server.bob)];
  const health = watchHealth(server.crlPort);
  try {
    await settled(server.pid);
    health.longestMs();
    const wish = { selection: { all: true }, reason: 'keyCompromise', note: 'bench' };
    const proposed = (await alice.json('POST', '/v1/bulk-revocations', wish)) as { readonly id: string };
    const proposalMs = health.longestMs();
    const [writtenBefore, begin] = [bytesWritten(server.pid), performance.now()];
    await bob.json('POST', `/v1/bulk-revocations/${proposed.id}/approve`, {});
    while (((await bob.json('GET', `/v1/bulk-revocations/${proposed.id}`)) as { readonly status: string }).status !== 'DONE')
      await sleep(progressPollMs);
    const seconds = (performance.now() - begin) / 1000;
    const waitMs = health.longestMs();
    await settled(server.pid);
    const written = bytesWritten(server.pid) - writtenBefore;
    const figures = [
      { figure: 'revoked in bulk', value: devices / seconds, unit: '1/s', bound: goal.devices / goal.seconds },
      { figure: 'written for each device', value: written / devices, unit: 'bytes', bound: goal.bytesPerDevice },
      { figure: 'longest wait of others, proposal', value: proposalMs, unit: 'ms', bound: goal.blockMs },
      { figure: 'longest wait of others, revocation', value: waitMs, unit: 'ms', bound: goal.blockMs },
    ] as const;
    for (const figure of figures) report({ ...figure, boundWhat: `the goal for a large fleet (here ${devices} devices)` });
  } finally {
    health.close();
    alice.close();
    bob.close();
    await servers.close();
  }
}

/** Devices in stock, with the events of their production; nobody has their keys. */
async function seedStock(ctx: Context, count: number): Promise<void> {
  const { icaId } = await establishIssuingCa(ctx, 'device', 'meter');
  const at = ctx.clock().toISOString();
  let left = count;
  const writer = async () => {
    while (left > 0) {
      const some = Math.min(devicesInCommit, left);
      left -= some;
      const appends = Array.from({ length: some }, () => {
        const uid = toHex(randomBytes(16));
        const events = production(uid, icaId).map(event => ({ ...event, id: ctx.newId(), at, by: 'programmer:bench' }));
        return { stream: deviceStream(uid), expected: 'none' as const, events };
      });
      await ctx.store.commit({ appends });
    }
  };
  await Promise.all(Array.from({ length: commitsAtOnce }, writer));
  await ctx.reads.waitFor(await ctx.store.head());
}

function production(uid: string, icaId: string): readonly DeviceEvent[] {
  const [objId, grantId, serial, hash] = [16, 16, 16, 32].map(length => toHex(randomBytes(length))) as [string, string, string, string];
  const times = { notBefore: '2026-01-01T00:00:00.000Z', notAfter: '9999-12-31T23:59:59.000Z' };
  const { notBefore, notAfter } = times;
  const firmware = { releaseId: objId, version: '1.0.0', securityCounter: 1, imageHash: hash };
  return [
    {
      type: 'DeviceMinted',
      data: { uid, objId, line: 'meter', jobId: '0b'.repeat(16), programmer: 'cc'.repeat(16), grantId, generation: 1 },
    },
    { type: 'CertificationRequested', data: { serial, csrSha256: hash, publicKeySha256: hash, icaId, notBefore, notAfter } },
    { type: 'DeviceCertified', data: { serial, certificateSha256: hash, publicKeySha256: hash, icaId, notAfter, uid, objId } },
    { type: 'CertificateInstalled', data: { serial } },
    { type: 'BootKeyAssigned', data: { slot: 'bl2', keyId: `bl2-${uid}`, publicKey: hash } },
    { type: 'BootKeyBurned', data: { slot: 'bl2', keyId: `bl2-${uid}` } },
    { type: 'BootloaderInstalled', data: firmware },
    { type: 'DebugLocked', data: { receiptSha256: hash } },
    { type: 'ProgrammingSessionAuthenticated', data: { grantId, evidenceSha256: hash } },
    { type: 'BootKeyAssigned', data: { slot: 'app', keyId: `app-${uid}`, publicKey: hash } },
    { type: 'BootKeyBurned', data: { slot: 'app', keyId: `app-${uid}` } },
    { type: 'FirmwareInstalled', data: { ...firmware, receiptSha256: hash } },
    { type: 'ProvisioningCompleted', data: { grantId, receiptSha256: hash } },
  ];
}

/** Resolves when nothing more is made of the log: read models, the map of streams. */
async function settled(pid: number): Promise<void> {
  for (let [before, quiet] = [-1, 0]; quiet < quietLooks; await sleep(quietLookMs)) {
    const now = bytesWritten(pid);
    quiet = now === before ? quiet + 1 : 0;
    before = now;
  }
}

const bytesWritten = (pid: number): number => Number(/^write_bytes: (\d+)$/m.exec(readFileSync(`/proc/${pid}/io`, 'utf8'))?.[1]);

/** Asks the plain port again and again for what does not exist: nothing but the turns of others holds up the answer. */
function watchHealth(port: number) {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  let [longest, isOpen] = [0, true];
  const ask = () =>
    new Promise<void>(resolve =>
      get({ agent, port, host: '127.0.0.1', path: '/nothing' }, response => response.resume().on('end', resolve)).on('error', () =>
        resolve(),
      ),
    );
  const watching = (async () => {
    while (isOpen) {
      const begin = performance.now();
      await ask();
      longest = Math.max(longest, performance.now() - begin);
      await sleep(healthPollMs);
    }
  })();
  return {
    /** Since the last time it was asked. */
    longestMs(): number {
      const since = longest;
      longest = 0;
      return since;
    },
    close() {
      isOpen = false;
      void watching.finally(() => agent.destroy());
    },
  };
}
