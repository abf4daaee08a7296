import { copyFileSync, mkdirSync, readdirSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import Database from 'better-sqlite3';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { HttpClient } from '../../gateway-device/link/httpClient.ts';
import { type Life, newLife, type Step, steps } from '../../scripts/demo/steps.ts';
import { createWorld, type World } from '../../scripts/demo/world.ts';
import { NusecError } from '../../src/errors.ts';
import { startCommand } from '../support/command.ts';
import { covers } from '../support/covers.ts';
import { limitOfProcesses } from '../support/limits.ts';

/** The restore drill: backups of a server at work, one of them tried beside it, one put in the place of a data folder that was lost. */

/** A device that was cut off waits before it connects again. */
const patienceMs = 90_000;
const pauseMs = 200;

/** Asks again as long as a device is on its way. */
const patient = (client: HttpClient): HttpClient => ({
  ...client,
  async json(...call) {
    for (let leftMs = patienceMs; ; leftMs -= pauseMs) {
      try {
        return await client.json(...call);
      } catch (error) {
        if (!(error instanceof NusecError && error.code === 'DEVICE_UNREACHABLE') || leftMs <= 0) throw error;
        await sleep(pauseMs);
      }
    }
  },
});

let life: Life;
let world: World;
const place = (name: string): string => join(world.dir, name);
/** Steps up to the named one, without it. */
const at = steps.findIndex(({ name }) => name === 'the second MCU is produced');

beforeAll(async () => {
  world = await createWorld({ patienceMs });
  life = newLife({ ...world, alice: patient(world.alice) });
});
afterAll(() => world?.close());

const run = async (part: readonly Step[]): Promise<void> => {
  for (const step of part) await step.run(life);
};

async function nusec(args: readonly string[], more: NodeJS.ProcessEnv = {}): Promise<Readonly<Record<string, unknown>>> {
  const { status, out, err } = await startCommand([...args, '--json'], { ...world.env, ...more }).ended();
  expect([status, err], args.join(' ')).toEqual([0, '']);
  return JSON.parse(out);
}

it('has been tried: a backup under load serves beside the real one, then another replaces it, and the devices live on (T34, I14)', {
  timeout: limitOfProcesses(36),
}, async () => {
  covers('T34', 'I14');
  const [data, drill, lost, keys] = [place('server'), place('drill'), place('lost'), place('keys')];
  await run(steps.slice(0, at));
  const keystore = ['--file', place('keystore.nkb'), '--shares-dir', keys, '--threshold', '2', '--shares', '3'];
  await nusec(['keystore', 'backup', '--data', data, ...keystore]);
  const shares = readdirSync(keys)
    .slice(0, 2)
    .flatMap(name => ['--share', join(keys, name)]);
  const restoreKeys = (folder: string) => nusec(['keystore', 'restore', '--data', folder, '--file', place('keystore.nkb'), ...shares]);

  // Under load: while a unit is produced.
  const [underLoad] = await Promise.all([nusec(['backup', place('b1'), '--data', data]), run(steps.slice(at, at + 1))]);
  expect(underLoad).toMatchObject({ keystore: 'software', events: expect.any(Number) });
  await restoreKeys(drill);
  const state = { NUSEC_STATE_DIR: place('drill-state'), NUSEC_HTTPS_PORT: '0', NUSEC_MQTT_PORT: '0', NUSEC_CRL_PORT: '0' };
  expect(await nusec(['restore', place('b1'), '--data', drill], state)).toMatchObject({ events: underLoad.events, by: [] });
  expect(await nusec(['log', 'verify', '--data', drill])).toMatchObject({ ok: true, events: underLoad.events, beside: [] });
  const beside = startCommand(['server', '--data', drill, '--json'], { ...world.env, ...state });
  expect(await beside.ready).toMatchObject({ ready: true });
  beside.kill('SIGTERM');
  expect((await beside.ended()).status).toBe(0);
  // A boot key that a disk has changed, while every event is whole.
  const custody = new Database(join(drill, 'custody.db'));
  custody.exec('UPDATE custody_key SET wrapped = zeroblob(length(wrapped)) WHERE key_id = (SELECT min(key_id) FROM custody_key)');
  custody.close();
  const verification = await startCommand(['log', 'verify', '--data', drill, '--json'], world.env).ended();
  expect([verification.status, JSON.parse(verification.err)]).toMatchObject([
    1,
    { error: 'STORE_DAMAGED', detail: expect.stringContaining('custody.db, key boot/') },
  ]);
  expect(JSON.parse(verification.out)).toMatchObject({ ok: false, refused: [], beside: [{ detail: 'is not what was stored' }] });

  const before = await world.events();
  const last = await nusec(['backup', place('b2'), '--data', data]);
  await world.servers()[0]?.stop('SIGKILL');
  renameSync(data, lost);
  await restoreKeys(data);
  const tokens = ['--token-file', join(lost, 'alice.token'), '--second-token-file', join(lost, 'bob.token')];
  expect(await nusec(['restore', place('b2'), '--data', data, ...tokens])).toMatchObject({ events: last.events });
  mkdirSync(data, { recursive: true });
  for (const name of ['alice.token', 'bob.token']) copyFileSync(join(lost, name), join(data, name));
  await world.restartServer('SIGKILL');
  const after = await world.events();
  expect(after.slice(0, before.length).map(({ hash }) => hash)).toEqual(before.map(({ hash }) => hash));
  await run(steps.slice(at + 1));
  expect((await world.events()).filter(({ type }) => type === 'UnitCommitted')).toHaveLength(2);
});
