import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import type { EventStore, LeaderSign } from '../../../src/eventstore/port.ts';
import { openSqliteStore } from '../../../src/eventstore/sqlite.ts';
import { whileLeading } from '../../../src/services/processes/leadership.ts';
import { openMemoryStore } from '../../eventstore/memory.ts';

function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'nusec-leader-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

describe('leadership', () => {
  it('one process leads; another follows when it ends, also when the first could not begin', async () => {
    const parts = { dataDir: temporaryFolder(), store: openMemoryStore() };
    const log: string[] = [];
    const leader = (name: string, begins = true) =>
      whileLeading(
        parts,
        async epoch => {
          if (!begins) throw new Error(`${name} cannot`);
          log.push(`${name} begins ${epoch}`);
          return async () => void log.push(`${name} ends`);
        },
        error => log.push(String(error)),
      );
    const lame = await leader('lame', false);
    await lame.close();
    const one = await leader('one');
    const two = await leader('two');
    expect(log).toEqual(['Error: lame cannot', 'one begins 2']);
    await one.close();
    await expect.poll(() => log).toEqual(['Error: lame cannot', 'one begins 2', 'one ends', 'two begins 3']);
    await two.close();
    expect(log.at(-1)).toBe('two ends');
  });

  it('what is committed under an epoch that is over is refused, whoever asks', async () => {
    const store = openMemoryStore();
    const event = { type: 'Led', id: 'a', at: '2026-01-02T03:04:05.678Z', by: 'system:test', data: {} };
    const commit = (epoch: number, id: string) =>
      store.commit({ appends: [{ stream: 's', expected: 'any', events: [{ ...event, id }] }], epoch });
    expect(await store.takeEpoch(0)).toBe(1);
    await commit(1, 'a');
    const late = commit(1, 'b');
    expect(await Promise.all([store.takeEpoch(1), store.takeEpoch(1)])).toEqual([2, undefined]);
    await late;
    await expect(commit(1, 'c')).rejects.toMatchObject({ code: 'LEADERSHIP_OVER' });
    await commit(2, 'd');
    expect((await store.readStream('s')).map(({ id }) => id)).toEqual(['a', 'b', 'd']);
  });
});

describe('a leading process', () => {
  const start = async (folder: string, name: string, log: string[]): Promise<ChildProcess> => {
    const child = fork(join(import.meta.dirname, 'leadUntilKilled.ts'), [join(folder, 'events.db'), folder, name]);
    onTestFinished(() => void child.kill('SIGKILL'));
    const looks = Promise.withResolvers<void>();
    child.on('message', line => {
      if (line === `${name} looks`) looks.resolve();
      else log.push(String(line));
    });
    await looks.promise;
    return child;
  };

  it('that is stopped is replaced, and what it appends when it goes on is refused (fencing)', async () => {
    const folder = temporaryFolder();
    const log: string[] = [];
    const first = await start(folder, 'first', log);
    await start(folder, 'second', log);
    expect(log).toEqual(['first begins 1']);
    first.kill('SIGSTOP');
    await expect.poll(() => log).toEqual(['first begins 1', 'second begins 2']);
    first.kill('SIGCONT');
    await expect.poll(() => log).toEqual(['first begins 1', 'second begins 2', 'first refused LEADERSHIP_OVER', 'first ends 1']);
    const store = await openSqliteStore({ file: join(folder, 'events.db') });
    const epochs = (await store.readStream('led')).map(({ data }) => data.epoch as number);
    expect(epochs).toEqual(epochs.toSorted((a, b) => a - b));
    expect(new Set(epochs)).toEqual(new Set([1, 2]));
    await store.close();
  });

  it('that is killed is replaced at once, without waiting for its beat to stand still', async () => {
    const folder = temporaryFolder();
    const log: string[] = [];
    const first = await start(folder, 'first', log);
    await start(folder, 'second', log);
    first.kill('SIGKILL');
    await once(first, 'exit');
    await expect.poll(() => log).toEqual(['first begins 1', 'second begins 2']);
  });
});

describe('between machines', () => {
  const lookMs = 250;
  /** Machines that share a log and signs; looks come when the test says so. */
  const machines = () => {
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
    onTestFinished(() => void vi.useRealTimers());
    const store = openMemoryStore();
    const log: string[] = [];
    const signs: LeaderSign[] = [];
    const lease: NonNullable<EventStore['lease']> = {
      read: async () => signs.at(-1),
      give: async sign => void signs.push(sign),
      settle: async () => undefined,
    };
    const machine = async (name: string, change: Partial<EventStore> = {}, begin = async (): Promise<void> => {}) => {
      const lead = async (epoch: number) => {
        log.push(`${name} begins ${epoch}`);
        await begin();
        return async () => void log.push(`${name} ends`);
      };
      const shared = { ...store, lease, ...change };
      const started = whileLeading({ dataDir: temporaryFolder(), store: shared }, lead, error => log.push(`${name}: ${error}`));
      onTestFinished(async () => (await started).close());
      return started;
    };
    const looks = async (count: number): Promise<void> => {
      for (let i = 0; i < count; i += 1) {
        await vi.advanceTimersByTimeAsync(lookMs);
        await new Promise(resolve => setImmediate(resolve));
      }
    };
    return { lease, log, signs, machine, looks };
  };

  it('a leader that gives no sign is replaced after six looks, and not before', async () => {
    const { lease, log, machine, looks } = machines();
    let isStopped = false;
    await machine('one', { lease: { ...lease, give: async sign => void (isStopped || (await lease.give(sign))) } });
    await machine('two');
    await looks(20);
    expect(log).toEqual(['one begins 1']);
    isStopped = true;
    await looks(5);
    expect(log).toEqual(['one begins 1']);
    await looks(2);
    expect(log.slice(0, 2)).toEqual(['one begins 1', 'two begins 2']);
  });

  it('a store that stood still replaces nobody: not by looks that had waited for it, nor by those that failed', async () => {
    const { lease, log, machine, looks } = machines();
    let away: Promise<unknown> = Promise.resolve();
    const waiting = { ...lease, read: () => away.then(lease.read) };
    await machine('one');
    await machine('two', { lease: waiting });
    const back = Promise.withResolvers<void>();
    away = back.promise;
    await looks(30);
    back.resolve();
    await looks(30);
    expect(log).toEqual(['one begins 1']);
    away = Promise.reject(new Error('away'));
    away.catch(() => undefined);
    await looks(30);
    away = Promise.resolve();
    await looks(30);
    expect(log.filter(line => !line.endsWith('away'))).toEqual(['one begins 1']);
  });

  it('a store that is slow to write replaces nobody: a sign that it holds back comes before what is written last', async () => {
    const { lease, log, machine, looks } = machines();
    const heldBack: (() => Promise<void>)[] = [];
    let isSlow = false;
    const writtenInOrder = async (): Promise<void> => {
      for (const write of heldBack.splice(0)) await write();
    };
    const slow: typeof lease = {
      ...lease,
      give: async sign => (isSlow ? void heldBack.push(() => lease.give(sign)) : lease.give(sign)),
      settle: writtenInOrder,
    };
    await machine('one', { lease: slow });
    await machine('two', { lease: slow });
    isSlow = true;
    await looks(30);
    expect(log).toEqual(['one begins 1']);
  });

  it('a leader gives signs while it begins, however long that takes', async () => {
    const { log, machine, looks } = machines();
    const begun = Promise.withResolvers<void>();
    void machine('one', {}, () => begun.promise);
    await looks(1);
    await machine('two');
    await looks(30);
    expect(log).toEqual(['one begins 1']);
    begun.resolve();
  });

  it('a leader that cannot take in what the others store is replaced', async () => {
    const { log, machine, looks } = machines();
    let isFull = false;
    const own = openMemoryStore();
    await machine('one', { head: async () => (isFull ? Promise.reject(new Error('full')) : own.head()) });
    await machine('two');
    await looks(20);
    expect(log).toEqual(['one begins 1']);
    isFull = true;
    await looks(10);
    expect(log).toContain('two begins 2');
  });
});
