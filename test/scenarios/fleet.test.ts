import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, expect, it } from 'vitest';
import type { HttpClient } from '../../gateway-device/link/httpClient.ts';
import { reservePorts } from '../../scripts/demo/ports.ts';
import { type Running, start } from '../../scripts/demo/processes.ts';
import { type Fleet, people, seedFleet, type Unit } from '../gateway/fieldKit.ts';
import { covers } from '../support/covers.ts';
import { limitOfProcesses } from '../support/limits.ts';
import { makeProject, type TestServer } from '../support/server.ts';
import { makeMcuFolder } from './mcuFolders.ts';

/** A rollout to a fleet whose links lose every tenth message, whose devices are switched off and on and killed at random, and whose server is killed three
 *  times: it ends with every device upgraded, or named with the reason. `NUSEC_FLEET=100` runs a hundred devices, each in a process of its own; without it
 *  there are four in one process. */

const count = Number(process.env.NUSEC_FLEET ?? 4);
const perProcess = process.env.NUSEC_FLEET === undefined ? 4 : 1;
const lossPercent = 10;
const resetsPerProcess = 3;
const resetPauseMs = perProcess === 1 ? 40_000 : 1500;
/** Processes of devices that start in parallel. */
const startsAtOnce = 4;
const deviceKills = Math.ceil(count / 4);
const deviceKillPauseMs = 2000;
const kills = 3;
const killPauseMs = 1000;

const folder = mkdtempSync(join(tmpdir(), 'nusec-fleet-'));
const ends: (() => Promise<unknown>)[] = [];
afterAll(async () => {
  for (const end of ends.toReversed()) await end();
  rmSync(folder, { recursive: true, force: true });
});

type View = { readonly status: string; readonly counts: Record<string, number>; readonly progress: readonly Shown[] };
type Shown = { readonly uid: string; readonly status: string; readonly reason: string | null };

it(`ends with every one of ${count} devices upgraded or named with a reason (T22, T33, I18)`, {
  timeout: limitOfProcesses(count),
}, async () => {
  covers('T22', 'T33', 'I18');
  let fleet: Fleet | undefined;
  const units: Unit[] = [];
  const project = await makeProject(async ctx => {
    fleet = await seedFleet(ctx, 0);
    for (let i = 0; i < count; i += 1) units.push(await makeMcuFolder(ctx, fleet, join(folder, String(i))));
  });
  ends.push(async () => project.remove());
  const reserved = await reservePorts(3);
  ends.push(async () => reserved.close());
  const [https, mqtt, crl] = reserved.ports;
  const env = {
    ...process.env,
    NUSEC_HTTPS_PORT: String(https),
    NUSEC_MQTT_PORT: String(mqtt),
    NUSEC_CRL_PORT: String(crl),
    NUSEC_STATE_DIR: join(folder, 'state'),
  };
  const startServer = (): Promise<Running> => start('server', ['server', '--data', project.dataDir, '--json'], env);
  let server = await startServer();
  ends.push(() => server.stop());
  const where = { ...project, url: `https://localhost:${https}` } as unknown as TestServer;
  const [alice, bob] = [people(where), people(where, project.bob)];
  ends.push(async () => [alice, bob].forEach(http => void http.close()));

  const indexes = Array.from({ length: count }, (_, i) => i);
  const groups = Array.from({ length: Math.ceil(count / perProcess) }, (_, i) => indexes.slice(i * perProcess, (i + 1) * perProcess));
  const processes: Group[] = [];
  ends.push(async () => Promise.all(processes.map(({ kill }) => kill())));
  for (let at = 0; at < groups.length; at += startsAtOnce)
    processes.push(...(await Promise.all(groups.slice(at, at + startsAtOnce).map(group => startGroup(group, Number(mqtt))))));
  const devices = units.map(({ uid }) => uid);
  const plan = {
    releaseId: fleet?.next.releaseId,
    devices,
    successPercent: 100,
    failurePercent: 100,
    retries: { count: 3, afterMinutes: 1 },
  };
  const { rolloutId } = await alice.json<{ rolloutId: string }>('POST', '/v1/rollouts', plan);
  await bob.json('POST', `/v1/rollouts/${rolloutId}/approve`, {});
  await alice.json('POST', `/v1/rollouts/${rolloutId}/start`, {});
  const killing = killDevices(processes);
  ends.push(() => killing);
  for (let killed = 0; killed < kills; killed += 1) {
    const before = await finished(alice, rolloutId);
    await expect
      .poll(async () => (await finished(alice, rolloutId)) > before || before === count, { timeout: limitOfProcesses(count) })
      .toBe(true);
    await server.stop('SIGKILL');
    await new Promise(resolve => setTimeout(resolve, killPauseMs));
    server = await startServer();
  }
  await expect.poll(() => isOver(alice, rolloutId), { timeout: limitOfProcesses(count), interval: 500 }).toBe(true);
  const { progress } = await alice.json<View>('GET', `/v1/rollouts/${rolloutId}`);
  expect(progress).toHaveLength(count);
  expect(progress.filter(({ status, reason }) => status !== 'upgraded' && reason === null)).toEqual([]);
});

const view = (http: HttpClient, id: string): Promise<View | undefined> =>
  http.json<View>('GET', `/v1/rollouts/${id}`).catch(() => undefined);
const finished = async (http: HttpClient, id: string): Promise<number> => (await view(http, id))?.counts.upgraded ?? 0;
const isOver = async (http: HttpClient, id: string): Promise<boolean> =>
  ['COMPLETED', 'HALTED'].includes((await view(http, id))?.status ?? '');

type Group = { kill(): Promise<void>; again(): Promise<void> };

/** One group of devices in a process, and how it loses its power and gets it back. */
async function startGroup(indexes: readonly number[], port: number): Promise<Group> {
  const script = join(import.meta.dirname, 'mcuGroup.ts');
  const settings = [folder, indexes.join(), String(port), ...[lossPercent, resetsPerProcess, resetPauseMs].map(String)];
  const begin = async (): Promise<ChildProcess> => {
    const child = spawn(process.execPath, [script, ...settings], { stdio: ['ignore', 'pipe', 'inherit'] });
    const ready = once(createInterface({ input: child.stdout }), 'line');
    await Promise.race([
      ready,
      once(child, 'exit').then(([status]) => Promise.reject(new Error(`devices ${indexes} ended with ${status}`))),
    ]);
    return child;
  };
  const kill = async (child: ChildProcess): Promise<void> => {
    child.kill('SIGKILL');
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
  };
  let running = await begin();
  return {
    kill: () => kill(running),
    async again() {
      await kill(running);
      running = await begin();
    },
  };
}

/** One at a time, each at a random moment. */
async function killDevices(processes: readonly Group[]): Promise<void> {
  for (let left = deviceKills; left > 0; left -= 1) {
    await new Promise(resolve => setTimeout(resolve, Math.random() * 2 * deviceKillPauseMs));
    await processes[Math.floor(Math.random() * processes.length)]?.again();
  }
}
