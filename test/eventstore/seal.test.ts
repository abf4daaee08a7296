import { rmSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { describe, expect, it } from 'vitest';
import { encodeAppend } from '../../src/eventstore/envelope.ts';
import { chainHash } from '../../src/eventstore/hashchain.ts';
import type { EventStore } from '../../src/eventstore/port.ts';
import { rowCheck } from '../../src/eventstore/rowCheck.ts';
import { createSealer } from '../../src/eventstore/seal.ts';
import { openSqliteStore } from '../../src/eventstore/sqlite.ts';
import { createWriter } from '../../src/eventstore/writer.ts';
import { covers } from '../support/covers.ts';
import { memoryStorage, type SharedRows } from './memory.ts';
import { event, temporaryFolder } from './support.ts';

const key = new Uint8Array(32).fill(7);
const seal = { key, isNew: false };
const newFile = () => join(temporaryFolder(), 'events.db');

async function sealedStore(events = 5): Promise<string> {
  const file = newFile();
  const store = await openSqliteStore({ file, seal: { key, isNew: true } });
  for (let i = 0; i < events; i++) await store.append('operators', 'any', [event('TokenSet', { i })]);
  await store.close();
  return file;
}

/** The mark of the newest event beside the store goes too: whoever has the file has that one as well. */
function tamper(file: string, change: (db: Database) => void): void {
  rmSync(`${file}-head`, { force: true });
  const db = new Database(file);
  change(db);
  db.close();
}

/** What an insider can do who has the file and knows the format: one more event that fits the chain. */
function plant(db: Database): void {
  const last = db
    .prepare<[number, number, string]>('SELECT position, revision, hash FROM events ORDER BY position DESC LIMIT 1')
    .raw()
    .get();
  const [position, revision, previous] = last as [number, number, string];
  const body = JSON.stringify(['TokenSet', 1, '2026-01-02T03:04:05.678Z', 'operator:mallory', null, null, { i: 9 }]);
  const hash = chainHash(previous, 'operators', revision + 1, 'planted', body);
  db.prepare('INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?)').run(
    position + 1,
    'operators',
    revision + 1,
    position,
    'planted',
    hash,
    body,
    rowCheck(position + 1, 'operators', revision + 1, position, 'planted', hash, body),
  );
}

describe('the seal of the log (T18)', () => {
  it('lets a store be opened and written on by whoever has the key', async () => {
    const file = await sealedStore();
    const store = await openSqliteStore({ file, seal });
    await store.append('operators', 4, [event('TokenSet')]);
    await store.close();
    const again = await openSqliteStore({ file, seal });
    expect(await again.head()).toBe(6);
    await again.close();
  });

  it.each<[what: string, change: (db: Database) => void, detail: string]>([
    ['an event planted at the end', plant, 'from position 6 on'],
    ['the end cut off', db => db.exec('DELETE FROM events WHERE position = 5'), 'from position 5 to 5 are missing'],
    [
      'the newest event written anew',
      db => {
        db.exec('DELETE FROM events WHERE position = 5');
        plant(db);
      },
      'not those that this project has sealed',
    ],
    ['the seal taken away', db => db.exec('DELETE FROM seal'), 'is missing'],
    ['the seal of other events', db => db.exec(`UPDATE seal SET code = '${'ab'.repeat(32)}'`), 'not those that this project has sealed'],
    [
      'an event planted and the seal’s size raised',
      db => {
        plant(db);
        db.exec('UPDATE seal SET size = 6');
      },
      'not those that this project has sealed',
    ],
  ])('shows at the start: %s', async (_what, change, detail) => {
    const file = await sealedStore();
    tamper(file, change);
    await expect(openSqliteStore({ file, seal })).rejects.toMatchObject({
      code: 'STORE_DAMAGED',
      message: expect.stringContaining(detail),
    });
  });

  it('does not open for another key', async () => {
    covers('T18');
    const file = await sealedStore();
    const other = { key: new Uint8Array(32).fill(8), isNew: false };
    await expect(openSqliteStore({ file, seal: other })).rejects.toMatchObject({ code: 'STORE_DAMAGED' });
  });

  it('shows an event planted while the store is open: from then on nothing of it is read or written', async () => {
    covers('T18');
    const file = await sealedStore();
    const store = await openSqliteStore({ file, seal });
    tamper(file, plant);
    const damaged = { code: 'STORE_DAMAGED', message: expect.stringContaining('from position 6 on') };
    await expect(store.append('operators', 'any', [event('TokenSet')])).rejects.toMatchObject(damaged);
    await expect(store.readStream('operators')).rejects.toMatchObject(damaged);
    await expect(store.readAll(0, 10)).rejects.toMatchObject(damaged);
    await store.close();
    const db = new Database(file, { readonly: true });
    expect(db.prepare('SELECT count(*) FROM events').pluck().get()).toBe(6);
    db.close();
  });

  it('is made for what another process with the key has written, and read from it', async () => {
    const file = await sealedStore();
    const stores: EventStore[] = [await openSqliteStore({ file, seal }), await openSqliteStore({ file, seal })];
    for (let i = 0; i < 10; i++)
      await Promise.all(stores.map(store => Promise.all([1, 2, 3].map(() => store.append(`s-${i}`, 'any', [event('A')])))));
    expect(await Promise.all(stores.map(store => store.head()))).toEqual([65, 65]);
    await Promise.all(stores.map(store => store.close()));
    await (await openSqliteStore({ file, seal })).close();
  });

  it('is not asked for before there is an event', async () => {
    const file = newFile();
    const [one, other] = [await openSqliteStore({ file, seal }), await openSqliteStore({ file, seal })];
    await one.takeEpoch(0);
    expect(await other.readStream('s')).toEqual([]);
    await one.append('s', 'none', [event('A')]);
    expect(await other.readStream('s')).toHaveLength(1);
    await Promise.all([one.close(), other.close()]);
  });

  it('holds for what came from another process just before a commit that could not begin', async () => {
    const shared: SharedRows = { rows: [], tiles: new Map() };
    const sealing = { sealer: createSealer(key), isNew: true };
    const request = (name: string) => ({
      appends: [{ stream: name, expected: 'any' as const, events: encodeAppend(name, [event('A')]) }],
      basis: [],
    });
    let isFull = true;
    const storage = memoryStorage(shared);
    const begin = () => {
      if (isFull) throw new Error('no space');
      return storage.begin();
    };
    const one = createWriter({ ...storage, begin }, sealing);
    const other = createWriter(memoryStorage(shared), sealing);
    other.write([request('a')]);
    expect(() => one.write([request('b')])).toThrow(expect.objectContaining({ code: 'STORE_UNAVAILABLE' }));
    isFull = false;
    other.write([request('a')]);
    expect(one.write([request('b')])).toMatchObject([[{ revision: 0, position: 3 }]]);
  });

  it('keeps whoever has no key from writing, not from reading', async () => {
    const file = await sealedStore();
    const store = await openSqliteStore({ file });
    expect(await store.readStream('operators')).toHaveLength(5);
    await expect(store.append('operators', 'any', [event('TokenSet')])).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' });
    await store.close();
  });

  it('is given to a store from before when the key is new, and only then', async () => {
    const file = newFile();
    const old = await openSqliteStore({ file });
    await old.append('s', 'none', [event('A')]);
    await old.close();
    await expect(openSqliteStore({ file, seal })).rejects.toMatchObject({ code: 'STORE_DAMAGED' });
    await (await openSqliteStore({ file, seal: { key, isNew: true } })).close();
    await (await openSqliteStore({ file, seal })).close();
  });
});
