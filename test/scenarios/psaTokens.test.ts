import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Running } from '../../scripts/demo/processes.ts';
import type { Life, Unit } from '../../scripts/demo/steps.ts';
import type { World } from '../../scripts/demo/world.ts';
import { eventually } from '../gateway/fieldKit.ts';
import { covers } from '../support/covers.ts';
import { limitOfProcesses } from '../support/limits.ts';
import { openWorldOfTwoDevices } from './twoDevices.ts';

/** Devices without SPDM, each a process of its own, prove themselves to a server process with PSA attestation tokens: one on its own connection, one on the
 *  wire of a gateway process. What the server kept is verified by the command, without the server. */

const limitMs = 240_000;
/** The schedule looks once a minute. */
const watchMs = 150_000;
const main = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));
const gatewayId = 'hall-5';
let life: Life;
let world: World;
let wired: Running;

beforeAll(async () => {
  ({ world, life } = await openWorldOfTwoDevices());
  await must('line', 'attestation', life.line, '--evidence', 'psa-token');
}, limitOfProcesses(6));
afterAll(() => world?.close());

const unit = (index: number): Unit => life.units[index] as Unit;
const folder = (index: number): string => `${world.dir}/mcu${index + 1}`;
const attest = (index: number, wish: object = {}) =>
  world.alice.json<{ result: string; via: string; evidenceSha256: string }>('POST', `/v1/devices/${unit(index).uid}/attest`, wish);

async function must(...args: readonly string[]) {
  const finished = await world.nusec(...args, '--json');
  if (finished.status !== 0) throw new Error(`nusec ${args.slice(0, 2).join(' ')}: ${JSON.stringify([finished.error, ...finished.lines])}`);
  return finished.lines.at(-1);
}

/** What the server kept of the newest attestation holds by the root certificate alone. */
async function verifiedFile(index: number): Promise<unknown> {
  const file = `${world.dir}/${index}.attestation.json`;
  await must('evidence', 'attestation', unit(index).uid, '--out', file);
  return must('evidence', 'verify', file, '--trust', String(world.env.NUSEC_CA));
}

it(
  'one proves itself on its own connection, over MQTT (R84, R85)',
  async () => {
    covers('R84', 'R85');
    const { uid } = unit(0);
    await world.start('online', 'mcu', 'run', '--data', folder(0), '--mqtt', world.mqtt, '--evidence', 'psa-token', '--json');
    await world.event(
      ({ type, stream, data }) => type === 'AttestationPassed' && stream === `device-${uid}` && data.via === 'mqtt',
      'proof',
    );
    // It may get its operational certificate now, and connects once more then.
    const isAway = (error: unknown) => void expect(error).toMatchObject({ code: 'DEVICE_UNREACHABLE' });
    const again = await eventually(() => attest(0, { via: 'mqtt' }).catch(isAway));
    expect(again).toMatchObject({
      result: 'passed',
      via: 'mqtt',
      token: { lifeCycle: 'secured', algorithm: 'ES256' },
    });
    expect(await verifiedFile(0)).toMatchObject({ result: 'passed', token: { lifeCycle: 'secured' } });
  },
  limitMs,
);

it(
  'one proves itself through a gateway, which signs a verdict over the token (R84)',
  async () => {
    covers('R84');
    const { uid } = unit(1);
    wired = await world.start('wired', 'mcu', 'run', '--data', folder(1), '--evidence', 'psa-token', '--json');
    await must('gateway', 'register', '--id', gatewayId);
    await must('gateway', 'attach', '--id', gatewayId, '--device', uid);
    const wire = `${uid}=127.0.0.1:${wired.ready.serialPort}`;
    const place = ['--data', `${world.dir}/gateway-5`, '--id', gatewayId, '--mqtt', world.mqtt, '--device', wire];
    await world.start('gateway', 'gateway', 'run', ...place, '--json');
    const first = await attest(1);
    expect(first).toMatchObject({ result: 'passed', via: 'gateway', token: { lifeCycle: 'secured' } });
    const event = await world.event(({ type, stream }) => type === 'AttestationPassed' && stream === `device-${uid}`, 'proof');
    expect(event.data).toMatchObject({ via: 'gateway', evidenceSha256: first.evidenceSha256, verdictSha256: expect.any(String) });
    // Each question has a nonce of its own, so that each answer is another token.
    expect((await attest(1)).evidenceSha256).not.toBe(first.evidenceSha256);
    expect(await verifiedFile(1)).toMatchObject({ result: 'passed', token: { lifeCycle: 'secured' } });
  },
  limitMs,
);

it(
  '`nusec attest --line --watch` has both asked once more, and shows how far that is until none is left',
  async () => {
    const { status } = await world.alice.json<{ status: string }>('GET', `/v1/devices/${unit(1).uid}`);
    expect(status).toBe('IN_SERVICE');
    const watched = [main, 'attest', '--line', life.line, '--watch'];
    const { stdout } = await promisify(execFile)(process.execPath, watched, { env: world.env, timeout: watchMs });
    const shown = stdout.trim().split('\n');
    expect(shown[0]).toBe('0/2 attested, 2 left · 0 passed, 0 failed, 0 unsupported, 0 unproven');
    expect(shown.at(-1)).toBe('2/2 attested, 0 left · 2 passed, 0 failed, 0 unsupported, 0 unproven');
    expect(await must('attest', '--line', life.line, '--no-start')).toMatchObject({ inService: 2, attested: 2, left: 0, overdue: false });
  },
  limitMs,
);

it(
  'one whose firmware speaks SPDM instead is unsupported, and nothing is held against it',
  async () => {
    const { uid } = unit(1);
    const { serialPort } = wired.ready;
    await wired.stop();
    await world.start('wired again', 'mcu', 'run', '--data', folder(1), '--serial-port', String(serialPort), '--json');
    expect(await attest(1)).toMatchObject({ result: 'unsupported', via: 'gateway' });
    expect(await world.alice.json('GET', `/v1/devices/${uid}`)).toMatchObject({ attestation: 'passed' });
  },
  limitMs,
);
