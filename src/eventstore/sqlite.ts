/** The durable event store: one SQLite file in WAL mode. Several processes of one machine may have it open: SQLite's write lock puts their
 *  groups in one order, and is never held while the disk works. */
import { randomUUID } from 'node:crypto';
import Database from 'better-sqlite3';
import { NusecError } from '../errors.ts';
import { decodeEvent } from './envelope.ts';
import { type HeadMark, type Mark, openHeadMark } from './headMark.ts';
import type { EventStore } from './port.ts';
import type { Storage, StoredId } from './storage.ts';
import { createStore } from './store.ts';
import { damaged, storeError, translated } from './storeError.ts';
import { openWal } from './wal.ts';

/** Written into the file's header; a file of another format is refused. */
const storeFormat = 2;
/** Had no table `store`. */
const firstFormat = 1;
const pageBytes = 8192;
/** Pages of the file kept in memory. */
const cacheKib = 131_072;
/** While a store is opened: another process may be doing the same. */
const openBusyMs = 5000;
/** A reader waits for nobody but a process that recovers the log after a crash. */
const readBusyMs = 100;

export type SqliteStoreOptions = {
  readonly file: string;
  /** Largest size of the file in pages of 8 KiB; appends beyond it are refused as on a full disk. */
  readonly maxPages?: number;
  /** How long an append waits while another process holds the write lock, then STORE_UNAVAILABLE; default: 5 s. */
  readonly lockWaitMs?: number;
  /** Opens a store that has fewer events than were acknowledged, as after an old backup was put back; default: refuse it. */
  readonly acceptOlder?: boolean;
};

/** Opens or creates a store.
 *  @throws NusecError STORE_DAMAGED (not a store, another format, an event is missing or is not the acknowledged one), STORE_FULL, STORE_READ_ONLY,
 *  STORE_UNAVAILABLE */
export async function openSqliteStore(options: SqliteStoreOptions): Promise<EventStore> {
  const opened: { close(): unknown }[] = [];
  try {
    const db = openDatabase(options);
    opened.push(db);
    const mark = openHeadMark(`${options.file}-head`);
    opened.push(mark);
    if (options.acceptOlder) mark.clear();
    checkHead(db, mark.read());
    return createStore(sqliteStorage(db, mark), options.lockWaitMs);
  } catch (error) {
    for (const each of opened.reverse()) await each.close();
    throw storeError(error, 'the event store cannot be opened');
  }
}

/** @throws NusecError STORE_DAMAGED when acknowledged events are missing, or are not the acknowledged ones */
function checkHead(db: Database, mark: Mark | undefined): void {
  if (mark === undefined) return;
  const head = db.prepare<number>('SELECT coalesce(max(position), 0) FROM events').pluck().get() ?? 0;
  const hash = db.prepare<string>('SELECT hash FROM events WHERE position = ?').pluck().get(mark.position);
  if (hash === mark.hash) return;
  throw head < mark.position
    ? damaged(`the events from position ${head + 1} to ${mark.position} were acknowledged and are missing (is ${db.name}-wal as it was?)`)
    : damaged(`the event at position ${mark.position} is not the one that was acknowledged`);
}

function openDatabase({ file, maxPages }: SqliteStoreOptions): Database {
  const db = new Database(file, { timeout: openBusyMs });
  try {
    db.pragma(`page_size = ${pageBytes}`);
    db.pragma('journal_mode = WAL');
    db.pragma(`cache_size = -${cacheKib}`);
    if (maxPages !== undefined) db.pragma(`max_page_count = ${maxPages}`);
    createSchema(db);
    // A commit writes the log and does not wait for the disk: wal.ts does, outside the event loop. Moving the log is upkeep's work.
    db.pragma('synchronous = NORMAL');
    db.pragma('wal_autocheckpoint = 0');
    return db;
  } catch (error) {
    db.close();
    throw error;
  }
}

function createSchema(db: Database): void {
  if (formatOf(db) === storeFormat) return;
  db.exec('BEGIN IMMEDIATE');
  const format = formatOf(db);
  if (format !== storeFormat && format !== firstFormat && format !== 0)
    throw new NusecError('STORE_DAMAGED', `the event store has format ${format}, this version reads ${storeFormat}`);
  if (format === 0) db.exec(eventsTable);
  db.exec(idIndex);
  if (format !== storeFormat) {
    db.exec(storeTable);
    db.exec(blobsTable);
    db.prepare('INSERT INTO store VALUES (?, 0, 0)').run(randomUUID());
    db.exec(`PRAGMA user_version = ${storeFormat}`);
  }
  db.exec('COMMIT');
}

const eventsTable = `
  CREATE TABLE events (
    position INTEGER PRIMARY KEY,
    stream TEXT NOT NULL,
    revision INTEGER NOT NULL,
    prev INTEGER NOT NULL,
    id TEXT NOT NULL,
    hash TEXT NOT NULL,
    body TEXT NOT NULL
  ) STRICT`;

/** UUIDv7 sort by time, so new ids go to the end of it. An earlier version could store an id twice: it is not unique. */
const idIndex = 'CREATE INDEX IF NOT EXISTS events_id ON events (id)';

/** Small blobs, in the commit of the events that name them. */
const blobsTable = 'CREATE TABLE blobs (sha256 BLOB PRIMARY KEY, bytes BLOB NOT NULL) STRICT';

/** One row. `identity` tells this store from any other, also from one that was made anew under the same name. */
const storeTable = 'CREATE TABLE store (identity TEXT NOT NULL, epoch INTEGER NOT NULL, checkpoints INTEGER NOT NULL) STRICT';

const formatOf = (db: Database): unknown => db.pragma('user_version', { simple: true });

/** position, stream, revision, id, hash, body */
type EventColumns = [number, string, number, string, string, string];
const decode = (row: EventColumns) => decodeEvent(...row);

function sqliteStorage(db: Database, headMark: HeadMark): Storage {
  const wal = openWal(db.name);
  let bytes = 0;
  // A write lock that another process holds is waited for in commitQueue.ts, not here.
  const waitForNobody = db.prepare('PRAGMA busy_timeout = 0');
  const waitForRecovery = db.prepare(`PRAGMA busy_timeout = ${readBusyMs}`);
  waitForRecovery.get();
  const begin = db.prepare('BEGIN IMMEDIATE');
  const commit = db.prepare('COMMIT');
  const insert = db.prepare('INSERT INTO events (position, stream, revision, prev, id, hash, body) VALUES (?, ?, ?, ?, ?, ?, ?)');
  const heads = db
    .prepare<[string, number, number, string, string]>('SELECT stream, revision, position, id, hash FROM events WHERE position > ?')
    .raw();
  const find = db.prepare<StoredId>('SELECT position, stream, revision, body FROM events WHERE id = ? ORDER BY position LIMIT 1');
  const highestId = db.prepare<string | null>('SELECT max(id) FROM events').pluck();
  const after = db
    .prepare<EventColumns>('SELECT position, stream, revision, id, hash, body FROM events WHERE position > ? ORDER BY position LIMIT ?')
    .raw();
  const back = db
    .prepare<EventColumns>(
      `WITH RECURSIVE chain (position, stream, revision, id, hash, body, prev) AS (
         SELECT position, stream, revision, id, hash, body, prev FROM events WHERE position = ?
         UNION ALL
         SELECT e.position, e.stream, e.revision, e.id, e.hash, e.body, e.prev
         FROM chain JOIN events e ON e.position = chain.prev AND e.position < chain.position
         WHERE chain.revision > ?
       ) SELECT position, stream, revision, id, hash, body FROM chain`,
    )
    .raw();
  const epoch = db.prepare<number>('SELECT epoch FROM store').pluck();
  const setEpoch = db.prepare('UPDATE store SET epoch = ?');
  const putBlob = db.prepare(
    'INSERT INTO blobs VALUES (?, ?) ON CONFLICT (sha256) DO UPDATE SET bytes = excluded.bytes WHERE bytes <> excluded.bytes',
  );
  const dropBlob = db.prepare('DELETE FROM blobs WHERE sha256 = ?');
  const blob = db.prepare<Uint8Array>('SELECT bytes FROM blobs WHERE sha256 = ?').pluck();
  // SQLite's own count of commits by other connections.
  const version = db.prepare<number>('PRAGMA data_version').pluck();
  let seen: number | undefined;
  const functions: Storage = {
    scan(after, visit) {
      for (const row of heads.iterate(after)) visit(...row);
    },
    changedElsewhere() {
      const now = version.get();
      const changed = now !== seen;
      seen = now;
      return changed;
    },
    begin() {
      waitForNobody.get();
      try {
        begin.run();
        bytes = 0;
        return true;
      } catch (error) {
        if (isBusy(error)) return false;
        throw error;
      } finally {
        waitForRecovery.get();
      }
    },
    insert(row) {
      insert.run(row.position, row.stream, row.revision, row.prev, row.id, row.hash, row.body);
      bytes += row.body.length;
    },
    commit() {
      commit.run();
      wal.committed(bytes);
    },
    rollback() {
      if (db.inTransaction) db.exec('ROLLBACK');
    },
    putBlob({ sha256, bytes: content }) {
      putBlob.run(Buffer.from(sha256, 'hex'), content);
      bytes += content.length;
    },
    dropBlob: sha256 => void dropBlob.run(Buffer.from(sha256, 'hex')),
    blob: sha256 => blob.get(Buffer.from(sha256, 'hex')),
    epoch: () => epoch.get() ?? 0,
    setEpoch: next => void setEpoch.run(next),
    mark: headMark.write,
    sync: wal.sync,
    back: (position, fromRevision) => back.all(position, fromRevision).map(decode),
    find: id => find.get(id),
    highestId: () => highestId.get() ?? '',
    after: (position, limit) => after.all(position, limit).map(decode),
    async close() {
      await wal.close();
      await headMark.close();
      db.close();
    },
  };
  return translated(functions, 'the event store');
}

const isBusy = (error: unknown): boolean => error instanceof Database.SqliteError && error.code.startsWith('SQLITE_BUSY');
