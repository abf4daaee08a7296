import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import Database from 'better-sqlite3';
import { describe, expect, it } from 'vitest';
import { encodeBody } from '../../src/eventstore/envelope.ts';
import { chainHash, chainStart } from '../../src/eventstore/hashchain.ts';
import { createIdSource } from '../../src/eventstore/ids.ts';
import type { EventToAppend } from '../../src/eventstore/port.ts';
import { openSqliteStore } from '../../src/eventstore/sqlite.ts';
import { verifyStore } from '../../src/eventstore/verify.ts';
import { killAfterLines } from '../support/killAfterLines.ts';
import { event, temporaryFolder } from './support.ts';

const child = join(import.meta.dirname, 'appendUntilKilled.ts');
const newFile = () => join(temporaryFolder(), 'events.db');

/** Lets a process write to the store and kills it when it has had so many appends acknowledged. @returns all that it acknowledged, by position */
async function killWhileWriting(file: string, appends: number): Promise<Map<number, string>> {
  const lines = await killAfterLines(child, [file], appends + 1);
  const acknowledged = lines.map(line => line.match(/^(\d+) (.*)$/)).filter(match => match !== null);
  return new Map(acknowledged.map(([, position, rest]) => [Number(position), rest as string]));
}

const sum = (numbers: readonly number[]): number => numbers.reduce((total, each) => total + each, 0);

/** `npm run test:kills` takes 200. */
const kills = Number(process.env.NUSEC_KILLS ?? 5);
/** Of the first kills, in appends since the store was opened; random from then on. */
const moments = [0, 20, 50, 90, 150];

describe('the store on disk', () => {
  it(
    'has every acknowledged event after kill -9 in the middle of commits, at several moments of its life',
    async () => {
      const file = newFile();
      let acknowledged = 0;
      for (let kill = 0; kill < kills; kill++) {
        const lines = await killWhileWriting(file, moments[kill] ?? Math.floor(Math.random() * 60));
        acknowledged += lines.size;
        const store = await openSqliteStore({ file });
        const first = Math.min((await store.head()) + 1, ...lines.keys());
        for (let after = first - 1; after < (await store.head()); ) {
          const events = await store.readAll(after, 10_000);
          for (const { position, stream, revision, id } of events) {
            const line = lines.get(position);
            if (line !== undefined) expect(`${stream} ${revision} ${id}`).toBe(line);
            lines.delete(position);
          }
          after = events.at(-1)?.position as number;
        }
        expect([...lines.keys()]).toEqual([]);
        // All events of a call or none: every call has two.
        expect((await store.head()) % 2).toBe(0);
        await store.close();
        if (kill % 20 === 4) expect(verifyStore(file)).toMatchObject({ ok: true });
      }
      expect(verifyStore(file)).toMatchObject({ ok: true });
      expect(acknowledged).toBeGreaterThanOrEqual(sum(moments.slice(0, kills)));
    },
    30_000 + kills * 10_000,
  );

  it('takes the appends of three processes in one order, and loses nothing when two of them are killed', async () => {
    const file = newFile();
    const store = await openSqliteStore({ file });
    const told: string[] = [];
    const subscription = store.subscribe(0, events => {
      for (const { position, stream, revision, id } of events) told.push(`${position} ${stream} ${revision} ${id}`);
    });
    let isAlone = false;
    const others = Promise.all([40, 80].map(appends => killWhileWriting(file, appends))).finally(() => (isAlone = true));
    const own: string[] = [];
    while (!isAlone || own.length < 100) {
      const appended = event('Own');
      const { position, revision } = await store.append('writer-0', 'any', [appended]);
      own.push(`${position} writer-0 ${revision} ${appended.id}`);
      await setTimeout(2);
    }
    const acknowledged = [...own];
    for (const lines of await others) for (const [position, what] of lines) acknowledged.push(`${position} ${what}`);
    expect(acknowledged.length).toBeGreaterThanOrEqual(own.length + 40 + 80);
    const head = await store.head();
    await expect.poll(() => subscription.position).toBe(head);
    await store.close();
    expect(told.map(line => Number(line.split(' ')[0]))).toEqual(Array.from({ length: head }, (_, i) => i + 1));
    const stored = new Set(told);
    expect(acknowledged.filter(line => !stored.has(line))).toEqual([]);
    expect(verifyStore(file)).toMatchObject({ ok: true, events: head });
  });

  it('goes on where it was: heads, repeated appends, chains', async () => {
    const file = newFile();
    const events = [event('A'), event('B')];
    let store = await openSqliteStore({ file });
    const first = await store.append('s', 'any', events);
    await store.append('other', 'none', [event('X')]);
    await store.close();
    store = await openSqliteStore({ file });
    expect(await store.head()).toBe(3);
    expect(await store.append('s', 'any', events)).toEqual(first);
    expect(await store.append('s', 'none', events)).toEqual(first);
    for (const stream of ['s', 'other', 'new'])
      await expect(store.append(stream, 'any', [{ ...event('A', { n: 1 }), id: events[0]?.id as string }])).rejects.toMatchObject({
        code: 'CONFLICT',
      });
    await expect(store.append('s', 'none', [event('C')])).rejects.toMatchObject({ code: 'STREAM_EXISTS', actual: 1 });
    expect(await store.append('s', 1, [event('C')])).toEqual({ revision: 2, position: 4 });
    await store.close();
    expect(verifyStore(file)).toEqual({ ok: true, events: 4, streams: 2 });
  });

  it('goes on in order when the clock goes back a day: ids that sort below older ones are stored once, too', async () => {
    const file = newFile();
    let nowMs = Date.now();
    const newId = createIdSource(() => nowMs++);
    const written: EventToAppend[] = [];
    let store = await openSqliteStore({ file });
    const write = async (type: string) => {
      for (let i = 0; i < 20; i++) {
        const appended = event(type, { i }, newId());
        await store.append('s', written.length === 0 ? 'none' : written.length - 1, [appended]);
        written.push(appended);
      }
    };
    await write('Today');
    nowMs -= 86_400_000;
    await write('Yesterday');
    await store.close();
    store = await openSqliteStore({ file });
    await write('Again');
    for (const [revision, each] of written.entries())
      expect(await store.append('s', 'any', [each])).toEqual({ revision, position: revision + 1 });
    await expect(store.append('s', 'any', [{ ...(written[25] as EventToAppend), type: 'Other' }])).rejects.toMatchObject({
      code: 'CONFLICT',
    });
    expect((await store.readAll(0, 100)).map(({ id }) => id)).toEqual(written.map(({ id }) => id));
    await store.close();
    expect(verifyStore(file)).toMatchObject({ ok: true, events: 60 });
  });

  it('on a full disk refuses the append, stores nothing of it, lives on and takes what fits', async () => {
    const file = newFile();
    const store = await openSqliteStore({ file, maxPages: 26 });
    const big = (n: number) => store.append(`s-${n}`, 'none', [event('Big', { text: 'x'.repeat(20_000) }), event('Small')]);
    let stored = 0;
    for (; ; stored++) {
      const failure = await big(stored).catch(error => error);
      if (failure instanceof Error) {
        expect(failure).toMatchObject({ code: 'STORE_FULL' });
        break;
      }
    }
    expect(stored).toBeGreaterThan(2);
    expect(await store.head()).toBe(stored * 2);
    expect(await store.readStream(`s-${stored}`)).toEqual([]);
    // The first of the group would fit; its stream is where it was all the same.
    const repeated = event('Little');
    const results = await Promise.allSettled([
      store.append('s-0', 1, [repeated]),
      store.append('new', 'none', [event('Little')]),
      big(101),
    ]);
    expect(results.map(result => result.status)).toEqual(['rejected', 'rejected', 'rejected']);
    expect(await store.readStream('new')).toEqual([]);
    await expect(store.append('new', 'exists', [event('Little')])).rejects.toMatchObject({ code: 'STREAM_NOT_FOUND' });
    expect(await store.append('s-0', 1, [repeated])).toEqual({ revision: 2, position: stored * 2 + 1 });
    expect(await store.append('s-0', 1, [repeated])).toEqual({ revision: 2, position: stored * 2 + 1 });
    await store.close();
    expect(verifyStore(file)).toEqual({ ok: true, events: stored * 2 + 1, streams: stored });
  });

  it('ids of an append that failed on a full disk are not taken for stored', async () => {
    const store = await openSqliteStore({ file: newFile(), maxPages: 10 });
    const small = event('Small');
    await expect(store.append('s', 'any', [small, event('Big', { text: 'x'.repeat(100_000) })])).rejects.toMatchObject({
      code: 'STORE_FULL',
    });
    expect(await store.head()).toBe(0);
    expect(await store.append('s', 'any', [small])).toEqual({ revision: 0, position: 1 });
    expect(await store.append('s', 'any', [small])).toEqual({ revision: 0, position: 1 });
    await store.close();
  });

  it('brings a store of the first format up, with all that is in it', async () => {
    const file = newFile();
    const old = new Database(file);
    old.exec(`CREATE TABLE events (position INTEGER PRIMARY KEY, stream TEXT NOT NULL, revision INTEGER NOT NULL, prev INTEGER NOT NULL,
      id TEXT NOT NULL, hash TEXT NOT NULL, body TEXT NOT NULL) STRICT; PRAGMA user_version = 1; PRAGMA journal_mode = WAL`);
    const insert = old.prepare('INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?)');
    const events = [event('A', { n: 1 }), event('B', { n: 2 }), event('C', { n: 3 })];
    let hash = chainStart;
    for (const [revision, each] of events.entries()) {
      hash = chainHash(hash, 's', revision, each.id, encodeBody(each));
      insert.run(revision + 1, 's', revision, revision, each.id, hash, encodeBody(each));
    }
    old.close();
    const store = await openSqliteStore({ file });
    expect((await store.readStream('s')).map(({ data }) => data.n)).toEqual([1, 2, 3]);
    expect(await store.append('s', 'any', events.slice(1))).toEqual({ revision: 2, position: 3 });
    expect(await store.append('s', 2, [event('D')])).toEqual({ revision: 3, position: 4 });
    await store.close();
    expect(verifyStore(file)).toEqual({ ok: true, events: 4, streams: 1 });
  });

  it('refuses a file that is not a store, of another format, or with a position missing', async () => {
    const damaged = async (change: string) => {
      const file = newFile();
      const store = await openSqliteStore({ file });
      await store.append('s', 'any', [event('A'), event('B'), event('C')]);
      await store.close();
      const db = new Database(file);
      db.exec(change);
      db.close();
      await expect(openSqliteStore({ file })).rejects.toMatchObject({ code: 'STORE_DAMAGED' });
      // The lock was given back.
      await expect(openSqliteStore({ file })).rejects.toMatchObject({ code: 'STORE_DAMAGED' });
    };
    await damaged('PRAGMA user_version = 9');
    await damaged('DELETE FROM events WHERE position = 2');
    await damaged('DELETE FROM events WHERE position = 1');
    await expect(openSqliteStore({ file: child })).rejects.toMatchObject({ code: expect.stringMatching('STORE_DAMAGED') });
  });
});
