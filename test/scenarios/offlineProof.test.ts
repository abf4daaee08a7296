import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Life } from '../../scripts/demo/steps.ts';
import type { World } from '../../scripts/demo/world.ts';
import { eventually } from '../gateway/fieldKit.ts';
import { covers } from '../support/covers.ts';
import { limitOfProcesses } from '../support/limits.ts';
import { openWorldOfTwoDevices } from './twoDevices.ts';

/** Evidence of every attestation of a device, also of those that changed nothing, is verified on a machine that has the root certificate and the file and
 *  nothing else: no server, no network, no settings. */

const main = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));
let life: Life;
let world: World;
let away: string;
let ids: readonly number[] = [];

beforeAll(async () => {
  ({ world, life } = await openWorldOfTwoDevices());
  away = mkdtempSync(join(tmpdir(), 'nusec-verifier-'));
}, limitOfProcesses(6));
afterAll(async () => {
  await world?.close();
  if (away !== undefined) rmSync(away, { recursive: true });
});

const uid = (): string => life.units[0]?.uid ?? '';
const fileOf = (id: number): string => join(away, `${id}.json`);
/** A machine without a network, where that can be had. */
const cutOff = spawnSync('unshare', ['--net', 'true']).status === 0 ? ['unshare', '--net'] : [];

function verify(file: string, ...options: readonly string[]) {
  const [program = process.execPath, ...args] = [
    ...cutOff,
    process.execPath,
    main,
    'evidence',
    'verify',
    file,
    '--trust',
    join(away, 'root.pem'),
    ...options,
  ];
  const { status, stdout } = spawnSync(program, [...args, '--json'], {
    cwd: away,
    env: { HOME: away, PATH: process.env.PATH },
    encoding: 'utf8',
  });
  const text = stdout.trim().split('\n').at(-1) ?? '';
  return { status, ...(text.startsWith('{') && (JSON.parse(text) as { result?: string; measurements?: readonly object[] })) };
}

it('is written to files while the server is there', async () => {
  await world.start('online', 'mcu', 'run', '--data', `${world.dir}/mcu1`, '--mqtt', world.mqtt, '--json');
  const attest = () => world.alice.json<{ result: string }>('POST', `/v1/devices/${uid()}/attest`, { via: 'mqtt' });
  const isAway = (error: unknown) => void expect(error).toMatchObject({ code: 'DEVICE_UNREACHABLE' });
  for (let time = 0; time < 3; time++) expect(await eventually(() => attest().catch(isAway))).toMatchObject({ result: 'passed' });
  const { lines } = await world.nusec('device', 'attestations', uid(), '--limit', '100', '--json');
  const attestations = lines.at(-1) as unknown as readonly { id: number; result: string }[];
  ids = attestations.filter(({ result }) => result === 'passed').map(({ id }) => id);
  expect(ids.length).toBeGreaterThan(3);
  for (const id of ids) {
    const { status, error } = await world.nusec('evidence', 'attestation', uid(), '--id', String(id), '--out', fileOf(id));
    expect(status, JSON.stringify(error)).toBe(0);
  }
  writeFileSync(join(away, 'root.pem'), readFileSync(String(world.env.NUSEC_CA)));
});

it('verifies when the server is gone: which certificate, which measurement, which release (R85)', async () => {
  covers('R85');
  await world.close();
  for (const id of ids) {
    const proven = verify(fileOf(id));
    expect(proven).toMatchObject({ status: 0, result: 'passed', uid: uid(), negotiated: { version: expect.any(String) } });
    expect(proven.measurements).toEqual(expect.arrayContaining([expect.objectContaining({ reference: expect.anything() })]));
  }
});

it('is refused when a byte of it is another, at a time when the certificate is not valid, and by another root', () => {
  const [id = 0] = ids;
  const proof = JSON.parse(readFileSync(fileOf(id), 'utf8')) as { nonceHex: string };
  const nonceHex = `${proof.nonceHex.startsWith('0') ? '1' : '0'}${proof.nonceHex.slice(1)}`;
  writeFileSync(join(away, 'changed.json'), JSON.stringify({ ...proof, nonceHex }));
  expect(verify(join(away, 'changed.json')).status).toBe(1);
  expect(verify(fileOf(id), '--at', '1999-01-01T00:00:00Z').status).toBe(1);
  execFileSync(
    'openssl',
    [
      'req',
      '-x509',
      '-newkey',
      'ec',
      '-pkeyopt',
      'ec_paramgen_curve:P-256',
      '-nodes',
      '-keyout',
      'key.pem',
      '-out',
      'other.pem',
      '-subj',
      '/CN=Other',
    ],
    {
      cwd: away,
      stdio: 'pipe',
    },
  );
  expect(verify(fileOf(id), '--trust', join(away, 'other.pem')).status).toBe(1);
});

it('gives reference values and a result that other verifiers read, and is held against them again', () => {
  const [id = 0] = ids;
  const [corim, eat] = [join(away, 'values.corim'), join(away, 'result.eat')];
  expect(verify(fileOf(id), '--corim', corim, '--eat', eat).status).toBe(0);
  expect(verify(fileOf(id), '--reference', corim)).toMatchObject({ status: 0, result: 'passed' });
  expect(readFileSync(eat).length).toBeGreaterThan(50);
});
