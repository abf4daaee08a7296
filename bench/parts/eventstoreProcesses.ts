import { fork } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { join } from 'node:path';
import { openSqliteStore } from '../../src/eventstore/sqlite.ts';
import { appendFor, type Load } from './eventstoreLoad.ts';
import { inTemporaryFolder } from './measure.ts';

/** Several processes that append to one store at the same time. This file is their program too. */

/** Appends of each process before what is measured: servers live long, and each of several has to compile the same code. */
const warmUpEvents = 25_000;
const warmUpMs = 250;

type Task = 'warm up' | 'measure' | 'end';
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
    const appendAll = async (task: 'warm up' | 'measure'): Promise<readonly unknown[]> => {
      const answers = children.map(child => once(child, 'message'));
      for (const child of children) child.send({ ...load, task });
      return (await Promise.all(answers)).map(([answer]) => answer);
    };
    await appendAll('warm up');
    appended = (await appendAll('measure')) as readonly Appended[];
    for (const child of children) child.send({ ...load, task: 'end' });
    await Promise.all(exits);
  });
  return appended;
}

if (process.argv[1] === import.meta.filename) {
  const [, , file, key, subscribed] = process.argv as [string, string, string, string, string];
  const store = await openSqliteStore({ file, seal: { key: Buffer.from(key, 'hex'), isNew: true } });
  if (subscribed === 'true') store.subscribe(0, () => {});
  process.on('message', async ({ task, ...load }: Load & { readonly task: Task }) => {
    if (task === 'end') {
      await store.close();
      return process.disconnect();
    }
    if (task === 'warm up') {
      for (let events = 0; events < warmUpEvents; )
        events += (await appendFor(store, { ...load, durationMs: warmUpMs })).latenciesMs.length;
      return process.send?.('warm');
    }
    const before = process.cpuUsage();
    const { rate, latenciesMs } = await appendFor(store, load);
    const { user, system } = process.cpuUsage(before);
    return process.send?.({ rate, events: latenciesMs.length, cpuUs: user + system } satisfies Appended);
  });
  process.send?.('open');
}
