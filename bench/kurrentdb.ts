import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { openConnection } from '../src/eventstore/kurrentdb/connection.ts';
import { openKurrentStore } from '../src/eventstore/kurrentdb.ts';
import type { EventStore } from '../src/eventstore/port.ts';
import { openSqliteStore } from '../src/eventstore/sqlite.ts';
import { appendFor } from './parts/eventstoreLoad.ts';
import { withDouble } from './parts/kurrentDouble.ts';
import { inTemporaryFolder, interleave, perSecond, type Report } from './parts/measure.ts';
import { readFlushes, shareBetween } from './parts/serverFlushes.ts';
import { percentile, timeSyncs } from './parts/syncs.ts';

/** Appends to a log in KurrentDB and catching up with it, beside SQLite in the same run: through the protocol double in a process of its own, and,
 *  with KURRENTDB_URL, on that server. The p99 of an append is beside the p99 of what that server says its own disk took in the same rounds, when it says so;
 *  otherwise beside the p99 of a fdatasync of as many bytes on this disk, between the rounds. */

const rounds = 5;
const roundMs = 1000;
const devices = 5000;
const eventBytes = 640;
/** In a log that a new server catches up with. */
const loggedEvents = 100_000;
const eventsPerCommit = 64;

const seal = { key: Buffer.alloc(32, 1), isNew: true };

export async function run(report: Report): Promise<void> {
  await withDouble(url => bench('the double', url, report));
  const server = process.env.KURRENTDB_URL;
  if (server !== undefined) await bench('a server', server, report);
  else report({ figure: 'appends and catch-up on a server', notMeasured: 'KURRENTDB_URL is not set' });
}

const bench = (where: string, url: string, report: Report): Promise<void> =>
  inTemporaryFolder(async folder => {
    const name = `bench-${randomUUID()}`;
    const store = await openKurrentStore({ url, name, file: join(folder, 'copy.db'), seal });
    const sqlite = await openSqliteStore({ file: join(folder, 'own.db'), seal });
    for (const writers of [1, 16, 64]) {
      await benchAppends(where, store, sqlite, { url, folder, writers }, report);
      await benchAlone(where, store, { url, name, writers }, report);
    }
    await fill(store);
    const events = await store.head();
    await store.close();
    await sqlite.close();
    await benchCatchUp(where, { url, name, folder, events }, report);
  });

type Load = { readonly url: string; readonly folder: string; readonly writers: number };

async function benchAppends(
  where: string,
  store: EventStore,
  sqlite: EventStore,
  { url, folder, writers }: Load,
  report: Report,
): Promise<void> {
  const timesMs: number[] = [];
  const syncsMs: number[] = [];
  const append = async (into: EventStore, times?: number[]): Promise<number> => {
    const { rate, latenciesMs } = await appendFor(into, { writers, durationMs: roundMs, devices });
    times?.push(...latenciesMs);
    return rate;
  };
  const bound = (): Promise<number> => {
    syncsMs.push(...timeSyncs(join(folder, 'raw'), writers * eventBytes).timesMs);
    return append(sqlite);
  };
  const before = await readFlushes(url);
  const figures = await interleave(rounds, () => append(store, timesMs), bound);
  const after = await readFlushes(url);
  report({ figure: `appends, ${writers} writers, ${where}`, ...figures, unit: 'events/s', boundWhat: 'events/s in SQLite' });
  const server = before && after && { bound: shareBetween(before, after, 0.99), boundWhat: "ms, p99 of the server's own flush" };
  const here = { bound: percentile(syncsMs, 0.99), boundWhat: 'ms, p99 of a fdatasync here' };
  report({
    figure: `p99 of an append, ${writers} writers, ${where}`,
    value: percentile(timesMs, 0.99),
    unit: 'ms',
    ...(server ?? here),
  });
}

type Alone = { readonly url: string; readonly name: string; readonly writers: number };

/** What the server itself takes: the client appends as many bytes as the writers together, one append after the other. */
async function benchAlone(where: string, store: EventStore, { url, name, writers }: Alone, report: Report): Promise<void> {
  const connection = await openConnection({ url });
  const data = Buffer.alloc(writers * eventBytes, 'a');
  const alone = async (): Promise<number> => {
    const start = performance.now();
    let count = 0;
    for (; performance.now() - start < roundMs; count += 1) {
      const event = connection.library.binaryEvent({ id: randomUUID(), type: 'bench', data });
      await connection.client().appendToStream(`${name}-alone`, event, { streamState: 'any' });
    }
    return perSecond(count * writers, start);
  };
  const subject = async (): Promise<number> => (await appendFor(store, { writers, durationMs: roundMs, devices })).rate;
  const figures = await interleave(rounds, subject, alone);
  const boundWhat = 'events/s, the client alone with as many bytes';
  report({ figure: `appends, ${writers} writers, ${where}, and alone`, ...figures, unit: 'events/s', boundWhat });
  await connection.close();
}

async function fill(store: EventStore): Promise<void> {
  while (store.seen() < loggedEvents) await appendFor(store, { writers: 4 * eventsPerCommit, durationMs: roundMs, devices });
}

type Log = { readonly url: string; readonly name: string; readonly folder: string; readonly events: number };

/** A server that is new, against a client that reads the log and does nothing with it. */
async function benchCatchUp(where: string, { url, name, folder, events }: Log, report: Report): Promise<void> {
  const catchUp = async (): Promise<number> => {
    const start = performance.now();
    const copy = await openKurrentStore({ url, name, file: join(folder, `copy-${start}.db`), seal });
    const rate = perSecond(events, start);
    await copy.close();
    return rate;
  };
  const read = async (): Promise<number> => {
    const connection = await openConnection({ url });
    const start = performance.now();
    for await (const { event } of connection.client().readStream(`${name}-log`, connection.readOptions))
      if (event === undefined) throw new Error('no event');
    const rate = perSecond(events, start);
    await connection.close();
    return rate;
  };
  const figures = await interleave(rounds, catchUp, read);
  report({ figure: `catch-up, ${where}`, ...figures, unit: 'events/s', boundWhat: 'events/s that the client reads' });
}
