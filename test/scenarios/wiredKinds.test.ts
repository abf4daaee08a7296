import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type Running, start } from '../../scripts/demo/processes.ts';
import type { Life, Unit } from '../../scripts/demo/steps.ts';
import type { EventRecord, World } from '../../scripts/demo/world.ts';
import { covers } from '../support/covers.ts';
import { limitOfProcesses } from '../support/limits.ts';
import { openWorldOfTwoDevices } from './twoDevices.ts';

/** Devices that nobody reaches but over their serial line, and that speak something else in SPDM than ours: what their line allows over their own
 *  connection it allows over a wire. Server, programmer, gateway and device are each a process of its own. */

const limitMs = 240_000;
const program = fileURLToPath(new URL('./otherMcu.ts', import.meta.url));
let life: Life;
let world: World;
let running: Running | undefined;
let releases = 0;

beforeAll(async () => {
  ({ world, life } = await openWorldOfTwoDevices());
}, limitOfProcesses(6));
afterEach(() => running?.stop());
afterAll(() => world?.close());

const unit = (index: number): Unit => life.units[index] as Unit;
const show = (index: number) =>
  world.alice.json<{ version: string; attestation: string; status: string }>('GET', `/v1/devices/${unit(index).uid}`);
const typesOf = async (index: number): Promise<readonly EventRecord[]> =>
  (await world.events()).filter(({ stream }) => stream === `device-${unit(index).uid}`);
async function must(...args: readonly string[]): Promise<void> {
  const { status, error, lines } = await world.nusec(...args);
  expect(status, JSON.stringify([args, error, ...lines])).toBe(0);
}

type Kind = { readonly name: string; readonly policy: readonly string[]; readonly spoken: object };
const known = { slot: 15 };
const kinds: readonly Kind[] = [
  { name: '1.1', policy: ['--least-version', '1.1'], spoken: { version: '1.1', slot: 0 } },
  { name: '1.3', policy: ['--least-version', '1.3'], spoken: { version: '1.3', slot: 0 } },
  { name: '1.4', policy: ['--least-version', '1.4'], spoken: { version: '1.4', slot: 0 } },
  { name: 'chunks', policy: ['--require', 'CHUNK'], spoken: { version: '1.2', slot: 0 } },
  { name: 'own key', policy: ['--public-key'], spoken: { signature: 'P-256', ...known } },
  { name: 'P-384 key', policy: ['--public-key'], spoken: { signature: 'P-384', hash: 'SHA-384', ...known } },
  {
    name: 'ML-DSA-65 key',
    policy: ['--public-key', '--signatures', 'P-256', 'ML-DSA-65'],
    spoken: { version: '1.4', signature: 'ML-DSA-65', ...known },
  },
];
const defaults = ['--least-version', '1.2', '--signatures', 'P-256', 'P-384', '--require', 'NONE', '--no-public-key'];
const kindOf = (name: string): Kind => kinds.find(kind => kind.name === name)!;
const policyOf = async ({ policy }: Pick<Kind, 'policy'>): Promise<void> => {
  await must('line', 'attestation', life.line, ...defaults);
  if (policy.length > 0) await must('line', 'attestation', life.line, ...policy);
};

/** The device of that kind on its wire; a key of its own is enrolled. */
async function plugIn(index: number, { name }: Pick<Kind, 'name'>, port = 0): Promise<string> {
  running = await start(`device: ${name}`, [`${world.dir}/mcu${index + 1}`, name, String(port)], world.env, program);
  await enrol(index);
  return `127.0.0.1:${running.ready.serialPort}`;
}

/** For the generation that it has, or will have. */
async function enrol(index: number): Promise<void> {
  const publicKey = running?.ready.publicKey;
  if (typeof publicKey === 'string')
    await must('device', 'attestation-key', unit(index).uid, world.file('key.pem', new TextEncoder().encode(publicKey)));
}

async function offer(index: number): Promise<{ version: string; rolloutId: string }> {
  releases += 1;
  const version = `2.${releases}.0`;
  const file = world.file(`app-${version}.bin`, new Uint8Array(20_000).fill(releases));
  const wish = ['--line', life.line, '--image', 'app', '--version', version, '--counter', '7'];
  const { output } = await world.nusec('release', 'upload', file, ...wish);
  await world.bob.json('POST', `/v1/releases/${output.releaseId}/approve`, {});
  await world.alice.json('POST', `/v1/releases/${output.releaseId}/publish`, {});
  const plan = { releaseId: output.releaseId, devices: [unit(index).uid] };
  const { rolloutId } = await world.alice.json<{ rolloutId: string }>('POST', '/v1/rollouts', plan);
  await world.bob.json('POST', `/v1/rollouts/${rolloutId}/approve`, {});
  await world.alice.json('POST', `/v1/rollouts/${rolloutId}/start`, {});
  await world.event(({ type, data }) => type === 'FirmwareOffered' && data.rolloutId === rolloutId, 'the offer');
  return { version, rolloutId };
}
const programmer = (): string => `127.0.0.1:${life.programmer?.ready.serialPort}`;
const upgrade = (target: string) => world.nusec('programmer', 'upgrade', '--programmer', programmer(), '--target-serial', target);
const ended = (rolloutId: string) =>
  world.event(({ type, stream }) => type === 'RolloutCompleted' && stream === `rollout-${rolloutId}`, 'end of the rollout');
const newestRow = async (index: number): Promise<unknown> => {
  const { attestations } = await world.alice.json<{ attestations: readonly unknown[] }>(
    'GET',
    `/v1/devices/${unit(index).uid}/attestations?limit=1`,
  );
  return attestations[0];
};

describe('a workshop', () => {
  it.each(['1.1', 'own key'].map(kindOf))(
    'gives a device of the kind "$name" its next generation (I3)',
    async kind => {
      covers('I3');
      await policyOf(kind);
      const { uid } = unit(0);
      const serial = await plugIn(0, kind);
      await must('repair', 'take', uid, '--reason', 'dead display', '--by', life.programmerUid);
      await must('repair', 'return', uid);
      await enrol(0);
      await must('repair', 'renew', '--programmer', programmer(), '--target-serial', serial);
      expect(await show(0)).toMatchObject({ status: 'IN_SERVICE' });
    },
    limitMs,
  );
});

describe('a programmer as bridge', () => {
  it.each(kinds)(
    'upgrades a device of the kind "$name" where its line allows it; it proves the image (R84, R87, RULE-18)',
    async kind => {
      covers('R84', 'R87', 'RULE-18');
      await policyOf(kind);
      const serial = await plugIn(0, kind);
      const { version, rolloutId } = await offer(0);
      const done = await upgrade(serial);
      expect(done.status, JSON.stringify([done.error, ...done.lines])).toBe(0);
      await ended(rolloutId);
      expect(await show(0)).toMatchObject({ version });
      expect(await newestRow(0)).toMatchObject({ result: 'passed', negotiated: kind.spoken });
    },
    limitMs,
  );

  it.each(['1.1', 'own key'])(
    'says what a device of the kind "%s" does not speak where its line allows less, and holds nothing against it (R84)',
    async name => {
      covers('R84');
      await policyOf({ policy: [] });
      const serial = await plugIn(0, { name });
      const { version, attestation } = await show(0);
      const before = { version, attestation };
      await offer(0);
      const done = await upgrade(serial);
      expect([done.status, JSON.stringify([done.error, ...done.lines])]).toEqual([1, expect.stringContaining('SPDM_UNSUPPORTED')]);
      expect(await show(0)).toMatchObject(before);
      expect((await typesOf(0)).filter(({ type }) => type === 'AttestationFailed' || type === 'DeviceQuarantined')).toEqual([]);
    },
    limitMs,
  );
});

describe('a gateway', () => {
  const id = 'hall-9';
  let serialPort = 0;
  let gateway: Running;

  it.each(['1.1', 'own key', 'ML-DSA-65 key'].map(kindOf))(
    'upgrades a device of the kind "$name" and attests it (R84, R96)',
    async kind => {
      covers('R84', 'R96');
      await policyOf(kind);
      const { uid } = unit(1);
      const serial = await plugIn(1, kind, serialPort);
      if (serialPort === 0) {
        serialPort = Number(serial.split(':')[1]);
        await must('gateway', 'register', '--id', id);
        await must('gateway', 'attach', '--id', id, '--device', uid);
        const place = ['--data', `${world.dir}/gw`, '--id', id, '--mqtt', world.mqtt, '--device', `${uid}=${serial}`];
        gateway = await world.start('gateway', 'gateway', 'run', ...place, '--json');
      }
      const { version, rolloutId } = await offer(1);
      await ended(rolloutId);
      expect(await show(1)).toMatchObject({ version });
      expect(await gateway.until(line => line.event === 'upgraded' && line.version === version, version, limitMs)).toMatchObject({ uid });
      expect(await newestRow(1)).toMatchObject({ result: 'passed', via: `gateway:${id}`, negotiated: kind.spoken });
      const asked = await world.alice.json('POST', `/v1/devices/${uid}/attest`, { via: 'gateway' });
      expect(asked).toMatchObject({ result: 'passed', via: 'gateway', negotiated: kind.spoken });
    },
    limitMs,
  );
});
