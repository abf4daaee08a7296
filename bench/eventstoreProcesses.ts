import { fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { openSqliteStore } from '../src/eventstore/sqlite.ts';
import { appendFor, type Load } from './eventstoreLoad.ts';
import { inTemporaryFolder } from './measure.ts';

/** Several processes that append to one store at the same time. This file is their program too. */

/** @param load of each process @returns events per second of each */
export async function appendRates(processes: number, load: Load): Promise<readonly number[]> {
  let rates: readonly number[] = [];
  await inTemporaryFolder(async folder => {
    const children = Array.from({ length: processes }, () => fork(import.meta.filename, [join(folder, 'events.db')]));
    const exits = children.map(child => once(child, 'exit'));
    await Promise.all(children.map(child => once(child, 'message')));
    const answers = children.map(child => once(child, 'message'));
    for (const child of children) child.send(load);
    rates = (await Promise.all(answers)).map(([rate]) => rate as number);
    await Promise.all(exits);
  });
  return rates;
}

if (process.argv[1] === import.meta.filename) {
  const store = await openSqliteStore({ file: process.argv[2] as string });
  process.once('message', async (load: Load) => {
    const { rate } = await appendFor(store, load);
    await store.close();
    process.send?.(rate, () => process.disconnect());
  });
  process.send?.('open');
}
