import { cpSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { connectDebugPort } from '../../gateway-device/link/virtualDebugPort.ts';
import type { Finished, Running } from '../../scripts/demo/processes.ts';
import { type Life, newLife, steps, type Unit } from '../../scripts/demo/steps.ts';
import { createWorld, type EventRecord, type World } from '../../scripts/demo/world.ts';
import { covers } from '../support/covers.ts';
import { limitOfProcesses } from '../support/limits.ts';

/** A device from service to repair and back, every part a process of its own: server, programmer, device. */

const limitMs = 180_000;
let life: Life;
let world: World;
let device: Unit;

beforeAll(async () => {
  world = await createWorld({ patienceMs: 120_000 });
  life = newLife(world);
  const last = steps.findIndex(({ name }) => name === 'the first MCU is produced');
  for (const step of steps.slice(0, last + 1)) await step.run(life);
  device = life.units[0] as Unit;
  await happened('AttestationPassed');
}, limitOfProcesses(6));
afterAll(() => world?.close());

const happened = (type: string, after = 0): Promise<EventRecord> =>
  world.event(event => event.type === type && event.stream === `device-${device.uid}` && event.position > after, type);
const timeline = async (): Promise<readonly EventRecord[]> =>
  (await world.events()).filter(({ stream }) => stream === `device-${device.uid}`);
const status = async (): Promise<string> => (await world.alice.json<{ status: string }>('GET', `/v1/devices/${device.uid}`)).status;
const repair = (...args: readonly string[]): Promise<Finished> => world.nusec('repair', ...args);
/** What the workshop does with the device on the wires. */
const workshop = (name: 'open' | 'renew'): Promise<Finished> => {
  const { programmer } = life as Required<Pick<Life, 'programmer'>>;
  const port = (running: Running): string => `127.0.0.1:${running.ready.serialPort}`;
  return repair(name, '--programmer', port(programmer), '--target-serial', port(device.mcu));
};
const codeOf = ({ error, lines }: Finished): unknown => error.error ?? JSON.stringify([error, ...lines]);
const refusal = (work: Promise<unknown>): Promise<unknown> =>
  work.then(
    () => 'OK',
    (error: { code?: unknown }) => error.code,
  );
const connections = ({ lines }: Running): number => lines.filter(({ event }) => event === 'connected').length;

async function readUid(): Promise<unknown> {
  const debug = await connectDebugPort('127.0.0.1', Number(device.mcu.ready.debugPort));
  try {
    return await refusal(debug.readUid().then(({ debugState }) => Promise.reject({ code: debugState })));
  } finally {
    await debug.close();
  }
}

describe('a device in service', () => {
  it(
    'is taken for repair: it is cut off, its certificates are on hold, and it does not come back',
    async () => {
      covers('I11');
      const taken = await repair('take', device.uid, '--reason', 'dead display', '--by', life.programmerUid);
      expect(taken.status, JSON.stringify(taken.error)).toBe(0);
      expect(await status()).toBe('RMA');
      const before = connections(device.mcu);
      await device.mcu.until(({ event }) => event === 'disconnected' || event === 'unreachable', 'cut off', limitMs);
      const { certificates } = await world.alice.json<{ certificates: readonly { reason: string | null }[] }>(
        'GET',
        `/v1/certificates?subject=${device.uid}`,
      );
      expect(new Set(certificates.map(({ reason }) => reason))).toEqual(new Set(['certificateHold']));
      expect(connections(device.mcu)).toBe(before);
    },
    limitMs,
  );

  it(
    'is unlocked by two people, once',
    async () => {
      covers('I16', 'T29');
      expect(codeOf(await workshop('open'))).toBe('DEVICE_STATE');
      expect((await repair('unlock', device.uid, '--reason', 'does not boot')).status).toBe(0);
      expect(codeOf(await workshop('open'))).toBe('FOUR_EYES_REQUIRED');
      expect(codeOf(await repair('approve', device.uid))).toBe('FOUR_EYES_REQUIRED');
      await world.bob.json('POST', `/v1/devices/${device.uid}/repair/unlock/approve`, {});
      expect(await readUid()).toBe('DEBUG_LOCKED');
      const opened = await workshop('open');
      expect(opened.status, JSON.stringify(opened.error)).toBe(0);
      expect(await readUid()).toBe('unlocked');
      expect(codeOf(await workshop('open'))).toBe('PASSWORD_DISCLOSED');
      expect((await timeline()).filter(({ type }) => type === 'DebugUnlockOrdered').map(({ data }) => data.approvers)).toEqual([
        ['operator:alice', 'operator:bob'],
      ]);
    },
    limitMs,
  );

  it(
    'returns as a new generation: new key, new registration id, the same boot keys',
    async () => {
      covers('I3');
      cpSync(`${world.dir}/mcu1`, `${world.dir}/old`, { recursive: true });
      expect(codeOf(await workshop('renew'))).toBe('DEVICE_STATE');
      expect((await repair('return', device.uid)).status).toBe(0);
      const before = await timeline();
      const renewed = await workshop('renew');
      expect(renewed.status, JSON.stringify(renewed.error)).toBe(0);
      const { position } = await happened('DeviceReturnedToService');
      const since = (await timeline()).slice(before.length);
      const superseded = since.filter(({ type, data }) => type === 'CertificateRevoked' && data.reason === 'superseded');
      const issued = before.filter(({ type }) => type === 'DeviceCertified' || type === 'OperationalCertificateIssued');
      expect(superseded.map(({ data }) => data.serial).toSorted()).toEqual(issued.map(({ data }) => data.serial).toSorted());
      expect(since.map(({ type }) => type)).not.toContain('BootKeyBurned');
      expect(await status()).toBe('IN_SERVICE');

      const passed = await happened('AttestationPassed', position);
      expect(passed.data.via).toBe('mqtt');
      const { generation } = await world.alice.json<{ generation: number }>('GET', `/v1/devices/${device.uid}`);
      expect(generation).toBe(2);
      expect(await readUid()).toBe('DEBUG_LOCKED');
    },
    limitMs,
  );

  it(
    'is not served under its old identity any more',
    async () => {
      covers('T23');
      const old = await world.start('old', 'mcu', 'run', '--data', `${world.dir}/old`, '--mqtt', world.mqtt, '--json');
      await old.until(({ event }) => event === 'unreachable' || event === 'connected', 'refused', limitMs);
      expect(connections(old)).toBe(0);
      await old.stop();
    },
    limitMs,
  );

  it('has no secret in the log', async () => {
    covers('I19');
    const text = JSON.stringify(await world.events());
    expect(text.includes('DebugUnlockOrdered')).toBe(true);
    expect(text.match(/PRIVATE KEY|privateKey|"password"/)).toBeNull();
  });
});
