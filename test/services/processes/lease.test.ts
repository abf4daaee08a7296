import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it, onTestFinished } from 'vitest';
import { attestationSeal, attestationSealStream } from '../../../src/domain/attestationSeal.ts';
import { handle } from '../../../src/eventstore/handle.ts';
import { createIdSource } from '../../../src/eventstore/ids.ts';
import { openKurrentStore } from '../../../src/eventstore/kurrentdb.ts';
import type { EventStore } from '../../../src/eventstore/port.ts';
import { whileLeading } from '../../../src/services/processes/leadership.ts';
import { livingServers } from '../../../src/services/processes/serverList.ts';
import { dayMs } from '../../../src/times.ts';
import { startDouble } from '../../eventstore/kurrentdb/double.ts';
import { event, temporaryFolder } from '../../eventstore/support.ts';

/** Who leads among servers on several machines, that have nothing in common but the log. With KURRENTDB_URL on that server, too. */

const maxHandOverMs = 30_000;
/** Of a leader who works without a pause, but lets others work. */
const betweenActsMs = 5;

const server = process.env.KURRENTDB_URL;
const logs = ['the double', ...(server === undefined ? [] : ['a server'])];

async function machines(where: string) {
  const double = where === 'the double' ? await startDouble() : undefined;
  onTestFinished(async () => void (await double?.close()));
  const url = double?.url ?? (server as string);
  const name = `lease-${randomUUID()}`;
  const log: string[] = [];
  const machine = async (called: string, change: (store: EventStore) => EventStore = store => store) => {
    const dataDir = temporaryFolder();
    const store = await openKurrentStore({ url, name, file: join(dataDir, 'events.db') });
    onTestFinished(store.close);
    const lead = async (epoch: number) => {
      log.push(`${called} begins ${epoch}`);
      return async () => void log.push(`${called} ends`);
    };
    const leadership = await whileLeading({ dataDir, store: change(store) }, lead, error => log.push(`${called}: ${error}`));
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

describe.each(logs)('on %s', where => {
  it('one of them leads; another follows when it ends', async () => {
    const { log, machine } = await machines(where);
    const one = await machine('one');
    await machine('two');
    expect(log).toEqual(['one begins 1']);
    await one.close();
    await expect.poll(() => log, { timeout: maxHandOverMs }).toEqual(['one begins 1', 'one ends', 'two begins 2']);
  });

  it('one that gives no sign is replaced, and when it wakes up what it stores is refused and it ends', async () => {
    const { log, machine } = await machines(where);
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

  it('two that both believe to lead do everything once: the earlier one is refused from the moment that the other leads', async () => {
    const { log, machine } = await machines(where);
    // Its signs do not arrive, its work does.
    let arriving = Promise.resolve();
    const first = await machine('first', store => {
      const lease = store.lease as NonNullable<EventStore['lease']>;
      return { ...store, lease: { ...lease, give: sign => arriving.then(() => lease.give(sign)) } };
    });
    const { promise, resolve } = Promise.withResolvers<void>();
    arriving = promise;
    const second = await machine('second');
    const stream = attestationSealStream('meter');
    const newId = createIdSource();
    /** What a leader does each day. @returns the code of the refusal */
    const seal = (store: EventStore, epoch: number, day: string): Promise<string> =>
      handle(
        store,
        attestationSeal,
        stream,
        { type: 'SealDay', day, rows: 1, root: day, note: `by ${epoch}` },
        {
          by: 'system:attestation',
          now: new Date().toISOString(),
          newId,
          epoch,
        },
      ).then(
        () => 'done',
        error => error.code,
      );
    const dayAt = (i: number): string => new Date(Date.UTC(2026, 0, 1) + i * dayMs).toISOString().slice(0, 10);
    const codes = new Set<string>();
    let isOver = false;
    onTestFinished(() => {
      isOver = true;
    });
    // One day after the other, without a look at who leads.
    const working = (async () => {
      for (let i = 0; !isOver; i++) {
        codes.add(await seal(first.store, 1, dayAt(i)));
        await sleep(betweenActsMs);
      }
    })();
    await expect.poll(() => log, { timeout: maxHandOverMs }).toContain('second begins 2');
    const done = (await second.store.readStream(stream)).length;
    expect(done).toBeGreaterThan(0);
    for (let i = 0; i < done + 20; i++) await seal(second.store, 2, dayAt(i));
    await expect.poll(() => [...codes]).toContain('LEADERSHIP_OVER');
    isOver = true;
    await working;
    const events = await second.store.readStream(stream);
    expect(events.map(({ data }) => data.day)).toEqual(events.map((_, i) => dayAt(i)));
    const leaders = events.map(({ data }) => data.note);
    expect(leaders).toEqual([...leaders].sort());
    expect(new Set(leaders)).toEqual(new Set(['by 1', 'by 2']));
    expect(await seal(first.store, 1, dayAt(events.length))).toBe('LEADERSHIP_OVER');
    expect(await seal(second.store, 2, dayAt(events.length))).toBe('done');
    resolve();
  });

  it('a tool that has to be alone hears the servers that give signs, and no others', async () => {
    const { machine } = await machines(where);
    const { servers } = (await machine('one')).store;
    if (servers === undefined) throw new Error('a log of several machines has signs');
    const sign = { host: '127.0.0.1', port: 8444 };
    await servers.give({ ...sign, id: 'gone', count: 7 });
    await servers.give({ ...sign, id: 'ended', count: 0 });
    let count = 0;
    const timer = setInterval(() => {
      count += 1;
      void servers.give({ ...sign, id: 'living', count });
    }, 500);
    onTestFinished(() => clearInterval(timer));
    expect((await livingServers(servers)).map(({ id }) => id)).toEqual(['living']);
  });
});
