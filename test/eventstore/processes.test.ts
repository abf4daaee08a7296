import { type ChildProcess, fork, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { describe, expect, it, onTestFinished } from 'vitest';
import { openSqliteStore } from '../../src/eventstore/sqlite.ts';
import { verifyStore } from '../../src/eventstore/verify.ts';
import { event, temporaryFolder } from './support.ts';

const newFile = () => join(temporaryFolder(), 'events.db');
const lockWaitMs = 300;

const ended = (child: ChildProcess): Promise<unknown> =>
  child.exitCode === null && child.signalCode === null ? once(child, 'exit') : Promise.resolve();

async function lockHolder(file: string): Promise<ChildProcess> {
  const child = fork(join(import.meta.dirname, 'holdWriteLock.ts'), [file]);
  onTestFinished(() => void child.kill('SIGKILL'));
  await once(child, 'message');
  return child;
}

/** Counts turns of the event loop while `work` runs. */
async function turnsDuring<Result>(work: Promise<Result>): Promise<{ readonly turns: number; readonly outcome: Result | Error }> {
  let turns = 0;
  let isOver = false;
  const turn = (): void => {
    turns += 1;
    if (!isOver) setImmediate(turn);
  };
  turn();
  const outcome = await work.catch(error => error as Error);
  isOver = true;
  return { turns, outcome };
}

describe('a process that was stopped while it held the write lock', () => {
  it('does not stop the event loop of another: its appends are refused after a while, its reads go on', async () => {
    const file = newFile();
    const store = await openSqliteStore({ file, lockWaitMs });
    await store.append('s', 'any', [event('A')]);
    const holder = await lockHolder(file);
    holder.kill('SIGSTOP');
    const { turns, outcome } = await turnsDuring(store.append('s', 'any', [event('B')]));
    expect(outcome).toMatchObject({ code: 'STORE_UNAVAILABLE' });
    expect(turns).toBeGreaterThan(3);
    expect(await store.readStream('s')).toHaveLength(1);
    expect(await store.readAll(0, 10)).toHaveLength(1);
    await store.close();
    holder.kill('SIGKILL');
  });

  it.each(['SIGCONT', 'SIGKILL'] as const)('is waited for: what waits is stored when it ends by %s', async signal => {
    const file = newFile();
    const store = await openSqliteStore({ file });
    const holder = await lockHolder(file);
    holder.kill('SIGSTOP');
    const appends = Promise.all(['a', 'b', 'c'].map(stream => store.append(stream, 'none', [event('A')])));
    expect(await Promise.race([appends, setTimeout(50, 'waits')])).toBe('waits');
    holder.kill(signal);
    if (signal === 'SIGCONT') holder.send('let go');
    expect((await appends).map(({ position }) => position)).toEqual([1, 2, 3]);
    await ended(holder);
    await store.close();
  });
});

describe('a writer that is stopped under load', () => {
  it('lets the others append, or has them refused; nothing acknowledged is lost, and all goes on with it', async () => {
    const file = newFile();
    const store = await openSqliteStore({ file, lockWaitMs });
    const writer = spawn(process.execPath, [join(import.meta.dirname, 'appendUntilKilled.ts'), file], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    onTestFinished(() => void writer.kill('SIGKILL'));
    writer.stdout.resume();
    await once(writer.stdout, 'data');
    const acknowledged: { readonly position: number; readonly id: string }[] = [];
    const append = async (): Promise<string> => {
      const appended = event('Own');
      const outcome = await store.append('own', 'any', [appended]).catch(error => error as Error & { code?: string });
      if (outcome instanceof Error) return outcome.code ?? outcome.message;
      acknowledged.push({ position: outcome.position, id: appended.id });
      return 'stored';
    };
    for (let round = 0; round < 8; round++) {
      await setTimeout(7 * round);
      writer.kill('SIGSTOP');
      const { turns, outcome } = await turnsDuring(append());
      expect(['stored', 'STORE_UNAVAILABLE']).toContain(outcome);
      if (outcome === 'STORE_UNAVAILABLE') expect(turns).toBeGreaterThan(3);
      writer.kill('SIGCONT');
      await expect.poll(append).toBe('stored');
    }
    writer.kill('SIGKILL');
    await ended(writer);
    for (const { position, id } of acknowledged) expect((await store.readAll(position - 1, 1))[0]?.id).toBe(id);
    await store.close();
    expect(verifyStore(file)).toMatchObject({ ok: true });
  });
});
