import { existsSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import fc from 'fast-check';
import { Kysely, SqliteDialect } from 'kysely';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { EventStore } from '../../src/eventstore/port.ts';
import { openReadModel } from '../../src/projections/database.ts';
import type { Projection } from '../../src/projections/projection.ts';
import { type RunnerOptions, startProjections } from '../../src/projections/runner.ts';
import { openMemoryStore } from '../eventstore/memory.ts';
import { event, temporaryFolder } from '../eventstore/support.ts';
import { pollMs } from '../support/limits.ts';

type Devices = { uid: string; events: number; newest: string };
type Tables = { devices: Devices; log: { position: number; type: string }; projection_builds: { name: string } };

/** Counts events per device; what it counts by changes with the version. */
const devices = (version = 1, poison = 'Poison'): Projection => ({
  name: 'devices',
  version,
  tables: ['devices'],
  schema:
    table => `CREATE TABLE ${table('devices')} (uid TEXT PRIMARY KEY, events INTEGER NOT NULL, newest TEXT NOT NULL) STRICT, WITHOUT ROWID;
    CREATE INDEX ${table('devices')}_newest ON ${table('devices')} (newest)`,
  writer(db, table) {
    const put = db.prepare(
      `INSERT INTO ${table('devices')} VALUES (?, ${version}, ?) ON CONFLICT DO UPDATE SET events = events + ${version}, newest = excluded.newest`,
    );
    return ({ stream, type }) => {
      put.run(stream, type);
      if (type === poison) throw new Error('cannot read this');
    };
  },
});

const log: Projection = {
  name: 'log',
  version: 1,
  tables: ['log'],
  schema: table => `CREATE TABLE ${table('log')} (position INTEGER PRIMARY KEY, type TEXT NOT NULL) STRICT`,
  writer(db, table) {
    const put = db.prepare(`INSERT INTO ${table('log')} VALUES (?, ?)`);
    return ({ position, type }) => void put.run(position, type);
  },
};

function setUp(store: EventStore = openMemoryStore(), file = join(temporaryFolder(), 'read.db')) {
  const start = (options: Partial<RunnerOptions> = {}) => {
    const runner = startProjections({ store, file, projections: [devices(), log], ...options });
    onTestFinished(() => runner.close());
    return runner;
  };
  const db = new Kysely<Tables>({
    dialect: new SqliteDialect({ database: async () => new Database(file, { readonly: true, fileMustExist: true }) as never }),
  });
  onTestFinished(() => db.destroy());
  const counts = async () => {
    const rows = await db.selectFrom('devices').select(['uid', 'events']).orderBy('uid').execute();
    return Object.fromEntries(rows.map(({ uid, events }) => [uid, events]));
  };
  const positions = async () => (await db.selectFrom('log').select('position').orderBy('position').execute()).map(row => row.position);
  const add = (stream: string, ...types: string[]) =>
    store.append(
      stream,
      'any',
      types.map(type => event(type)),
    );
  return { store, file, start, db, counts, positions, add };
}

/** For what comes true. */
const patience = { stallMs: pollMs };

const upTo = (n: number) => Array.from({ length: n }, (_, i) => i + 1);

describe('projection runner', () => {
  it('a read that waits for the position of a write sees it', async () => {
    const { start, add, counts } = setUp();
    const runner = start();
    for (let n = 1; n <= 20; n++) {
      const { position } = await add('a', 'E');
      await runner.waitFor(position, patience);
      expect(await counts()).toEqual({ a: n });
    }
    expect(runner.health()).toEqual({
      ok: true,
      projections: ['devices', 'log'].map(name => ({ name, version: 1, status: 'live', position: 20, behindEvents: 0, isShown: true })),
    });
  });

  it('projects each event once, whatever is already there and however often it is restarted', async () => {
    const { store, start, add, counts, positions } = setUp();
    for (let i = 0; i < 30; i++) await add(`d${i % 3}`, ...Array.from({ length: 100 }, () => 'E'));
    for (const part of [0, 1, 2, 3]) {
      const runner = start();
      for (let i = 0; i < 10; i++) void add(`d${i % 3}`, 'E', 'E');
      // Closing in the middle of the way: what has been projected stays, the rest comes later.
      if (part < 3) await runner.waitFor(500 * (part + 1), patience);
      else await runner.waitFor(3080, patience);
      await runner.close();
    }
    expect(await store.head()).toBe(3080);
    expect(await positions()).toEqual(upTo(3080));
    expect(Object.values(await counts()).reduce((sum, n) => sum + n, 0)).toBe(3080);
  });

  it('gives others their turn within a batch: a few milliseconds are projected at a time, in one transaction each', async () => {
    let turn = 0;
    const turns: number[] = [];
    const slow: Projection = {
      ...log,
      writer(db, table) {
        const write = log.writer(db, table);
        return projected => {
          for (const endMs = performance.now() + 1; performance.now() < endMs; );
          turns.push(turn);
          write(projected);
        };
      },
    };
    const { add, start, positions } = setUp();
    await add('a', ...Array.from({ length: 40 }, () => 'E'));
    const count = (): void => {
      turn += 1;
      if (turns.length < 40) setImmediate(count);
    };
    count();
    await start({ projections: [slow] }).waitFor(40, patience);
    expect(await positions()).toEqual(upTo(40));
    const inOneTurn = [...Map.groupBy(turns, each => each).values()].map(each => each.length);
    expect(Math.max(...inOneTurn)).toBeLessThanOrEqual(4);
  });

  it('waiting for a position that does not come ends with PROJECTION_BEHIND', async () => {
    const { start } = setUp();
    const runner = start();
    await expect(runner.waitFor(1, { stallMs: 20 })).rejects.toMatchObject({ code: 'PROJECTION_BEHIND' });
    await expect(runner.waitFor(1, { projections: ['log'], stallMs: 20 })).rejects.toMatchObject({ code: 'PROJECTION_BEHIND' });
    const waiting = expect(runner.waitFor(1)).rejects.toMatchObject({ code: 'PROJECTION_BEHIND' });
    await runner.close();
    await waiting;
  });

  it('one that is being built and has a long way to go is waited for only by who is patient; the others are there', async () => {
    const { start, store, counts } = setUp();
    const first = start();
    for (let i = 0; i < 21; i++)
      await store.append(
        'a',
        'any',
        Array.from({ length: 1000 }, () => event('E')),
      );
    await first.waitFor(21_000, { patient: true });
    await first.close();
    const runner = start({ projections: [devices(2), log] });
    await expect(runner.waitFor(21_000, { projections: ['devices'] })).rejects.toMatchObject({
      code: 'PROJECTION_BEHIND',
      message: 'the read model devices is being built (0 %)',
    });
    expect(runner.health().projections.find(({ name }) => name === 'devices')).toMatchObject({ status: 'building', isShown: true });
    await runner.waitFor(21_000, { projections: ['log'] });
    await runner.waitFor(1000, { projections: ['devices'] });
    await runner.waitFor(21_000, { patient: true });
    expect(await counts()).toEqual({ a: 42_000 });
  });

  it('a projection that throws stops visibly before that event; the others and the process go on', async () => {
    const { start, add, counts, positions } = setUp();
    const troubles: unknown[] = [];
    const runner = start({ onTrouble: trouble => troubles.push(trouble) });
    await add('a', 'E', 'E', 'Poison', 'E');
    await runner.waitFor(4, patience);
    await add('a', 'E');
    await runner.waitFor(5, patience);
    expect(await counts()).toEqual({ a: 2 });
    expect(await positions()).toEqual(upTo(5));
    const fault = { position: 3, message: 'cannot read this' };
    expect(runner.health()).toEqual({
      ok: false,
      projections: [
        { name: 'devices', version: 1, status: 'faulted', position: 2, behindEvents: 3, isShown: true, fault },
        { name: 'log', version: 1, status: 'live', position: 5, behindEvents: 0, isShown: true },
      ],
    });
    expect(troubles).toEqual([{ projection: 'devices', ...fault }]);
    await expect(runner.waitFor(5, { projections: ['devices'] })).rejects.toMatchObject({ code: 'PROJECTION_BEHIND' });
    await runner.waitFor(2, { projections: ['devices'], ...patience });
  });

  it('a mended projection goes on where it stopped', async () => {
    const { start, add, counts } = setUp();
    const broken = start();
    await add('a', 'E', 'Poison', 'E');
    await broken.waitFor(3, patience);
    await broken.close();
    const mended = start({ projections: [devices(1, 'nothing'), log] });
    await mended.waitFor(3, { projections: ['devices'], ...patience });
    expect(await counts()).toEqual({ a: 3 });
    expect(mended.health().ok).toBe(true);
  });

  it('a new version is built beside the old one and swapped when it has caught up', async () => {
    const { file, start, add, counts, positions } = setUp();
    const old = start();
    for (let i = 0; i < 5; i++) await add('a', ...Array.from({ length: 600 }, () => 'E'));
    await old.waitFor(3000, patience);
    await old.close();
    const runner = start({ projections: [devices(2), log] });
    expect(runner.health().projections[0]).toMatchObject({ status: 'building', version: 2, position: 0 });
    expect(await counts()).toEqual({ a: 3000 });
    await add('a', 'E');
    await runner.waitFor(3001, patience);
    expect(await counts()).toEqual({ a: 6002 });
    expect(await positions()).toEqual(upTo(3001));
    expect(runner.health().projections.every(({ status }) => status === 'live')).toBe(true);
    await runner.close();
    const db = new Database(file, { readonly: true });
    const tables = db.prepare<string>(
      `SELECT name FROM sqlite_master WHERE type IN ('table', 'index', 'view') AND name LIKE 'devices%' ORDER BY name`,
    );
    expect(tables.pluck().all()).toEqual(['devices', 'devices__devices_2', 'devices__devices_2_newest']);
    db.close();
  });

  it('an interrupted rebuild goes on after a restart, and the old tables are shown until then', async () => {
    const { start, add, counts } = setUp();
    const old = start();
    for (let i = 0; i < 10; i++) await add('a', ...Array.from({ length: 1000 }, () => 'E'));
    await old.waitFor(10_000, patience);
    await old.close();
    const interrupted = start({ projections: [devices(2), log] });
    await expect.poll(() => interrupted.health().projections[0]?.position, { interval: 1 }).toBeGreaterThan(0);
    await interrupted.close();
    expect(await counts()).toEqual({ a: 10_000 });
    const runner = start({ projections: [devices(2), log] });
    expect(runner.health().projections[0]?.position).toBeGreaterThan(0);
    await runner.waitFor(10_000, patience);
    expect(await counts()).toEqual({ a: 20_000 });
  });

  it('a new version that throws while it is built leaves the old tables to the queries', async () => {
    const { start, add, counts } = setUp();
    const old = start();
    await add('a', 'E', 'Bad', 'E');
    await old.waitFor(3, patience);
    await old.close();
    const runner = start({ projections: [devices(2, 'Bad'), log] });
    await expect.poll(() => runner.health().ok).toBe(false);
    await runner.waitFor(3, patience);
    expect(await counts()).toEqual({ a: 3 });
    await expect(runner.waitFor(3, { projections: ['devices'] })).rejects.toMatchObject({ code: 'PROJECTION_BEHIND' });
  });

  it('a new version is not shown before it has caught up with the store, however far behind the others are', async () => {
    const { start, add, counts } = setUp();
    const stuck: Projection = {
      ...log,
      writer: () => () => {
        throw new Error('stuck');
      },
    };
    const old = start({ projections: [devices(), stuck] });
    for (let i = 0; i < 3; i++) await add('a', ...Array.from({ length: 1000 }, () => 'E'));
    await old.waitFor(3000, patience);
    await old.close();
    const runner = start({ projections: [devices(2), stuck] });
    expect(await counts()).toEqual({ a: 3000 });
    await runner.waitFor(3000, patience);
    expect(await counts()).toEqual({ a: 6000 });
  });

  it('is rebuilt on request while it stays up, also twice at once', async () => {
    const { start, add, counts } = setUp();
    const troubles: unknown[] = [];
    const runner = start({ onTrouble: trouble => troubles.push(trouble) });
    for (let i = 0; i < 5; i++) await add('a', ...Array.from({ length: 1000 }, () => 'E'));
    await runner.waitFor(5000, patience);
    runner.rebuild('devices');
    runner.rebuild('devices');
    await add('a', 'E');
    await runner.waitFor(5001, patience);
    expect(await counts()).toEqual({ a: 5001 });
    await expect.poll(() => runner.health().projections.map(({ status }) => status)).toEqual(['live', 'live']);
    await add('a', 'E');
    await runner.waitFor(5002, patience);
    expect(await counts()).toEqual({ a: 5002 });
    expect(troubles).toEqual([]);
    expect(() => runner.rebuild('nothing')).toThrow(expect.objectContaining({ code: 'NOT_FOUND' }));
  });

  it('a rebuild that overtakes the others joins them without projecting an event twice', async () => {
    const inner = openMemoryStore();
    const gate = Promise.withResolvers<void>();
    let subscriptions = 0;
    const firstIsSlow: EventStore = {
      ...inner,
      subscribe: (after, handler) =>
        subscriptions++ > 0 ? inner.subscribe(after, handler) : inner.subscribe(after, events => gate.promise.then(() => handler(events))),
    };
    const { start, add, positions, counts } = setUp(firstIsSlow);
    const runner = start();
    await add('a', 'E', 'E', 'E');
    runner.rebuild('log');
    await runner.waitFor(3, { projections: ['log'], ...patience });
    expect(runner.health().projections.map(({ position }) => position)).toEqual([0, 3]);
    await add('a', 'E');
    gate.resolve();
    await runner.waitFor(4, patience);
    expect(await positions()).toEqual(upTo(4));
    expect(await counts()).toEqual({ a: 4 });
    expect(runner.health().ok).toBe(true);
  });

  it('a projection added later catches up without holding up the others; one taken away is dropped', async () => {
    const { file, start, add, positions } = setUp();
    const first = start({ projections: [devices()] });
    await add('a', 'E', 'E', 'E');
    await first.waitFor(3, patience);
    await first.close();
    const second = start({ projections: [log] });
    await second.waitFor(3, patience);
    expect(await positions()).toEqual(upTo(3));
    await second.close();
    const db = new Database(file, { readonly: true });
    expect(db.prepare(`SELECT name FROM sqlite_master WHERE name LIKE 'devices%'`).all()).toEqual([]);
    db.close();
  });

  it('read models that are ahead of the store, after an older store was put back, are built anew', async () => {
    const { file, start, add } = setUp();
    const runner = start();
    await add('gone', 'E', 'E', 'E');
    await runner.waitFor(3, patience);
    await runner.close();
    const restored = setUp(openMemoryStore(), file);
    await restored.add('kept', 'E');
    const again = restored.start();
    await again.waitFor(1, patience);
    expect(await restored.counts()).toEqual({ kept: 1 });
    expect(await restored.positions()).toEqual([1]);
  });

  describe('on a full disk', () => {
    const full = Object.assign(new Error('database or disk is full'), { code: 'SQLITE_FULL' });
    const filling = (isFull: () => boolean): Projection => ({
      ...devices(),
      writer(db, table) {
        const project = devices().writer(db, table);
        return e => {
          if (isFull()) throw full;
          project(e);
        };
      },
    });

    it('the read models are held up and go on when there is room', async () => {
      const { start, add, counts } = setUp();
      let noRoom = true;
      const troubles: string[] = [];
      const runner = start({ projections: [filling(() => noRoom), log], onTrouble: ({ message }) => troubles.push(message) });
      await add('a', 'E');
      await expect.poll(() => runner.health().outage).toBe(full.message);
      expect(runner.health().ok).toBe(false);
      noRoom = false;
      await runner.waitFor(1, patience);
      expect(await counts()).toEqual({ a: 1 });
      expect(runner.health().ok).toBe(true);
      expect(troubles).toEqual([full.message]);
    });

    it('a store that is closed meanwhile is no reason to fall', async () => {
      const { store, start, add } = setUp();
      const troubles: string[] = [];
      const runner = start({ projections: [filling(() => true), log], onTrouble: ({ message }) => troubles.push(message) });
      await add('a', 'E');
      await expect.poll(() => runner.health().outage).toBe(full.message);
      await store.close();
      await expect.poll(() => runner.health().outage).toBe('the event store is closed');
      expect(troubles).toEqual([full.message]);
    });
  });

  it('queries cannot write', async () => {
    const { start, file } = setUp();
    const db = openReadModel<Tables>(start().writer);
    expect(existsSync(file)).toBe(true);
    expect(await db.selectFrom('log').selectAll().execute()).toEqual([]);
    for (const wish of [db.deleteFrom('projection_builds'), db.updateTable('projection_builds').set({ name: 'planted' })])
      await expect(wish.execute()).rejects.toThrow('by the events alone');
    expect(await db.selectFrom('log').selectAll().execute()).toEqual([]);
  });

  it('refuses names that are not names', () => {
    const { store, file } = setUp();
    const named = (name: string) => () => startProjections({ store, file, projections: [{ ...log, name }] });
    expect(named('drop table')).toThrow(TypeError);
    expect(named('')).toThrow(TypeError);
  });

  it('any mix of faults and restarts leaves what one pass over the same events would', async () => {
    const action = fc.oneof(fc.constant('restart' as const), fc.integer({ min: 1, max: 40 }));
    await fc.assert(
      fc.asyncProperty(fc.array(action, { maxLength: 12 }), async actions => {
        const { store, start, add, counts, positions } = setUp();
        let runner = start();
        let total = 0;
        for (const next of actions) {
          if (next === 'restart') {
            await runner.close();
            runner = start();
          } else {
            await add(`d${next % 3}`, ...Array.from({ length: next }, () => 'E'));
            total += next;
          }
        }
        await runner.waitFor(await store.head(), patience);
        expect(await positions()).toEqual(upTo(total));
        expect(Object.values(await counts()).reduce((sum, n) => sum + n, 0)).toBe(total);
        await runner.close();
      }),
      { numRuns: 15 },
    );
  });
});
