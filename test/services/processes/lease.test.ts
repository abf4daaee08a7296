import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { openKurrentStore } from '../../../src/eventstore/kurrentdb.ts';
import type { EventStore } from '../../../src/eventstore/port.ts';
import { whileLeading } from '../../../src/services/processes/leadership.ts';
import { startDouble } from '../../eventstore/kurrentdb/double.ts';
import { event, temporaryFolder } from '../../eventstore/support.ts';

/** Who leads among servers on several machines, that have nothing in common but the log. */

const maxHandOverMs = 30_000;

async function machines() {
  const double = await startDouble();
  onTestFinished(double.close);
  const log: string[] = [];
  const machine = async (name: string, change: (store: EventStore) => EventStore = store => store) => {
    const dataDir = temporaryFolder();
    const store = await openKurrentStore({ url: double.url, name: 'p', file: join(dataDir, 'events.db') });
    onTestFinished(store.close);
    const lead = async (epoch: number) => {
      log.push(`${name} begins ${epoch}`);
      return async () => void log.push(`${name} ends`);
    };
    const leadership = await whileLeading({ dataDir, store: change(store) }, lead, error => log.push(`${name}: ${error}`));
    onTestFinished(leadership.close);
    return { store, close: leadership.close };
  };
  return { log, machine };
}

const commit = (store: EventStore, epoch: number): Promise<string> =>
  store.commit({ appends: [{ stream: 's', expected: 'any', events: [event('Led')] }], epoch }).then(
    () => 'stored',
    error => error.code,
  );

it('one of them leads; another follows when it ends', async () => {
  const { log, machine } = await machines();
  const one = await machine('one');
  await machine('two');
  expect(log).toEqual(['one begins 1']);
  await one.close();
  await expect.poll(() => log, { timeout: maxHandOverMs }).toEqual(['one begins 1', 'one ends', 'two begins 2']);
});

it('one that gives no sign is replaced, and when it wakes up what it stores is refused and it ends', async () => {
  const { log, machine } = await machines();
  let awake = Promise.resolve();
  const sleeper = await machine('sleeper', store => {
    const lease = store.lease as NonNullable<EventStore['lease']>;
    return { ...store, lease: { ...lease, give: sign => awake.then(() => lease.give(sign)) } };
  });
  const { promise, resolve } = Promise.withResolvers<void>();
  awake = promise;
  const next = await machine('next');
  await expect.poll(() => log, { timeout: maxHandOverMs }).toEqual(['sleeper begins 1', 'next begins 2']);
  expect(await commit(sleeper.store, 1)).toBe('LEADERSHIP_OVER');
  expect(await commit(next.store, 2)).toBe('stored');
  resolve();
  await expect.poll(() => log, { timeout: maxHandOverMs }).toEqual(['sleeper begins 1', 'next begins 2', 'sleeper ends']);
});
