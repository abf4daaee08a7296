import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { expect, it, onTestFinished } from 'vitest';
import { sha256Hex } from '../../../src/digest.ts';
import { moveIntoKurrent, moveOutOfKurrent } from '../../../src/eventstore/kurrentdb/move.ts';
import { openKurrentStore } from '../../../src/eventstore/kurrentdb.ts';
import { openSqliteStore } from '../../../src/eventstore/sqlite.ts';
import { movingId } from '../../../src/eventstore/sqliteTaken.ts';
import { verifyStore } from '../../../src/eventstore/verify.ts';
import { event, temporaryFolder } from '../support.ts';
import { startDouble } from './double.ts';

const seal = { key: randomBytes(32), isNew: true };

it('a log that is moved keeps every event, place, proof, blob and epoch, and goes on there and on a second machine (T18)', async () => {
  const folder = temporaryFolder();
  const double = await startDouble();
  onTestFinished(double.close);
  const [file, name] = [join(folder, 'events.db'), 'p'];
  const own = await openSqliteStore({ file, seal });
  const blob = randomBytes(100);
  await own.commit({ appends: [{ stream: 'b', expected: 'none', events: [event('B')] }], blobs: [blob] });
  for (let i = 0; i < 30; i++)
    await own.append(
      `s-${i % 3}`,
      'any',
      Array.from({ length: 50 }, (_, n) => event('A', { i, n })),
    );
  await own.takeEpoch(0);
  const [events, root] = [await own.readAll(0, 10_000), await own.tree.root(1501)];
  await own.close();

  // The connection breaks in between, and somebody calls it again.
  double.failNextAppend('p-log', 'unanswered');
  expect(await moveIntoKurrent({ url: double.url, name, file, seal })).toBe(1501);
  expect(existsSync(`${file}-head`)).toBe(false);
  await expect(moveIntoKurrent({ url: double.url, name, file, seal })).rejects.toMatchObject({ code: 'STATE' });

  const stores = [
    await openKurrentStore({ url: double.url, name, file, seal }),
    await openKurrentStore({ url: double.url, name, file: join(folder, 'second.db'), seal }),
  ] as const;
  onTestFinished(() => Promise.all(stores.map(store => store.close())).then(() => undefined));
  for (const store of stores) {
    expect(await store.readAll(0, 10_000)).toEqual(events);
    expect(await store.tree.root(1501)).toBe(root);
    expect(store.epoch()).toBe(1);
    expect(Buffer.compare((await store.readBlob(sha256Hex(blob))) ?? Buffer.alloc(0), blob)).toBe(0);
  }
  expect(await stores[1].append('s-0', 499, [event('C')])).toMatchObject({ revision: 500 });
  expect(await stores[0].head()).toBe(1502);
  expect(await stores[0].readStream('s-0', 500)).toHaveLength(1);
  expect(verifyStore(file)).toMatchObject({ ok: true, events: 1502 });
});

it.each([
  ['a blob', 'UPDATE blobs SET bytes = zeroblob(100)', /the blob [0-9a-f]{64}/],
  ['an event', 'UPDATE events SET body = replace(body, \'"n":1\', \'"n":2\')', /the event at position 1 /],
])('is not moved with %s that is not what was stored (T18)', async (_, damage, place) => {
  const folder = temporaryFolder();
  const double = await startDouble();
  onTestFinished(double.close);
  const file = join(folder, 'events.db');
  const own = await openSqliteStore({ file, indexEvents: 1 });
  await own.commit({ appends: [{ stream: 's', expected: 'none', events: [event('A', { n: 1 })] }], blobs: [randomBytes(100)] });
  await own.append('t', 'none', [event('B')]);
  await own.close();
  const db = new Database(file);
  db.exec(damage);
  db.close();
  const refused = { code: 'STORE_DAMAGED', message: expect.stringMatching(place) };
  await expect(moveIntoKurrent({ url: double.url, name: 'p', file })).rejects.toMatchObject(refused);
});

it('is refused where another log of the project is', async () => {
  const folder = temporaryFolder();
  const double = await startDouble();
  onTestFinished(double.close);
  const there = await openKurrentStore({ url: double.url, name: 'p', file: join(folder, 'there.db') });
  await there.append('s', 'none', [event('X')]);
  await there.close();
  const file = join(folder, 'events.db');
  const own = await openSqliteStore({ file });
  await own.append('s', 'none', [event('A')]);
  await own.close();
  await expect(moveIntoKurrent({ url: double.url, name: 'p', file })).rejects.toMatchObject({ code: 'STATE' });
});

it('a log that is moved out of KurrentDB and in again keeps every event, place and proof; nobody else adds to it meanwhile (T18)', async () => {
  const folder = temporaryFolder();
  const double = await startDouble();
  onTestFinished(double.close);
  const [file, second] = [join(folder, 'events.db'), join(folder, 'second.db')];
  const at = { url: double.url, name: 'p', seal };
  const alone = async (): Promise<void> => {};
  const first = await openKurrentStore({ ...at, file });
  const other = await openKurrentStore({ ...at, file: second, seal: { ...seal, isNew: false } });
  onTestFinished(other.close);
  for (let i = 0; i < 20; i += 1) await first.append(`s-${i % 3}`, 'any', [event('A', { i })]);
  const blob = randomBytes(100);
  await other.commit({ appends: [{ stream: 'b', expected: 'none', events: [event('B')] }], blobs: [blob] });
  expect(await other.takeEpoch(0)).toBe(1);
  const root = await other.tree.root(21);
  await first.close();

  expect(await moveOutOfKurrent({ ...at, file }, alone)).toBe(21);
  await expect(moveOutOfKurrent({ ...at, file }, alone)).rejects.toMatchObject({ code: 'STATE' });
  await expect(moveOutOfKurrent({ ...at, file: second }, alone)).rejects.toMatchObject({
    code: 'STATE',
    message: expect.stringMatching(/another machine/),
  });
  await expect(other.append('s-0', 'any', [event('X')])).rejects.toMatchObject({ code: 'STATE' });
  await expect(other.readStream('s-0')).rejects.toMatchObject({ code: 'STATE' });
  expect(await other.trouble()).toMatchObject({ code: 'STATE' });
  for (const copy of [second, join(folder, 'third.db')])
    await expect(openKurrentStore({ ...at, file: copy })).rejects.toMatchObject({ code: 'STATE' });

  const own = await openSqliteStore({ file, seal: { ...seal, isNew: false } });
  expect(await own.tree.root(21)).toBe(root);
  expect(Buffer.compare((await own.readBlob(sha256Hex(blob))) ?? Buffer.alloc(0), blob)).toBe(0);
  expect(await own.takeEpoch(1)).toBe(2);
  expect(await own.append('s-0', 6, [event('C')])).toMatchObject({ revision: 7 });
  const events = await own.readAll(0, 100);
  await own.close();
  expect(verifyStore(file)).toMatchObject({ ok: true, events: 22 });

  expect(await moveIntoKurrent({ ...at, file })).toBe(22);
  expect(await other.head()).toBe(22);
  for (const store of [other, await openKurrentStore({ ...at, file }), await openKurrentStore({ ...at, file: join(folder, 'third.db') })]) {
    if (store !== other) onTestFinished(store.close);
    expect(await store.readAll(0, 100)).toEqual(events);
    expect(store.epoch()).toBe(2);
  }
  expect(await other.append('s-0', 7, [event('D')])).toMatchObject({ revision: 8 });
});

it('a copy whose database is lost becomes the log; a move that was cut off between the two goes on; a log without a new event is moved in again', async () => {
  const folder = temporaryFolder();
  const double = await startDouble();
  onTestFinished(double.close);
  const file = join(folder, 'events.db');
  const at = { url: double.url, name: 'p', seal };
  const store = await openKurrentStore({ ...at, file });
  await store.append('s', 'none', [event('A'), event('B')]);
  await store.close();
  double.failNextAppend('p-log', 'silent');
  const alone = async (): Promise<void> => {};
  // It ends after the log was closed, before the file is the log.
  const db = new Database(file);
  const id = movingId(db);
  expect(movingId(db)).toBe(id);
  db.close();
  const copy = readFileSync(file);
  expect(await moveOutOfKurrent({ ...at, file }, alone)).toBe(2);
  for (const ending of ['-wal', '-shm']) rmSync(file + ending, { force: true });
  writeFileSync(file, copy);
  expect(await moveOutOfKurrent({ ...at, file }, alone)).toBe(2);
  expect(await moveIntoKurrent({ ...at, file })).toBe(2);
  const again = await openKurrentStore({ ...at, file });
  expect(await again.readStream('s')).toHaveLength(2);
  await again.close();
  expect(await moveOutOfKurrent({ file }, alone)).toBe(2);
  const own = await openSqliteStore({ file, seal: { ...seal, isNew: false } });
  expect(await own.append('s', 1, [event('C')])).toMatchObject({ revision: 2 });
  await own.close();
});
