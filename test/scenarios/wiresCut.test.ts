import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Running } from '../../scripts/demo/processes.ts';
import { covers } from '../support/covers.ts';
import { type HeldLink, heldLink } from '../support/heldLink.ts';
import { limitOfProcesses } from '../support/limits.ts';
import { heldAfterBytes, largeBytes, openWiredWorld, type WiredWorld } from './wiredWorld.ts';

/** Upgrades over a serial line that are cut in the middle: by the end of any of the three processes, and by what a person decides meanwhile. */

const limitMs = 360_000;
let wired: WiredWorld;

beforeAll(async () => {
  wired = await openWiredWorld();
}, limitOfProcesses(6));
afterAll(() => wired?.world.close());

const killed = {
  server: () => wired.world.restartServer('SIGKILL'),
  programmer: async () => {
    await wired.life.programmer?.stop('SIGKILL');
    await wired.startProgrammer();
  },
  device: async (index: number) => {
    await wired.mcus[index]?.stop('SIGKILL');
    await wired.startMcu(index);
  },
} as const;

/** Length of an image, and after how many bytes of the device it is held. */
const large: readonly [number, number] = [largeBytes, heldAfterBytes];

/** Half of an image is in the device; what is done then, and what the command ends with. */
async function cutByHand(
  version: string,
  cut: (rolloutId: string, link: HeldLink) => Promise<unknown>,
  plan: object = {},
  [bytes, until] = large,
) {
  const before = await wired.show(0);
  const link = await heldLink(Number(wired.mcus[0]?.ready.serialPort));
  const rolloutId = await wired.offer(0, version, plan, bytes);
  const held = link.hold(until);
  const running = wired.upgrade(`127.0.0.1:${link.port}`);
  const offerId = await wired.halfway(0, held, rolloutId);
  await cut(rolloutId, link);
  link.release();
  const finished = await running;
  await link.close();
  return { before, rolloutId, offerId, finished };
}

const inSeconds = (seconds: number): string => new Date(Date.now() + seconds * 1000).toISOString();
const withdraw = async (rolloutId: string): Promise<unknown> => {
  const { releaseId } = await wired.world.alice.json<{ releaseId: string }>('GET', `/v1/rollouts/${rolloutId}`);
  return wired.world.alice.json('POST', `/v1/releases/${releaseId}/withdraw`, { reason: 'bad' });
};
/** Below the time after which a message is sent again. */
const answerDelayMs = 400;
/** More than a minute of it is left when a little has gone through. */
const [longestBytes, littleBytes] = [900_000, 6_000];
/** The transfer goes on meanwhile, slowly: a wire that stands still ends it by itself. */
async function halted(rolloutId: string, link: HeldLink): Promise<void> {
  link.release(answerDelayMs);
  await wired.ended(rolloutId, 'RolloutHalted');
}
/** What ends a rollout that is carried out: how it is planned, and what is done in the middle of a transfer. */
const ends = {
  'is aborted': { size: large, plan: () => ({}), end: (id: string) => wired.command(id, 'abort') },
  'meets its deadline': { size: [longestBytes, littleBytes], plan: () => ({ deadline: inSeconds(30) }), end: halted },
  'has its release withdrawn': { size: large, plan: () => ({}), end: withdraw },
} as const;
type End = keyof typeof ends;

const said = ({ status, error, lines }: Awaited<ReturnType<WiredWorld['upgrade']>>) => [status, JSON.stringify([error, ...lines])];

describe('an upgrade by a programmer', () => {
  it.each([
    ['server', '2.0.0'],
    ['programmer', '2.1.0'],
    ['device', '2.2.0'],
  ] as const)(
    'is brought to its end by the same command when the %s is killed in the middle of it (T33, R87)',
    async (who, version) => {
      covers('T33', 'R87');
      const { before, rolloutId, finished } = await cutByHand(version, () => killed[who](0));
      if (finished.status !== 0) {
        // A clear word, and no stack.
        expect(said(finished)).toEqual([1, expect.stringMatching(/"error":"[A-Z_]+"/)]);
        await wired.shows(0, { version: before.version });
      }
      expect(said(await wired.upgrade())).toEqual([0, expect.anything()]);
      await wired.ended(rolloutId, 'RolloutCompleted');
      await wired.shows(0, { version, status: before.status });
    },
    limitMs,
  );

  it(
    'ends when its device is quarantined meanwhile, and comes to it once it is released (I18)',
    async () => {
      covers('I18');
      const { uid } = wired.unit(0);
      const deed = (verb: string) => () => wired.world.alice.json('POST', `/v1/devices/${uid}/${verb}`, { reason: 'odd noise' });
      const { before, finished, offerId } = await cutByHand('2.3.0', deed('quarantine'));
      expect(said(finished)).toEqual([1, expect.stringMatching(/"error":"(STATE|DEVICE_STATE)"/)]);
      expect((await wired.phases(0, offerId)).at(-1)).toBe('UpgradeCancelled');
      await wired.shows(0, { version: before.version, status: 'QUARANTINED' });
      await deed('release')();
      const next = await wired.offer(0, '2.4.0');
      expect(said(await wired.upgrade())).toEqual([0, expect.anything()]);
      await wired.ended(next, 'RolloutCompleted');
    },
    limitMs,
  );

  it.each<[End, string]>([
    ['meets its deadline', '2.4.1'],
    ['has its release withdrawn', '2.4.3'],
  ])(
    'ends before the image is whole when its rollout %s meanwhile, and the next rollout comes to the device (I18)',
    async (how, version) => {
      covers('I18');
      const { size, plan, end } = ends[how];
      const { before, finished, offerId } = await cutByHand(version, end, plan(), size);
      expect(said(finished)).toEqual([1, expect.stringContaining('"error":"STATE"')]);
      expect((await wired.phases(0, offerId)).at(-1)).toBe('UpgradeCancelled');
      await wired.shows(0, { version: before.version, status: before.status });
      const next = await wired.offer(
        0,
        version.replace(/.$/, last => String(Number(last) + 1)),
      );
      expect(said(await wired.upgrade())).toEqual([0, expect.anything()]);
      await wired.ended(next, 'RolloutCompleted');
    },
    limitMs,
  );

  it(
    'makes room for a better release that is rolled out meanwhile, and both rollouts end',
    async () => {
      let better = '';
      const { rolloutId } = await cutByHand('2.5.0', async () => {
        const file = wired.world.file('app-2.6.0.bin', new Uint8Array(20_000).fill(9));
        const names = ['--line', wired.life.line, '--image', 'app', '--version', '2.6.0', '--counter', '7'];
        const uploaded = await wired.world.nusec('release', 'upload', file, ...names, '--json');
        const { releaseId } = uploaded.lines.at(-1) as { releaseId: string };
        const { alice, bob } = wired.world;
        await bob.json('POST', `/v1/releases/${releaseId}/approve`, {});
        await alice.json('POST', `/v1/releases/${releaseId}/publish`, {});
        const plan = { releaseId, devices: [wired.unit(0).uid] };
        better = (await alice.json<{ rolloutId: string }>('POST', '/v1/rollouts', plan)).rolloutId;
        await bob.json('POST', `/v1/rollouts/${better}/approve`, {});
        await alice.json('POST', `/v1/rollouts/${better}/start`, {});
      });
      const isOver =
        (id: string) =>
        ({ stream, type }: { stream: string; type: string }) =>
          stream === `rollout-${id}` && /^Rollout(Completed|Halted)$/.test(type);
      for (let tries = 0; tries < 3; tries += 1) {
        expect(said(await wired.upgrade())).toEqual([0, expect.anything()]);
        if ((await wired.show(0)).version === '2.6.0') break;
        await wired.world.event(({ type, data }) => type === 'FirmwareOffered' && data.rolloutId === better, 'the better offer');
      }
      await wired.shows(0, { version: '2.6.0' });
      await wired.ended(better, 'RolloutCompleted');
      await wired.world.event(isOver(rolloutId), 'the end of the other');
    },
    limitMs,
  );

  it(
    'ends when its device is to be decommissioned; the next one wipes it (R96)',
    async () => {
      covers('R96');
      const { uid } = wired.unit(0);
      const { finished, before } = await cutByHand('2.7.0', () =>
        wired.world.alice.json('POST', `/v1/devices/${uid}/decommission`, { reason: 'end of life' }),
      );
      expect(said(finished)).toEqual([1, expect.stringMatching(/"error":"(STATE|DEVICE_STATE)"/)]);
      await wired.shows(0, { version: before.version });
      expect(said(await wired.upgrade())).toEqual([0, expect.anything()]);
      const end = await wired.world.event(({ type, stream }) => type === 'DeviceDecommissioned' && stream === `device-${uid}`, 'the end');
      expect(end.data.wipeReceiptSha256).toBeDefined();
    },
    limitMs,
  );
});

describe('an upgrade by a gateway', () => {
  const id = 'hall-8';
  let gateway: Running;
  const startGateway = async (target: string): Promise<void> => {
    const names = ['--data', `${wired.world.dir}/gw`, '--id', id, '--mqtt', wired.world.mqtt];
    gateway = await wired.world.start('gateway', 'gateway', 'run', ...names, '--device', `${wired.unit(1).uid}=${target}`, '--json');
  };
  beforeAll(async () => {
    for (const more of [['register'], ['attach', '--device', wired.unit(1).uid]])
      expect((await wired.world.nusec('gateway', more[0] as string, '--id', id, ...more.slice(1))).status).toBe(0);
  }, limitOfProcesses(2));

  it.each([
    ['server', '3.0.0'],
    ['gateway', '3.1.0'],
    ['device', '3.2.0'],
  ] as const)(
    'comes to its end by itself when the %s is killed in the middle of it (T33)',
    async (who, version) => {
      covers('T33');
      const link = await heldLink(Number(wired.mcus[1]?.ready.serialPort));
      await gateway?.stop('SIGKILL');
      await startGateway(`127.0.0.1:${link.port}`);
      const before = await wired.show(1);
      const held = link.hold(heldAfterBytes);
      const rolloutId = await wired.offer(1, version, {}, largeBytes);
      await wired.halfway(1, held, rolloutId);
      if (who === 'gateway') {
        await gateway.stop('SIGKILL');
        link.release();
        await startGateway(`127.0.0.1:${link.port}`);
      } else if (who === 'device') {
        // It is there again on the same line.
        await wired.mcus[1]?.stop('SIGKILL');
        await link.close();
        await wired.startMcu(1);
        await gateway.stop('SIGKILL');
        await startGateway(`127.0.0.1:${wired.mcus[1]?.ready.serialPort}`);
      } else {
        await killed.server();
        link.release();
      }
      await wired.ended(rolloutId, 'RolloutCompleted');
      await wired.shows(1, { version, status: before.status });
      if (who !== 'device') await link.close();
    },
    limitMs,
  );

  it.each<[End | 'has its device quarantined', string]>([
    ['is aborted', '3.3.1'],
    ['meets its deadline', '3.3.3'],
    ['has its release withdrawn', '3.3.5'],
    ['has its device quarantined', '3.3.7'],
  ])(
    'ends before the image is whole when its rollout %s meanwhile, and the next rollout comes to the device (I18)',
    async (how, version) => {
      covers('I18');
      const { uid } = wired.unit(1);
      const deed = (verb: string) => wired.world.alice.json('POST', `/v1/devices/${uid}/${verb}`, { reason: 'odd noise' });
      const isDeed = how === 'has its device quarantined';
      const { size, plan, end } = isDeed ? { size: large, plan: () => ({}), end: () => deed('quarantine') } : ends[how];
      const link = await heldLink(Number(wired.mcus[1]?.ready.serialPort));
      await gateway?.stop('SIGKILL');
      await startGateway(`127.0.0.1:${link.port}`);
      const before = await wired.show(1);
      const held = link.hold(size[1]);
      const rolloutId = await wired.offer(1, version, plan(), size[0]);
      const offerId = await wired.halfway(1, held, rolloutId);
      await end(rolloutId, link);
      link.release();
      const failed = await gateway.until(({ event }) => event === 'relay-failed', 'end of the transfer', limitMs);
      expect(failed.code).toMatch(/^(DEVICE_)?STATE$/);
      expect((await wired.phases(1, offerId)).at(-1)).toBe('UpgradeCancelled');
      await wired.shows(1, { version: before.version });
      if (isDeed) await deed('release');
      const next = await wired.offer(
        1,
        version.replace(/.$/, last => String(Number(last) + 1)),
      );
      await wired.ended(next, 'RolloutCompleted');
      await link.close();
    },
    limitMs,
  );
});
