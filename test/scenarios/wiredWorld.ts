import { expect } from 'vitest';
import type { Running } from '../../scripts/demo/processes.ts';
import type { Unit } from '../../scripts/demo/steps.ts';
import type { EventRecord } from '../../scripts/demo/world.ts';
import type { HeldLink } from '../support/heldLink.ts';
import { openWorldOfTwoDevices, type WorldWish } from './twoDevices.ts';

/** Two devices that nobody reaches but over their serial line, with a programmer, a server, and what stands for the devices there. */
export type WiredWorld = Awaited<ReturnType<typeof openWiredWorld>>;

/** Of 150 pieces, which a device acknowledges with 100 bytes each, after a session with its certificates. */
export const largeBytes = 600_000;
export const heldAfterBytes = 10_000;

export const serial = (running: Running | undefined): string => `127.0.0.1:${running?.ready.serialPort}`;

export async function openWiredWorld(wish: WorldWish = {}) {
  const { world, life } = await openWorldOfTwoDevices(wish);
  const mcus: Running[] = [];
  const startMcu = async (index: number): Promise<void> => {
    mcus[index] = await world.start(`wired ${index}`, 'mcu', 'run', '--data', `${world.dir}/mcu${index + 1}`, '--json');
  };
  for (const i of life.units.keys()) await startMcu(i);
  const unit = (index: number): Unit => life.units[index] as Unit;
  const typesOf = async (index: number): Promise<readonly EventRecord[]> =>
    (await world.events()).filter(({ stream }) => stream === `device-${unit(index).uid}`);
  const phases = async (index: number, offerId: unknown) =>
    (await typesOf(index)).filter(({ data }) => data.offerId === offerId).map(({ type, data }) => data.phase ?? type);
  const command = (rolloutId: string, verb: string) =>
    world.alice.json('POST', `/v1/rollouts/${rolloutId}/${verb}`, { reason: 'complaints' });
  const show = (index: number) => world.alice.json<{ status: string; version: string }>('GET', `/v1/devices/${unit(index).uid}`);
  /** An event is there a moment before the read model has it. */
  const shows = (index: number, facts: object) => expect.poll(() => show(index), { timeout: 10_000 }).toMatchObject(facts);
  /** Waits until the image is half written. @returns the offer */
  const halfway = async (index: number, held: Promise<void>, rolloutId: string): Promise<unknown> => {
    await held;
    const { offerId } = (await typesOf(index)).findLast(({ data }) => data.rolloutId === rolloutId)?.data ?? {};
    expect((await phases(index, offerId)).slice(-1)).toEqual(['UpgradeAnnounced']);
    return offerId;
  };
  return {
    world,
    life,
    mcus,
    unit,
    typesOf,
    phases,
    command,
    halfway,
    startMcu,
    async startProgrammer(): Promise<void> {
      const data = `${world.dir}/programmer`;
      life.programmer = await world.start('programmer', 'programmer', 'run', '--data', data, '--uid', life.programmerUid, '--json');
    },
    show,
    shows,
    upgrade: (target = serial(mcus[0])) =>
      world.nusec('programmer', 'upgrade', '--programmer', serial(life.programmer), '--target-serial', target, '--json'),
    async offer(index: number, version: string, plan: object = {}, payloadBytes = 20_000): Promise<string> {
      const file = world.file(`app-${version}.bin`, new Uint8Array(payloadBytes).fill(version.charCodeAt(2)));
      const names = ['--line', life.line, '--image', 'app', '--version', version, '--counter', '7'];
      const uploaded = await world.nusec('release', 'upload', file, ...names, '--json');
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
    },
    ended: (rolloutId: string, how: string) =>
      world.event(({ type, stream }) => type === how && stream === `rollout-${rolloutId}`, `${how} of ${rolloutId}`),
    /** Runs until the image is half written, then stops the rollout. @returns the offer */
    async stopHalfway(index: number, link: HeldLink, held: Promise<void>, rolloutId: string, verb: string): Promise<unknown> {
      const offerId = await halfway(index, held, rolloutId);
      await command(rolloutId, verb);
      link.release();
      return offerId;
    },
  };
}
