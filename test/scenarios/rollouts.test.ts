import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { HttpClient } from '../../gateway-device/link/httpClient.ts';
import { type Running, start } from '../../scripts/demo/processes.ts';
import type { UploadedRelease } from '../../src/domain/release.ts';
import { eventually, type Fleet, people, publish, seedFleet, show, typesOf, type Unit } from '../gateway/fieldKit.ts';
import { covers } from '../support/covers.ts';
import { heldLink } from '../support/heldLink.ts';
import { type ServerProcess, startServerProcesses } from '../support/server.ts';
import { makeMcuFolder } from './mcuFolders.ts';

/** Rollouts with a server and devices as separate processes over MQTT: they are carried out, they stop when told, and they survive the end of
 *  either side. */

type View = { rolloutId: string; status: string; reason: string | null; counts: Record<string, number> };

const folder = mkdtempSync(join(tmpdir(), 'nusec-rollouts-'));
const mcuCount = 5;
/** More than a device asks for at once. */
const largeBytes = 200_000;
const heldAfterBytes = 60_000;
let group: Awaited<ReturnType<typeof startServerProcesses>>;
let server: ServerProcess;
let fleet: Fleet;
const units: Unit[] = [];
const mcus: Running[] = [];
const releases: Record<string, UploadedRelease> = {};
let alice: HttpClient;
let bob: HttpClient;

beforeAll(async () => {
  group = await startServerProcesses(1, async ctx => {
    fleet = await seedFleet(ctx, 0);
    for (let i = 0; i < mcuCount; i += 1) units.push(await makeMcuFolder(ctx, fleet, join(folder, String(i))));
    for (const version of ['1.2.0', '1.3.0', '1.4.0', '1.5.0']) releases[version] = await publish(ctx, 'app', version, 3);
    for (const version of ['1.6.0', '1.7.0', '1.8.0', '1.8.5', '1.9.0'])
      releases[version] = await publish(ctx, 'app', version, 3, undefined, largeBytes);
  });
  await useServer(group.first[0] as ServerProcess);
  for (let i = 0; i < mcuCount; i += 1) mcus.push(await startMcu(i));
  for (const unit of units) await eventually(async () => (await typesOf(alice, unit.uid)).includes('AttestationPassed'));
});
afterAll(async () => {
  await Promise.all(mcus.map(mcu => mcu.stop()));
  for (const http of [alice, bob]) http?.close();
  await group?.close();
  rmSync(folder, { recursive: true, force: true });
});

async function useServer(next: ServerProcess): Promise<void> {
  for (const http of [alice, bob]) http?.close();
  server = next;
  alice = people(server);
  bob = people(server, server.bob);
}
function startMcu(index: number, ...more: readonly string[]): Promise<Running> {
  const wires = ['--mqtt', `127.0.0.1:${server.mqttPort}`, '--mqtt-name', 'localhost', ...more];
  return start(`mcu ${index}`, ['mcu', 'run', '--data', join(folder, String(index)), ...wires, '--json'], process.env);
}
async function roll(indexes: readonly number[], release: UploadedRelease, plan: object = {}): Promise<string> {
  const devices = indexes.map(index => units[index]?.uid);
  const { rolloutId } = await alice.json<View>('POST', '/v1/rollouts', { releaseId: release.releaseId, devices, ...plan });
  await bob.json('POST', `/v1/rollouts/${rolloutId}/approve`, {});
  await alice.json('POST', `/v1/rollouts/${rolloutId}/start`, {});
  return rolloutId;
}
const inSeconds = (seconds: number): string => new Date(Date.now() + seconds * 1000).toISOString();
const view = (id: string): Promise<View> => alice.json<View>('GET', `/v1/rollouts/${id}`);
const said = (index: number, event: string): boolean => mcus[index]?.lines.some(line => line.event === event) === true;

describe('a rollout to devices that are processes of their own', () => {
  it('ends with every device upgraded by its own proof: image, confirmed state, counter in OTP (RULE-18, I18, R94)', async () => {
    covers('RULE-18', 'I18', 'R94');
    const id = await roll([0, 1], fleet.next);
    await eventually(async () => (await view(id)).status === 'COMPLETED');
    expect(await view(id)).toMatchObject({ counts: { upgraded: 2 } });
    for (const unit of units.slice(0, 2)) {
      expect(await show(alice, unit.uid)).toMatchObject({ version: '1.1.0', securityCounter: 3 });
      expect(await typesOf(alice, unit.uid)).toEqual(expect.arrayContaining(['UpgradeStarted', 'UpgradeAdvanced', 'CounterProven']));
    }
  });

  it('that is aborted stops the download: the device forgets the job and takes part in the next one', async () => {
    const id = await roll([2], releases['1.2.0'] as UploadedRelease);
    await eventually(async () => (await typesOf(alice, units[2]?.uid ?? '')).includes('FirmwareOffered'));
    await alice.json('POST', `/v1/rollouts/${id}/abort`, { reason: 'complaints' });
    await eventually(async () => (await view(id)).counts.cancelled === 1);
    expect(await show(alice, units[2]?.uid ?? '')).toMatchObject({ status: 'IN_SERVICE', version: '1.0.0' });
    const next = await roll([2], releases['1.3.0'] as UploadedRelease);
    await eventually(async () => (await view(next)).status === 'COMPLETED');
    expect(await show(alice, units[2]?.uid ?? '')).toMatchObject({ version: '1.3.0' });
    expect(said(2, 'installed')).toBe(true);
  });

  it.each([
    [
      'that is aborted',
      '1.6.0',
      'rollout-aborted',
      () => ({}),
      (id: string) => alice.json('POST', `/v1/rollouts/${id}/abort`, { reason: 'bad' }),
    ],
    ['that halts, as its deadline passes,', '1.7.0', 'rollout-halted', () => ({ deadline: inSeconds(10) }), () => undefined],
    [
      'whose release is withdrawn',
      '1.8.0',
      'release-withdrawn',
      () => ({}),
      () => alice.json('POST', `/v1/releases/${releases['1.8.0']?.releaseId}/withdraw`, { reason: 'bad' }),
    ],
    [
      'whose device is quarantined',
      '1.8.5',
      'quarantined',
      () => ({}),
      () => alice.json('POST', `/v1/devices/${units[2]?.uid}/quarantine`, { reason: 'odd noise' }),
    ],
  ] as const)(
    '%s in the middle of a download ends it there: nothing is installed, and the device takes part in the next one (I18)',
    async (_, version, reason, plan, stop) => {
      covers('I18');
      const uid = units[2]?.uid ?? '';
      const cancelled = async () =>
        (await alice.json<{ events: { type: string; data: { reason?: string } }[] }>('GET', `/v1/devices/${uid}/events`)).events.findLast(
          ({ type }) => type === 'UpgradeCancelled',
        )?.data.reason;
      const link = await heldLink(server.mqttPort);
      await mcus[2]?.stop('SIGKILL');
      mcus[2] = await startMcu(2, '--mqtt', `127.0.0.1:${link.port}`);
      const { version: before } = await show(alice, uid);
      const held = link.hold(heldAfterBytes);
      // The rollout that was aborted first has begun in the device, or not.
      const starts = async () => (await typesOf(alice, uid)).filter(type => type === 'UpgradeStarted').length;
      const startsBefore = await starts();
      const id = await roll([2], releases[version] as UploadedRelease, plan());
      await held;
      await eventually(async () => (await starts()) === startsBefore + 1);
      expect(await show(alice, uid)).toMatchObject({ status: 'UPGRADING', version: before });
      await stop(id);
      await eventually(async () => (await view(id)).counts.cancelled === 1);
      expect(await cancelled()).toBe(reason);
      const isQuarantined = reason === 'quarantined';
      expect(await show(alice, uid)).toMatchObject({ status: isQuarantined ? 'QUARANTINED' : 'IN_SERVICE', version: before });
      expect(said(2, 'cancelled')).toBe(false);
      link.release();
      await eventually(() => said(2, 'cancelled'));
      expect(said(2, 'installed')).toBe(false);
      if (isQuarantined) await alice.json('POST', `/v1/devices/${uid}/release`, { reason: 'odd noise' });
      await mcus[2]?.stop();
      await link.close();
    },
  );

  it('comes to a device that was stopped in the middle of others', async () => {
    mcus[2] = await startMcu(2);
    const next = await roll([2], releases['1.9.0'] as UploadedRelease);
    await eventually(async () => (await view(next)).status === 'COMPLETED');
    expect(await show(alice, units[2]?.uid ?? '')).toMatchObject({ version: '1.9.0' });
    await mcus[2]?.stop();
  });

  it('goes on when the server is killed and a device is switched off in the middle of it (T33)', async () => {
    covers('T33');
    const id = await roll([3, 4], releases['1.4.0'] as UploadedRelease);
    await eventually(async () => (await typesOf(alice, units[3]?.uid ?? '')).includes('FirmwareOffered'));
    await mcus[4]?.stop('SIGKILL');
    await server.kill();
    await useServer(await group.startOne());
    await mcus[3]?.stop('SIGKILL');
    for (const index of [3, 4]) mcus[index] = await startMcu(index);
    await eventually(async () => (await view(id)).status === 'COMPLETED');
    expect(await view(id)).toMatchObject({ counts: { upgraded: 2 } });
  });

  it('brings the image by HTTPS in ranges to a device that prefers it: the same job, the same proof (R88, R94)', async () => {
    covers('R88', 'R94');
    await mcus[0]?.stop('SIGKILL');
    mcus[0] = await startMcu(0, '--https', server.url);
    const id = await roll([0], releases['1.5.0'] as UploadedRelease);
    await eventually(async () => (await view(id)).status === 'COMPLETED');
    expect(await show(alice, units[0]?.uid ?? '')).toMatchObject({ version: '1.5.0' });
    const fetched = mcus[0]?.lines.find(line => line.event === 'fetched');
    expect(fetched?.blocks).toBeGreaterThan(0);
  });
});
