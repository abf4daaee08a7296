import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { Agent } from 'node:https';
import { join } from 'node:path';
import { toHex } from '../src/bytes.ts';
import { deviceStream } from '../src/domain/device.ts';
import type { Context } from '../src/services/base/context.ts';
import { exchange } from '../test/support/http.ts';
import { startTestServer } from '../test/support/server.ts';
import { interleave, median, type Report } from './parts/measure.ts';

/** What people wait for: the help of a command, and the page of a large fleet. */

const devices = Number(process.env.NUSEC_BENCH_DEVICES ?? 100_000);
const devicesInCommit = 500;
const rounds = 9;
const pages = 30;
const pageGoalMs = 10;
const helpGoal = 3;
const root = join(import.meta.dirname, '..');

export async function run(report: Report): Promise<void> {
  await measureHelp(report);
  await measureFleetPage(report);
}

async function measureHelp(report: Report): Promise<void> {
  const timed = (program: string, args: readonly string[]): number => {
    const startMs = performance.now();
    const { status } = spawnSync(program, args, { stdio: 'ignore' });
    if (status !== 0) throw new Error(`${program} ${args.join(' ')} ended with ${status}`);
    return performance.now() - startMs;
  };
  const bare = () => timed(process.execPath, ['-e', '0']);
  for (const words of [[], ['device'], ['job'], ['server'], ['operator'], ['keystore'], ['programmer'], ['devauth']]) {
    const help = () => timed(join(root, 'nusec'), [...words, '--help']);
    // The first start compiles, and keeps that.
    help();
    const { value, bound } = await interleave(rounds, help, bare);
    const boundWhat = `${helpGoal} × the start of bare Node`;
    report({ figure: `nusec ${[...words, '--help'].join(' ')}`, value, unit: 'ms', bound: helpGoal * bound, boundWhat });
  }
}

async function measureFleetPage(report: Report): Promise<void> {
  const server = await startTestServer(ctx => seed(ctx, devices));
  const agent = new Agent({ keepAlive: true, ca: server.rootPem });
  try {
    const form = { 'Content-Type': 'application/x-www-form-urlencoded', Origin: server.url };
    const body = new URLSearchParams({ token: server.alice }).toString();
    const { headers } = await exchange(`${server.url}/console/sign-in`, { agent, method: 'POST', headers: form, body });
    const Cookie = String(headers['set-cookie']?.[0]).split(';')[0] ?? '';
    for (const query of ['', '?status=MINTED', '?line=meter', '?line=meter&sort=changed', '?status=STOCK&sort=changed', '?uid=00']) {
      const times: number[] = [];
      for (let page = 0; page < pages; page++) {
        const startMs = performance.now();
        const { status } = await exchange(`${server.url}/console/fleet${query}`, { agent, headers: { Cookie } });
        if (status !== 200) throw new Error(`the page was answered ${status}`);
        times.push(performance.now() - startMs);
      }
      const boundWhat = `the goal for ${devices} devices`;
      report({ figure: `fleet page ${query}`.trim(), value: median(times), unit: 'ms', bound: pageGoalMs, boundWhat });
    }
  } finally {
    agent.destroy();
    await server.close();
  }
}

/** Devices that were begun: enough for a list. */
async function seed(ctx: Context, count: number): Promise<void> {
  const at = ctx.clock().toISOString();
  const unit = { line: 'meter', jobId: '0b'.repeat(16), programmer: 'cc'.repeat(16), generation: 1 };
  for (let left = count; left > 0; left -= devicesInCommit) {
    const appends = Array.from({ length: Math.min(devicesInCommit, left) }, () => {
      const [uid, objId, grantId] = [16, 16, 16].map(bytes => toHex(randomBytes(bytes))) as [string, string, string];
      const event = { type: 'DeviceMinted', data: { ...unit, uid, objId, grantId }, id: ctx.newId(), at, by: 'programmer:bench' };
      return { stream: deviceStream(uid), expected: 'none' as const, events: [event] };
    });
    await ctx.store.commit({ appends });
  }
  await ctx.reads.waitFor(await ctx.store.head());
}
