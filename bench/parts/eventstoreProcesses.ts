import { fork } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { join } from 'node:path';
import { openSqliteStore } from '../../src/eventstore/sqlite.ts';
import { appendFor, type Load } from './eventstoreLoad.ts';
import { inTemporaryFolder } from './measure.ts';

/** Several processes that append to one store at the same time. This file is their program too. */

/** As servers, which live long: what is measured is not the first second of a process. */
const warmUpMs = 1500;

/** @param load of each process @returns events per second of each */
export async function appendRates(processes: number, load: Load): Promise<readonly number[]> {
  let rates: readonly number[] = [];
  await inTemporaryFolder(async folder => {
    const key = randomBytes(32).toString('hex');
    const children = Array.from({ length: processes }, () => fork(import.meta.filename, [join(folder, 'events.db'), key]));
    const exits = children.map(child => once(child, 'exit'));
    await Promise.all(children.map(child => once(child, 'message')));
    const appendAll = async (load: Load): Promise<readonly number[]> => {
      const answers = children.map(child => once(child, 'message'));
      for (const child of children) child.send(load);
      return (await Promise.all(answers)).map(([rate]) => rate as number);
    };
    await appendAll({ ...load, durationMs: warmUpMs });
    rates = await appendAll(load);
    for (const child of children) child.send('end');
    await Promise.all(exits);
  });
  return rates;
}

if (process.argv[1] === import.meta.filename) {
  const [, , file, key] = process.argv as [string, string, string, string];
  const store = await openSqliteStore({ file, seal: { key: Buffer.from(key, 'hex'), isNew: true } });
  process.on('message', async (message: Load | 'end') => {
    if (message !== 'end') return process.send?.((await appendFor(store, message)).rate);
    await store.close();
    process.disconnect();
  });
  process.send?.('open');
}
