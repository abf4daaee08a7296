import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { covers } from '../support/covers.ts';
import { heldLink } from '../support/heldLink.ts';
import { limitOfProcesses } from '../support/limits.ts';
import { heldAfterBytes, largeBytes, openWiredWorld, type WiredWorld } from './wiredWorld.ts';

/** Devices that nobody reaches but over their serial line: a programmer and a gateway, each a process of its own, bring them what stands for them at the
 *  server. */

const limitMs = 240_000;
let wired: WiredWorld;

beforeAll(async () => {
  wired = await openWiredWorld();
}, limitOfProcesses(6));
afterAll(() => wired?.world.close());

describe('a programmer as bridge', () => {
  it(
    'brings a device its upgrade over the serial line; the device proves it, and the rollout ends (R87, I18, RULE-18)',
    async () => {
      covers('R87', 'I18', 'RULE-18');
      expect((await wired.upgrade()).status).toBe(0);
      const before = await wired.show(0);
      const rolloutId = await wired.offer(0, '1.7.0');
      const done = await wired.upgrade();
      expect(done.status, JSON.stringify([done.error, ...done.lines])).toBe(0);
      await wired.ended(rolloutId, 'RolloutCompleted');
      await wired.shows(0, { version: '1.7.0', status: before.status });
      expect(before.version).not.toBe('1.7.0');
      const passed = (await wired.typesOf(0)).findLast(({ type }) => type === 'AttestationPassed');
      expect(passed?.data.via).toBe('programmer');
    },
    limitMs,
  );

  it(
    'leaves a device what it runs when its rollout is aborted while the image is written (I18, T33)',
    async () => {
      covers('I18', 'T33');
      const before = await wired.show(0);
      const link = await heldLink(Number(wired.mcus[0]?.ready.serialPort));
      const rolloutId = await wired.offer(0, '1.7.5', {}, largeBytes);
      const held = link.hold(heldAfterBytes);
      const running = wired.upgrade(`127.0.0.1:${link.port}`);
      const offerId = await wired.stopHalfway(0, link, held, rolloutId, 'abort');
      const stopped = await running;
      expect([stopped.status, JSON.stringify([stopped.error, ...stopped.lines])]).toEqual([1, expect.stringContaining('STATE')]);
      expect((await wired.phases(0, offerId)).at(-1)).toBe('UpgradeCancelled');
      await link.close();
      // What is not whole does not start, whenever the device restarts.
      await wired.mcus[0]?.stop('SIGKILL');
      await wired.startMcu(0);
      expect((await wired.upgrade()).status).toBe(0);
      await wired.shows(0, { version: before.version, status: before.status });
      const next = await wired.offer(0, '1.7.6');
      expect((await wired.upgrade()).status).toBe(0);
      await wired.ended(next, 'RolloutCompleted');
    },
    limitMs,
  );

  it(
    'brings an older version at the same counter, when planner and approver permit it (T12, I16)',
    async () => {
      covers('T12', 'I16');
      const rolloutId = await wired.offer(0, '1.6.5', { permitDowngrade: true });
      const done = await wired.upgrade();
      expect(done.status, JSON.stringify([done.error, ...done.lines])).toBe(0);
      await wired.ended(rolloutId, 'RolloutCompleted');
      await wired.shows(0, { version: '1.6.5' });
    },
    limitMs,
  );

  it(
    'wipes a device that is to be decommissioned, with its receipt (R96)',
    async () => {
      covers('R96');
      const { uid } = wired.unit(0);
      const ordered = await wired.world.alice.json<{ receipt: string }>('POST', `/v1/devices/${uid}/decommission`, {
        reason: 'end of life',
      });
      expect(ordered.receipt).toBe('awaited');
      const done = await wired.upgrade();
      expect(done.status, JSON.stringify([done.error, ...done.lines])).toBe(0);
      const end = await wired.world.event(({ type, stream }) => type === 'DeviceDecommissioned' && stream === `device-${uid}`, 'the end');
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
      const { uid } = wired.unit(1);
      const id = 'hall-7';
      expect((await wired.world.nusec('gateway', 'register', '--id', id)).status).toBe(0);
      expect((await wired.world.nusec('gateway', 'attach', '--id', id, '--device', uid)).status).toBe(0);
      const link = await heldLink(Number(wired.mcus[1]?.ready.serialPort));
      const wire = `${uid}=127.0.0.1:${link.port}`;
      const gateway = await wired.world.start(
        'gateway',
        'gateway',
        'run',
        '--data',
        `${wired.world.dir}/gw`,
        '--id',
        id,
        '--mqtt',
        wired.world.mqtt,
        '--device',
        wire,
        '--json',
      );
      const before = await wired.show(1);
      const rolloutId = await wired.offer(1, '1.8.0');
      await wired.ended(rolloutId, 'RolloutCompleted');
      await wired.shows(1, { version: '1.8.0', status: before.status });
      expect(await gateway.until(({ event }) => event === 'upgraded', 'upgrade', limitMs)).toMatchObject({ uid, version: '1.8.0' });

      const held = link.hold(heldAfterBytes);
      const paused = await wired.offer(1, '1.9.0', {}, largeBytes);
      const offerId = await wired.stopHalfway(1, link, held, paused, 'pause');
      const failed = await gateway.until(({ event }) => event === 'relay-failed', 'end of the transfer', limitMs);
      expect(failed).toMatchObject({ uid, code: 'STATE' });
      expect((await wired.phases(1, offerId)).at(-1)).toBe('UpgradeAnnounced');
      await wired.command(paused, 'resume');
      await wired.ended(paused, 'RolloutCompleted');
      await wired.shows(1, { version: '1.9.0', status: before.status });

      await wired.world.alice.json('POST', `/v1/devices/${uid}/decommission`, { reason: 'end of life' });
      const end = await wired.world.event(({ type, stream }) => type === 'DeviceDecommissioned' && stream === `device-${uid}`, 'the end');
      expect(end.data.wipeReceiptSha256).toBeDefined();
      await link.close();
    },
    limitMs,
  );
});
