import { randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { expect, it, onTestFinished } from 'vitest';
import type { EventStore } from '../../src/eventstore/port.ts';
import { openReadModels } from '../../src/projections/readModels.ts';
import { openMemoryStore } from '../eventstore/memory.ts';
import { event, temporaryFolder } from '../eventstore/support.ts';

/** What a read-model file shows when another store stands behind it. */

const file = () => join(temporaryFolder(), 'views.db');
const lineOf = (line: string) => event('LineDefined', { line });
const add = (store: EventStore, ...lines: string[]) => store.append('line-l', 'any', lines.map(lineOf));
/** What the lists show, and what was said while opening. */
async function shown(store: EventStore, views: string) {
  const troubles: string[] = [];
  const reads = await openReadModels(store, views, ({ message }) => troubles.push(message));
  onTestFinished(() => reads.close());
  const immediately = (await reads.db.selectFrom('product_lines').select('line').execute()).map(({ line }) => line);
  await reads.waitFor(await store.head());
  const lines = (await reads.db.selectFrom('product_lines').select('line').orderBy('line').execute()).map(({ line }) => line);
  const { ok } = reads.health();
  await reads.close();
  // At no moment a line that the store does not have.
  expect(lines).toEqual(expect.arrayContaining(immediately));
  return { lines, troubles, ok };
}
const rebuilt = ['the read models were of another store and are built again'];

it('shows nothing of another project, not even for a moment', async () => {
  const [views, other, own] = [file(), openMemoryStore(), openMemoryStore()];
  await add(other, 'a', 'b');
  await shown(other, views);
  await add(own, 'c', 'd', 'e');
  expect(await shown(own, views)).toEqual({ lines: ['c', 'd', 'e'], troubles: rebuilt, ok: true });
});

it('shows nothing of events that a store put back does not have, also when it has grown beyond them since', async () => {
  const [views, later, restored] = [file(), openMemoryStore(), openMemoryStore()];
  const kept = lineOf('kept');
  for (const store of [later, restored]) await store.append('line-l', 'any', [kept]);
  await add(later, 'lost');
  await shown(later, views);
  expect((await shown(restored, views)).lines).toEqual(['kept']);
  await shown(later, views);
  await add(restored, 'new', 'newer');
  expect(await shown(restored, views)).toMatchObject({ lines: ['kept', 'new', 'newer'], troubles: rebuilt });
});

it.each([
  ['overwritten', (bytes: Buffer) => randomBytes(bytes.length)],
  ['cut', (bytes: Buffer) => bytes.subarray(0, bytes.length / 2)],
  ['with blocks of zeros', (bytes: Buffer) => Buffer.concat([bytes.subarray(0, 2048), Buffer.alloc(bytes.length - 2048)])],
])('builds a file again that is damaged: %s', async (_, harm) => {
  const [views, store] = [file(), openMemoryStore()];
  await add(store, 'a', 'b');
  await shown(store, views);
  writeFileSync(views, harm(readFileSync(views)));
  expect(await shown(store, views)).toEqual({
    lines: ['a', 'b'],
    troubles: ['the read models were damaged and are built again'],
    ok: true,
  });
});

it('goes on where it was with its own store', async () => {
  const [views, store] = [file(), openMemoryStore()];
  await add(store, 'a');
  await shown(store, views);
  await add(store, 'b');
  expect(await shown(store, views)).toEqual({ lines: ['a', 'b'], troubles: [], ok: true });
});

it('builds a file again that is from before positions had hashes', async () => {
  const [views, store] = [file(), openMemoryStore()];
  await add(store, 'a');
  const db = new Database(views);
  db.exec(`CREATE TABLE projection_builds (name TEXT, build INTEGER, version INTEGER, published INTEGER, position INTEGER, fault TEXT, tables TEXT);
    INSERT INTO projection_builds VALUES ('releases', 1, 1, 1, 1, NULL, '["product_lines"]');
    CREATE TABLE product_lines__releases_1 (line TEXT); INSERT INTO product_lines__releases_1 VALUES ('old');
    CREATE VIEW product_lines AS SELECT * FROM product_lines__releases_1`);
  db.close();
  expect(await shown(store, views)).toEqual({ lines: ['a'], troubles: [], ok: true });
});

it('writes one position in a transaction for all that move together', async () => {
  const [views, store] = [file(), openMemoryStore()];
  await add(store, 'a');
  await shown(store, views);
  const db = new Database(views, { readonly: true });
  onTestFinished(() => void db.close());
  const [position] = await store.readAll(0, 1);
  expect(db.prepare('SELECT position, hash FROM projection_position').all()).toEqual([{ position: 1, hash: position?.hash }]);
  expect(db.prepare('SELECT DISTINCT shared FROM projection_builds').all()).toEqual([{ shared: 1 }]);
});

it('names the file when it cannot be opened', async () => {
  const [views, store] = [file(), openMemoryStore()];
  mkdirSync(views);
  await expect(openReadModels(store, views, () => {})).rejects.toMatchObject({
    code: 'STORE_UNAVAILABLE',
    message: expect.stringContaining(views),
  });
});
