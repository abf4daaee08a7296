import { hash, randomBytes } from 'node:crypto';
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import Database from 'better-sqlite3';
import type { EventStore } from '../src/eventstore/port.ts';
import { openSqliteStore } from '../src/eventstore/sqlite.ts';
import { tileWidth } from '../src/merkle/edge.ts';
import { startEmmett } from './parts/emmett.ts';
import { appendFor, certified, type Load } from './parts/eventstoreLoad.ts';
import { type Appended, appendRates } from './parts/eventstoreProcesses.ts';
import { inTemporaryFolder, interleave, median, perSecond, type Report } from './parts/measure.ts';
import { percentile, timeSyncs } from './parts/syncs.ts';

/** Durable appends with the hash chain, by one process and by several, and loads of a stream. `NUSEC_BENCH_PARTS=processes,load` measures only these
 *  parts. */

const parts = process.env.NUSEC_BENCH_PARTS?.split(',');
type Part = 'appends' | 'emmett' | 'processes' | 'subscribers' | 'load';
const isAsked = (part: Part): boolean => parts === undefined || parts.includes(part);
const rounds = 5;
const roundMs = 700;
const devices = 5000;
/** One row of the bench with its share of the page, roughly. */
const eventBytes = 640;
/** Of all processes together. */
const sharedWriters = 64;
/** Small enough for the start of a process to be no part of it. */
const processRoundMs = 1500;
/** Each of them reads every event. */
const subscribedRounds = 3;
/** Connections opened, tables made. */
const warmUpMs = 500;
const checkpointEveryMs = 1000;
const proofsAtOnce = 200;
/** Commits are sealed, as those of a server. */
const seal = { key: randomBytes(32), isNew: true };

export async function run(report: Report): Promise<void> {
  if (isAsked('appends')) await inTemporaryFolder(folder => benchLog(folder, report));
  if (isAsked('emmett')) await benchPeer(report);
  if (isAsked('processes')) await benchProcesses(report);
  if (isAsked('subscribers')) await benchSubscribers(report);
  if (isAsked('load')) await inTemporaryFolder(folder => benchLoad(folder, report));
}

/** Appends, and what is read and proven of what they have stored. */
async function benchLog(folder: string, report: Report): Promise<void> {
  const store = await openSqliteStore({ file: join(folder, 'events.db'), seal });
  for (const writers of [1, 16, 64, 256]) await withRoots(store, () => benchAppends(store, folder, writers, report));
  const events = await store.head();
  await benchProofs(store, report);
  await store.close();
  const bytes = statSync(join(folder, 'events.db')).size / events;
  const bound = JSON.stringify({ ...certified(), stream: 'device-0000', revision: 0, hash: 'a'.repeat(64) }).length;
  report({ figure: 'bytes per event', value: bytes, bound, unit: 'bytes', boundWhat: 'bytes of the event as JSON' });
  await benchStart(join(folder, 'events.db'), events, report);
}

async function benchAppends(store: EventStore, folder: string, writers: number, report: Report): Promise<void> {
  const p99s: number[] = [];
  const boundP99s: number[] = [];
  const stops: number[] = [];
  const bound = () => {
    const syncs = timeSyncs(join(folder, 'raw'), writers * eventBytes);
    boundP99s.push(percentile(syncs.timesMs, 0.99));
    return syncs.perSecond * writers;
  };
  const appends = async () => {
    const delay = monitorEventLoopDelay({ resolution: 1 });
    delay.enable();
    const { rate, latenciesMs } = await appendFor(store, { writers, durationMs: roundMs, devices });
    delay.disable();
    stops.push(delay.max / 1e6);
    p99s.push(percentile(latenciesMs, 0.99));
    return rate;
  };
  const figures = await interleave(rounds, appends, bound);
  const boundWhat = `events/s if one fdatasync of ${writers} events were all the work`;
  report({ figure: `durable appends, ${writers} writers`, ...figures, unit: 'events/s', boundWhat });
  const syncMs = median(boundP99s);
  report({
    figure: `p99 of an append, ${writers} writers`,
    value: median(p99s),
    bound: syncMs,
    unit: 'ms',
    boundWhat: 'ms, p99 of that fdatasync',
  });
  report({
    figure: `longest stop of the event loop, ${writers} writers`,
    value: median(stops),
    bound: syncMs,
    unit: 'ms',
    boundWhat: 'ms, p99 of that fdatasync',
  });
}

/** Inclusion proofs of random events in the newest tree. */
async function benchProofs(store: EventStore, report: Report): Promise<void> {
  const size = await store.head();
  const proofs = async () => {
    const start = performance.now();
    for (let count = 0; count < proofsAtOnce; count++) await store.tree.inclusion(1 + Math.floor(Math.random() * size), size);
    return perSecond(proofsAtOnce, start);
  };
  // One tile of each level is hashed up to the sibling.
  const hashesPerProof = (tileWidth - 1) * Math.ceil(Math.log2(size) / Math.log2(tileWidth));
  const hashes = () => {
    const pair = randomBytes(65);
    const start = performance.now();
    for (let count = 0; count < proofsAtOnce * hashesPerProof; count++) hash('sha256', pair, 'buffer');
    return perSecond(proofsAtOnce, start);
  };
  const figures = await interleave(rounds, proofs, hashes);
  report({
    figure: 'inclusion proofs',
    ...figures,
    unit: 'proofs/s',
    boundWhat: 'proofs/s if hashing one tile of each level were all the work',
  });
}

/** Until a store that is there can be read and written. */
async function benchStart(file: string, events: number, report: Report): Promise<void> {
  const startMs = async () => {
    const begun = performance.now();
    const store = await openSqliteStore({ file, seal });
    await store.append('start', 'any', [certified()]);
    const took = performance.now() - begun;
    await store.close();
    return took;
  };
  const scanMs = () => {
    const begun = performance.now();
    const db = new Database(file, { readonly: true });
    for (const _ of db.prepare('SELECT stream, revision, position, hash FROM events').raw().iterate());
    db.close();
    return performance.now() - begun;
  };
  const figures = await interleave(3, startMs, scanMs);
  report({
    figure: `start with ${(events / 1000).toFixed(0)} 000 events`,
    ...figures,
    unit: 'ms',
    boundWhat: 'ms to read them once, bare',
  });
}

/** With chain, tree and a checkpoint a second, as a server has them, against the event store that a TypeScript project would take otherwise. */
async function benchPeer(report: Report): Promise<void> {
  const figure = `times the appends of emmett-postgresql, ${sharedWriters} writers`;
  await inTemporaryFolder(async folder => {
    const peer = await startEmmett(folder);
    if (typeof peer === 'string') return report({ figure, notMeasured: peer });
    const store = await openSqliteStore({ file: join(folder, 'events.db'), seal });
    const load: Load = { writers: sharedWriters, durationMs: processRoundMs, devices };
    try {
      await peer.append({ ...load, durationMs: warmUpMs });
      const own = () => withRoots(store, async () => (await appendFor(store, load)).rate);
      const figures = await interleave(rounds, own, () => peer.append(load));
      report({ figure, ...figures, unit: 'events/s', boundWhat: 'events/s of emmett-postgresql on PostgreSQL, same load' });
    } finally {
      await store.close();
      await peer.close();
    }
  });
}

/** The root of the tree every second meanwhile, as for a checkpoint. */
async function withRoots<Result>(store: EventStore, work: () => Promise<Result>): Promise<Result> {
  const timer = setInterval(() => void store.tree.root(store.seen()), checkpointEveryMs);
  try {
    return await work();
  } finally {
    clearInterval(timer);
  }
}

/** The same writers in one process, in two and in four, which take turns. The bound of the several is the one. */
async function benchProcesses(report: Report): Promise<void> {
  const figures: Record<number, OfProcesses[]> = { 1: [], 2: [], 4: [] };
  for (let round = 0; round < rounds; round++) for (const processes of [1, 2, 4]) figures[processes]?.push(await ofProcesses(processes));
  const middle = (processes: number, of: keyof OfProcesses): number => median((figures[processes] ?? []).map(figure => figure[of]));
  for (const processes of [2, 4]) {
    const boundWhat = `of the same ${sharedWriters} writers in one process`;
    const of = (name: 'rate' | 'cpuUs') => ({ value: middle(processes, name), bound: middle(1, name) });
    report({ figure: `${processes} processes`, ...of('rate'), unit: 'events/s', boundWhat: `events/s ${boundWhat}` });
    report({ figure: `CPU for an event, ${processes} processes`, ...of('cpuUs'), unit: 'µs', boundWhat: `µs ${boundWhat}` });
    const share = middle(processes, 'slowest');
    report({ figure: `slowest of ${processes} processes`, value: share, bound: 1, unit: 'of 1', boundWhat: 'its fair share' });
  }
}

async function benchSubscribers(report: Report): Promise<void> {
  const subscribed = (processes: number) => async () => (await ofProcesses(processes, true)).rate;
  const followed = await interleave(subscribedRounds, subscribed(4), subscribed(1));
  report({ figure: '4 processes, each with a subscriber', ...followed, unit: 'events/s', boundWhat: 'events/s of one process with one' });
}

/** @property slowest as a part of its fair share */
type OfProcesses = { readonly rate: number; readonly cpuUs: number; readonly slowest: number };

async function ofProcesses(processes: number, subscribed = false): Promise<OfProcesses> {
  const each = await appendRates(processes, { writers: sharedWriters / processes, durationMs: processRoundMs, devices }, subscribed);
  const sum = (of: keyof Appended): number => each.reduce((total, one) => total + one[of], 0);
  const rate = sum('rate');
  return { rate, cpuUs: sum('cpuUs') / sum('events'), slowest: (Math.min(...each.map(one => one.rate)) * processes) / rate };
}

/** 20 events per stream, written in turns, so that a stream's events lie apart. */
async function benchLoad(folder: string, report: Report): Promise<void> {
  const file = join(folder, 'events.db');
  const store = await openSqliteStore({ file });
  for (let revision = 0; revision < 20; revision++) {
    await Promise.all(Array.from({ length: devices }, (_, device) => store.append(`device-${device}`, 'any', [certified()])));
  }
  const raw = new Database(file, { readonly: true });
  const row = raw.prepare('SELECT * FROM events WHERE position = ?').raw();
  const loadUs = async () => {
    const start = performance.now();
    for (let device = 0; device < devices; device++) await store.readStream(`device-${device}`);
    return ((performance.now() - start) * 1000) / devices;
  };
  const rowsUs = () => {
    const start = performance.now();
    raw.exec('BEGIN');
    for (let device = 0; device < devices; device++)
      for (let revision = 0; revision < 20; revision++) row.get(1 + device + revision * devices);
    raw.exec('COMMIT');
    return ((performance.now() - start) * 1000) / devices;
  };
  const figures = await interleave(rounds, loadUs, rowsUs);
  report({ figure: 'load of a stream of 20 events', ...figures, unit: 'µs', boundWhat: 'µs for 20 rows by primary key, undecoded' });
  raw.close();
  await store.close();
}
