import { afterAll, beforeAll, expect, it } from 'vitest';
import { type Fleet, publish, seedFleet } from '../gateway/fieldKit.ts';
import { type CommandAt, commandAt } from '../support/commandAt.ts';
import { limitOfProcesses } from '../support/limits.ts';
import { startTestServer, type TestServer } from '../support/server.ts';

/** `nusec rollout` as two release managers use it, with a real server. */

let server: TestServer;
let fleet: Fleet;
let newest = '';
let run: CommandAt;
beforeAll(async () => {
  server = await startTestServer(async ctx => {
    fleet = await seedFleet(ctx, 1);
    for (const counter of [10, 20]) await publish(ctx, 'app', `3.${counter}.0`, counter);
    newest = (await publish(ctx, 'app', '3.30.0', 30)).releaseId;
  });
  const nusec = commandAt(server);
  run = (token, ...args) => nusec(token, 'rollout', ...args);
});
afterAll(() => server?.close());

const json = async (token: string, ...args: readonly string[]) => JSON.parse((await run(token, ...args, '--json')).out);

async function roll(...permits: readonly string[]): Promise<string> {
  const uid = fleet.units[0]?.uid ?? '';
  const { rolloutId } = await json(server.alice, 'create', '--release', newest, '--device', uid, ...permits);
  expect((await run(server.bob, 'approve', rolloutId)).status).toBe(0);
  expect((await run(server.alice, 'start', rolloutId)).status).toBe(0);
  return rolloutId;
}

it('brings a device over the releases that it has slept through only with --permit-counter-jump, which the approver sees', {
  timeout: limitOfProcesses(12),
}, async () => {
  const refused = await roll();
  expect((await run(server.alice, 'show', refused, '--watch')).status).toBe(1);
  expect(await json(server.alice, 'show', refused)).toMatchObject({
    status: 'HALTED',
    progress: [{ status: 'refused', reason: 'COUNTER_JUMP' }],
  });
  const permitted = await roll('--permit-counter-jump');
  const seen = () => json(server.bob, 'show', permitted);
  await expect.poll(async () => (await seen()).counts, { timeout: limitOfProcesses(4) }).toEqual({ offered: 1 });
  expect(await seen()).toMatchObject({ plan: { permitCounterJump: true } });
  expect((await run(server.bob, 'show', permitted)).out).toContain('permitCounterJump');
});

it('takes thresholds of 0 and 100 percent as the API does', { timeout: limitOfProcesses(2) }, async () => {
  for (const [success, failure] of [
    [0, 100],
    [100, 0],
  ] as const) {
    const thresholds = ['--success', `${success}`, '--failure', `${failure}`];
    const { plan } = await json(server.alice, 'create', '--release', newest, ...thresholds);
    expect(plan.thresholds).toEqual({ successPercent: success, failurePercent: failure });
  }
});
