import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
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
