import { randomUUID } from 'node:crypto';
import type Database from 'better-sqlite3';
import { NusecError } from '../errors.ts';
import { addRunTables, appendRun } from './headRuns.ts';
import { rowCheck } from './rowCheck.ts';
import { addTree } from './sqliteTree.ts';

/** The tables of the store's file, and how files of earlier versions get them. */

/** Written into the file's header; a file of a later version is refused. */
const storeFormat = 6;

/** Rows that get their checksum in one transaction. */
const checkedRows = 10_000;

/** Events of one run of the index of streams while an older store gets its index. */
const indexedAtOnce = 262_144;

/** What brings a file from the format of the same index to the next one. */
const upgrades: readonly ((db: Database) => void)[] = [
  db =>
    db.exec(`
      CREATE TABLE events (
        position INTEGER PRIMARY KEY,
        stream TEXT NOT NULL,
        revision INTEGER NOT NULL,
        prev INTEGER NOT NULL,
        id TEXT NOT NULL,
        hash TEXT NOT NULL,
        body TEXT NOT NULL
      ) STRICT`),
  // `store` has one row. Its identity distinguishes this store from any other, also from a new one under the same name.
  db => {
    db.exec('CREATE TABLE store (identity TEXT NOT NULL, epoch INTEGER NOT NULL, checkpoints INTEGER NOT NULL) STRICT');
    db.prepare('INSERT INTO store VALUES (?, 0, 0)').run(randomUUID());
    db.exec('CREATE TABLE blobs (sha256 BLOB PRIMARY KEY, bytes BLOB NOT NULL) STRICT');
  },
  // UUIDv7 sort by time, so new ids go to the end of their index. An earlier version could store an id twice: it is not unique.
  db => {
    db.exec('CREATE INDEX IF NOT EXISTS events_id ON events (id)');
    db.exec('ALTER TABLE events ADD COLUMN crc INTEGER NOT NULL DEFAULT 0');
    addChecks(db);
  },
  addTree,
  db => {
    addRunTables(db);
    while (appendRun(db, indexedAtOnce, work => work()) === indexedAtOnce);
  },
  // Who commits for all processes (committer/). An index that is made again passes here twice.
  db => {
    const isThere = db.prepare("SELECT 1 FROM pragma_table_info('store') WHERE name = 'turn'").get() !== undefined;
    if (isThere) return;
    db.exec('ALTER TABLE store ADD COLUMN turn INTEGER NOT NULL DEFAULT 0');
    db.exec("ALTER TABLE store ADD COLUMN committer TEXT NOT NULL DEFAULT ''");
  },
];

/** Makes what is missing, in one transaction. @throws NusecError STORE_DAMAGED when the file is of a later version */
export function createSchema(db: Database): void {
  if (formatOf(db) === storeFormat) return;
  db.exec('BEGIN IMMEDIATE');
  const format = formatOf(db);
  if (format > storeFormat)
    throw new NusecError('STORE_DAMAGED', `the event store has format ${format}, this version reads ${storeFormat}`);
  for (const upgrade of upgrades.slice(format)) upgrade(db);
  db.exec(`PRAGMA user_version = ${storeFormat}`);
  db.exec('COMMIT');
}

const formatOf = (db: Database): number => db.pragma('user_version', { simple: true }) as number;

type Row = [position: number, stream: string, revision: number, prev: number, id: string, hash: string, body: string];

function addChecks(db: Database): void {
  const rows = db
    .prepare<Row>('SELECT position, stream, revision, prev, id, hash, body FROM events WHERE position > ? ORDER BY position LIMIT ?')
    .raw();
  const update = db.prepare('UPDATE events SET crc = ? WHERE position = ?');
  for (let after = 0, page = rows.all(after, checkedRows); page.length > 0; page = rows.all(after, checkedRows)) {
    for (const row of page) update.run(rowCheck(...row), row[0]);
    after = (page.at(-1) as Row)[0];
  }
}

/** Something in the file that would act by itself on what is stored. @returns what it is, if there is one */
export const foreignProgram = (db: Database): string | undefined =>
  db.prepare<string>("SELECT 'a ' || type || ' ' || name FROM sqlite_schema WHERE type IN ('trigger', 'view') LIMIT 1").pluck().get();
