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

/** What one process did. */
export type Appended = { readonly rate: number; readonly events: number; readonly cpuUs: number };

/** @param load of each process
 *  @param subscribed each process has a subscriber, as one that shows what is in the log; otherwise it reads nothing */
export async function appendRates(processes: number, load: Load, subscribed = false): Promise<readonly Appended[]> {
  let appended: readonly Appended[] = [];
  await inTemporaryFolder(async folder => {
    const key = randomBytes(32).toString('hex');
    const children = Array.from({ length: processes }, () => fork(import.meta.filename, [join(folder, 'events.db'), key, `${subscribed}`]));
    const exits = children.map(child => once(child, 'exit'));
    await Promise.all(children.map(child => once(child, 'message')));
    const appendAll = async (load: Load): Promise<readonly Appended[]> => {
      const answers = children.map(child => once(child, 'message'));
      for (const child of children) child.send(load);
      return (await Promise.all(answers)).map(([answer]) => answer as Appended);
    };
    await appendAll({ ...load, durationMs: warmUpMs });
    appended = await appendAll(load);
    for (const child of children) child.send('end');
    await Promise.all(exits);
  });
  return appended;
}

if (process.argv[1] === import.meta.filename) {
  const [, , file, key, subscribed] = process.argv as [string, string, string, string, string];
  const store = await openSqliteStore({ file, seal: { key: Buffer.from(key, 'hex'), isNew: true } });
  if (subscribed === 'true') store.subscribe(0, () => {});
  process.on('message', async (message: Load | 'end') => {
    if (message === 'end') {
      await store.close();
      return process.disconnect();
    }
    const before = process.cpuUsage();
    const { rate, latenciesMs } = await appendFor(store, message);
    const { user, system } = process.cpuUsage(before);
    return process.send?.({ rate, events: latenciesMs.length, cpuUs: user + system } satisfies Appended);
  });
  process.send?.('open');
}
