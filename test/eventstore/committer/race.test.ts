import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { RecordedEvent } from '../../../src/eventstore/port.ts';
import { openSqliteStore } from '../../../src/eventstore/sqlite.ts';
import { verifyStore } from '../../../src/eventstore/verify.ts';
import { limitOfProcesses } from '../../support/limits.ts';
import { temporaryFolder } from '../support.ts';

/** Processes that append to the same streams, while whoever commits for all, or anybody else, is killed or stopped. `npm run test:races` takes longer. */

const racers = 4;
const faults = Number(process.env.NUSEC_RACES ?? 6);
/** Answers until the next fault. */
const answersPerFault = 60;

type Racer = { readonly process: ChildProcess; readonly lines: string[] };

describe('processes that race for one store', () => {
  it(
    'have what was answered in the log, once and in order, whoever is killed or stopped; what was refused is not there',
    async () => {
      const file = join(temporaryFolder(), 'events.db');
      const key = randomBytes(32);
      const lines: string[] = [];
      let started = 0;
      let answered = 0;
      const start = async (): Promise<Racer> => {
        const program = join(import.meta.dirname, 'race.ts');
        const child = spawn(process.execPath, [program, file, key.toString('hex'), `p${started++}`], {
          stdio: ['ignore', 'pipe', 'inherit'],
        });
        onTestFinished(() => void child.kill('SIGKILL'));
        const racer: Racer = { process: child, lines: [] };
        child.once('exit', (code, signal) => {
          if (signal !== 'SIGKILL') lines.push(`failed, a process ended by itself with ${code ?? signal}`);
        });
        let rest = '';
        child.stdout.setEncoding('utf8').on('data', (text: string) => {
          const parts = (rest + text).split('\n');
          rest = parts.pop() as string;
          racer.lines.push(...parts);
          lines.push(...parts);
          answered += parts.filter(line => /^(stored|unknown)/.test(line)).length;
        });
        await expect.poll(() => racer.lines.length).toBeGreaterThan(0);
        return racer;
      };
      const more = async (count: number): Promise<void> => {
        const before = answered;
        const failed = () => lines.find(line => line.startsWith('failed'));
        const isOver = () => failed() !== undefined || answered - before >= count;
        await expect.poll(isOver, { timeout: limitOfProcesses(racers) }).toBe(true);
        expect(failed()).toBeUndefined();
      };
      const running = await Promise.all(Array.from({ length: racers }, start));
      for (let fault = 0; fault < faults; fault++) {
        await more(answersPerFault);
        const victim = running[fault % 2 === 0 ? committerAmong(running, file) : Math.floor(Math.random() * racers)] as Racer;
        if (fault % 3 === 2) {
          victim.process.kill('SIGSTOP');
          // Six answers are enough where it stopped in the middle of a commit: then each writer hears that the store is held.
          await more(6);
          victim.process.kill('SIGCONT');
          continue;
        }
        victim.process.kill('SIGKILL');
        await once(victim.process, 'close');
        running[running.indexOf(victim)] = await start();
      }
      await more(answersPerFault);
      for (const { process: child } of running) child.kill('SIGKILL');
      await Promise.all(running.map(({ process: child }) => (child.exitCode ?? child.signalCode) === null && once(child, 'close')));
      await check(lines, file, key);
    },
    limitOfProcesses(racers + 2 * faults),
  );
});

/** The one that has the socket. */
function committerAmong(running: readonly Racer[], file: string): number {
  const db = new Database(file, { readonly: true });
  const address = db.prepare<string>('SELECT committer FROM store').pluck().get() ?? '';
  db.close();
  const index = running.findIndex(({ process: child }) => child.pid === Number(address.split('-').at(-1)));
  return Math.max(0, index);
}

async function check(lines: readonly string[], file: string, key: Uint8Array): Promise<void> {
  const words = lines.map(line => line.split(' '));
  expect(lines.filter(line => line.startsWith('WRONG') || line.startsWith('failed'))).toEqual([]);
  const store = await openSqliteStore({ file, seal: { key, isNew: false } });
  const stored: RecordedEvent[] = [];
  for (let head = await store.head(); stored.length < head; ) stored.push(...(await store.readAll(stored.length, 10_000)));
  await store.close();
  expect(verifyStore(file)).toMatchObject({ ok: true, events: stored.length });
  const byId = new Map(stored.map(each => [each.id, each]));
  expect(byId.size).toBe(stored.length);
  for (const [word, id, position, stream, revision] of words) {
    const found = byId.get(id as string);
    if (word === 'refused') expect(found).toBeUndefined();
    if (word !== 'stored') continue;
    expect(`${found?.position} ${found?.stream} ${found?.revision}`).toBe(`${position} ${stream} ${revision}`);
  }
  // Nothing is there that nobody asked for, and each writer's events are in its own order.
  const asked = new Set(words.filter(([word]) => word === 'ask').map(([, id]) => id));
  expect(stored.filter(({ id }) => !asked.has(id))).toEqual([]);
  const last = new Map<unknown, number>();
  for (const { data } of stored) {
    expect(data.n).toBeGreaterThan(last.get(data.writer) ?? -1);
    last.set(data.writer, data.n as number);
  }
}
