import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Running } from '../../scripts/demo/processes.ts';
import { type Life, newLife, steps, type Unit } from '../../scripts/demo/steps.ts';
import { createWorld, type EventRecord, type World } from '../../scripts/demo/world.ts';
import { covers } from '../support/covers.ts';
import { type HeldLink, heldLink } from '../support/heldLink.ts';
import { limitOfProcesses } from '../support/limits.ts';

/** Devices that nobody reaches but over their serial line: a programmer and a gateway, each a process of its own, bring them what stands for them at the
 *  server. */

const limitMs = 240_000;
let life: Life;
let world: World;
const mcus: Running[] = [];

beforeAll(async () => {
  world = await createWorld({ patienceMs: 120_000 });
  life = newLife(world);
  const last = steps.findIndex(({ name }) => name === 'the second MCU is produced');
  for (const step of steps.slice(0, last + 1)) await step.run(life);
  for (const [i, { mcu }] of life.units.entries()) {
    await mcu.stop();
    mcus.push(await world.start(`wired ${i}`, 'mcu', 'run', '--data', `${world.dir}/mcu${i + 1}`, '--json'));
  }
}, limitOfProcesses(6));
afterAll(() => world?.close());

const unit = (index: number): Unit => life.units[index] as Unit;
const serial = (running: Running | undefined): string => `127.0.0.1:${running?.ready.serialPort}`;
const show = (index: number) => world.alice.json<{ status: string; version: string }>('GET', `/v1/devices/${unit(index).uid}`);
const typesOf = async (index: number): Promise<readonly EventRecord[]> =>
  (await world.events()).filter(({ stream }) => stream === `device-${unit(index).uid}`);
const upgrade = (target = serial(mcus[0])) => {
  const { programmer } = life as Required<Pick<Life, 'programmer'>>;
  return world.nusec('programmer', 'upgrade', '--programmer', serial(programmer), '--target-serial', target, '--json');
};
/** Of 150 pieces, which a device acknowledges with 100 bytes each, after a session with its certificates. */
const largeBytes = 600_000;
const heldAfterBytes = 10_000;

async function offer(index: number, version: string, plan: object = {}, payloadBytes = 20_000): Promise<string> {
  const file = world.file(`app-${version}.bin`, new Uint8Array(payloadBytes).fill(version.charCodeAt(2)));
  const uploaded = await world.nusec(
    'release',
    'upload',
    file,
    '--line',
    life.line,
    '--image',
    'app',
    '--version',
    version,
    '--counter',
    '7',
    '--json',
  );
  const { releaseId } = uploaded.lines.at(-1) as { releaseId: string };
  await world.bob.json('POST', `/v1/releases/${releaseId}/approve`, {});
  await world.alice.json('POST', `/v1/releases/${releaseId}/publish`, {});
  const { rolloutId } = await world.alice.json<{ rolloutId: string }>('POST', '/v1/rollouts', {
    releaseId,
    devices: [unit(index).uid],
    ...plan,
  });
  await world.bob.json('POST', `/v1/rollouts/${rolloutId}/approve`, {});
  await world.alice.json('POST', `/v1/rollouts/${rolloutId}/start`, {});
  await world.event(({ type, data }) => type === 'FirmwareOffered' && data.rolloutId === rolloutId, 'the offer');
  return rolloutId;
}
const ended = (rolloutId: string, how: string) =>
  world.event(({ type, stream }) => type === how && stream === `rollout-${rolloutId}`, `${how} of ${rolloutId}`);

const command = (rolloutId: string, verb: string) =>
  world.alice.json('POST', `/v1/rollouts/${rolloutId}/${verb}`, { reason: 'complaints' });
const phases = async (index: number, offerId: unknown) =>
  (await typesOf(index)).filter(({ data }) => data.offerId === offerId).map(({ type, data }) => data.phase ?? type);

/** Runs until the image is half written, then stops the rollout. @returns the offer */
async function stopHalfway(index: number, link: HeldLink, held: Promise<void>, rolloutId: string, verb: string): Promise<unknown> {
  await held;
  const { offerId } = (await typesOf(index)).findLast(({ data }) => data.rolloutId === rolloutId)?.data ?? {};
  expect((await phases(index, offerId)).slice(-1)).toEqual(['UpgradeStarted']);
  await command(rolloutId, verb);
  link.release();
  return offerId;
}

describe('a programmer as bridge', () => {
  it(
    'brings a device its upgrade over the serial line; the device proves it, and the rollout ends (R87, I18, RULE-18)',
    async () => {
      covers('R87', 'I18', 'RULE-18');
      expect((await upgrade()).status).toBe(0);
      // In service when it had connected before it came to the wires, else still in stock: an upgrade gives back what was.
      const before = await show(0);
      const rolloutId = await offer(0, '1.7.0');
      const done = await upgrade();
      expect(done.status, JSON.stringify([done.error, ...done.lines])).toBe(0);
      await ended(rolloutId, 'RolloutCompleted');
      expect(await show(0)).toMatchObject({ version: '1.7.0', status: before.status });
      expect(before.version).not.toBe('1.7.0');
      const passed = (await typesOf(0)).findLast(({ type }) => type === 'AttestationPassed');
      expect(passed?.data.via).toBe('programmer');
    },
    limitMs,
  );

  it(
    'leaves a device what it runs when its rollout is aborted while the image is written (I18, T33)',
    async () => {
      covers('I18', 'T33');
      const before = await show(0);
      const link = await heldLink(Number(mcus[0]?.ready.serialPort));
      const rolloutId = await offer(0, '1.7.5', {}, largeBytes);
      const held = link.hold(heldAfterBytes);
      const running = upgrade(`127.0.0.1:${link.port}`);
      const offerId = await stopHalfway(0, link, held, rolloutId, 'abort');
      const stopped = await running;
      expect([stopped.status, JSON.stringify([stopped.error, ...stopped.lines])]).toEqual([1, expect.stringContaining('STATE')]);
      expect((await phases(0, offerId)).at(-1)).toBe('UpgradeCancelled');
      await link.close();
      // What is not whole does not start, whenever the device restarts.
      await mcus[0]?.stop('SIGKILL');
      mcus[0] = await world.start('wired 0', 'mcu', 'run', '--data', `${world.dir}/mcu1`, '--json');
      expect((await upgrade()).status).toBe(0);
      expect(await show(0)).toMatchObject({ version: before.version, status: before.status });
      const next = await offer(0, '1.7.6');
      expect((await upgrade()).status).toBe(0);
      await ended(next, 'RolloutCompleted');
    },
    limitMs,
  );

  it(
    'brings an older version at the same counter, when planner and approver permit it (T12, I16)',
    async () => {
      covers('T12', 'I16');
      const rolloutId = await offer(0, '1.6.5', { permitDowngrade: true });
      const done = await upgrade();
      expect(done.status, JSON.stringify([done.error, ...done.lines])).toBe(0);
      await ended(rolloutId, 'RolloutCompleted');
      expect(await show(0)).toMatchObject({ version: '1.6.5' });
    },
    limitMs,
  );

  it(
    'wipes a device that is to be decommissioned, with its receipt (R96)',
    async () => {
      covers('R96');
      const { uid } = unit(0);
      const ordered = await world.alice.json<{ receipt: string }>('POST', `/v1/devices/${uid}/decommission`, { reason: 'end of life' });
      expect(ordered.receipt).toBe('awaited');
      const done = await upgrade();
      expect(done.status, JSON.stringify([done.error, ...done.lines])).toBe(0);
      const end = await world.event(({ type, stream }) => type === 'DeviceDecommissioned' && stream === `device-${uid}`, 'the end');
      expect(end.data.wipeReceiptSha256).toBeDefined();
    },
    limitMs,
  );
});

describe('a gateway', () => {
  it(
    'relays an upgrade and an order to wipe to a device on its serial line, and stops writing while a rollout is paused (R96, I18)',
    async () => {
      covers('R96', 'I18');
      const { uid } = unit(1);
      const id = 'hall-7';
      expect((await world.nusec('gateway', 'register', '--id', id)).status).toBe(0);
      expect((await world.nusec('gateway', 'attach', '--id', id, '--device', uid)).status).toBe(0);
      const link = await heldLink(Number(mcus[1]?.ready.serialPort));
      const wire = `${uid}=127.0.0.1:${link.port}`;
      const gateway = await world.start(
        'gateway',
        'gateway',
        'run',
        '--data',
        `${world.dir}/gw`,
        '--id',
        id,
        '--mqtt',
        world.mqtt,
        '--device',
        wire,
        '--json',
      );
      const before = await show(1);
      const rolloutId = await offer(1, '1.8.0');
      await ended(rolloutId, 'RolloutCompleted');
      expect(await show(1)).toMatchObject({ version: '1.8.0', status: before.status });
      expect(await gateway.until(({ event }) => event === 'upgraded', 'upgrade', limitMs)).toMatchObject({ uid, version: '1.8.0' });

      const held = link.hold(heldAfterBytes);
      const paused = await offer(1, '1.9.0', {}, largeBytes);
      const offerId = await stopHalfway(1, link, held, paused, 'pause');
      const failed = await gateway.until(({ event }) => event === 'relay-failed', 'end of the transfer', limitMs);
      expect(failed).toMatchObject({ uid, code: 'STATE' });
      expect((await phases(1, offerId)).at(-1)).toBe('UpgradeStarted');
      await command(paused, 'resume');
      await ended(paused, 'RolloutCompleted');
      expect(await show(1)).toMatchObject({ version: '1.9.0', status: before.status });

      await world.alice.json('POST', `/v1/devices/${uid}/decommission`, { reason: 'end of life' });
      const end = await world.event(({ type, stream }) => type === 'DeviceDecommissioned' && stream === `device-${uid}`, 'the end');
      expect(end.data.wipeReceiptSha256).toBeDefined();
      await link.close();
    },
    limitMs,
  );
});
