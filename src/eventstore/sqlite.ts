import { accessSync, constants } from 'node:fs';
import { statfs } from 'node:fs/promises';
import { dirname } from 'node:path';
import Database from 'better-sqlite3';
import { NusecError } from '../errors.ts';
import { boundLimit, isBusy, openBusyMs, transaction, useWal } from '../sqliteFile.ts';
import { openHeadIndex } from './headIndex.ts';
import { type HeadMark, type Mark, openHeadMark } from './headMark.ts';
import { openIdIndex } from './idIndex.ts';
import type { EventStore, RecordedEvent } from './port.ts';
import { createChecked, rowCheck, rowText, splitRowText } from './rowCheck.ts';
import { createSealer } from './seal.ts';
import type { Sealing } from './sealing.ts';
import { createSchema, foreignProgram } from './sqliteSchema.ts';
import { isCopy, makeCopy, takenRow } from './sqliteTaken.ts';
import { treeRows } from './sqliteTree.ts';
import type { Committer, Storage } from './storage.ts';
import { createStore } from './store.ts';
import { damaged, storeError, translated } from './storeError.ts';
import { eventIn, isIntact, outlineIn, streamRows, type WholeRow } from './streamRows.ts';
import { startUpkeep, type Upkeep } from './upkeep.ts';
import { openWal } from './wal.ts';

/** The durable event store: one SQLite file in WAL mode. Several processes of one machine may have it open: SQLite's write lock puts their
 *  groups in one order, and is never held while the disk works. */

const pageBytes = 8192;
/** Pages of the file kept in memory. */
const cacheKib = 131_072;
/** A reader waits for nobody but a process that recovers the log after a crash. */
const readBusyMs = 100;
const defaultIndexEvents = 32_768;

export type SqliteStoreOptions = {
  readonly file: string;
  /** Largest size of the file in pages of 8 KiB; appends beyond it are refused as on a full disk. */
  readonly maxPages?: number;
  /** How long an append waits while another process holds the write lock, then STORE_UNAVAILABLE; default: 5 s. */
  readonly lockWaitMs?: number;
  /** Opens a store that has fewer events than were acknowledged, as after an old backup was put back; default: refuse it. */
  readonly acceptOlder?: boolean;
  /** Events after which the index of streams is extended; default: 32768. About as many are read when a store is opened, and are in memory. */
  readonly indexEvents?: number;
  /** Key that commits are sealed with, 32 bytes, and whether it was just made: then a store that has no seal yet gets one. */
  readonly seal?: { readonly key: Uint8Array; readonly isNew: boolean };
};

/** Opens or creates a store.
 *  @throws NusecError STORE_DAMAGED (not a store, another format, an event is missing or is not the acknowledged one), STORE_FULL, STORE_READ_ONLY,
 *  STORE_UNAVAILABLE */
export async function openSqliteStore(options: SqliteStoreOptions): Promise<EventStore> {
  const opened: { close(): unknown }[] = [];
  try {
    const db = openDatabase(options);
    opened.push(db);
    const upkeep = startUpkeep({ file: options.file, indexEvents: options.indexEvents ?? defaultIndexEvents });
    const mark = openHeadMark(`${options.file}-head`);
    opened.push(mark);
    if (options.acceptOlder) mark.clear();
    if (isCopy(db)) throw copyHere();
    checkHead(db, mark.read());
    const sealing: Sealing | undefined = options.seal && { sealer: createSealer(options.seal.key), isNew: options.seal.isNew };
    const sharing = { file: options.file, sealKey: options.seal?.key };
    return createStore(sqliteStorage(db, mark, upkeep, options.indexEvents), { sealing, sharing, lockWaitMs: options.lockWaitMs });
  } catch (error) {
    for (const each of opened.reverse()) await each.close();
    throw storeError(error, 'the event store cannot be opened');
  }
}

const copyHere = (): NusecError =>
  new NusecError('STATE', 'the event log of this data folder is in KurrentDB: give its address (--event-store, KURRENTDB_URL)');

/** Opens or creates the copy of a log elsewhere. What is in it is stored there, so nothing here waits for the disk, and there is no head mark.
 *  @throws NusecError as openSqliteStore; STATE when the file is a store of its own with events in it */
export async function openSqliteCopy({ file, indexEvents = defaultIndexEvents }: Pick<SqliteStoreOptions, 'file' | 'indexEvents'>) {
  let db: Database | undefined;
  try {
    db = openDatabase({ file });
    if (!isCopy(db)) {
      const isEmpty = db.prepare('SELECT 1 FROM events LIMIT 1').get() === undefined;
      if (!isEmpty)
        throw new NusecError('STATE', `${file} is an event log of its own: move it into KurrentDB first, see docs/kurrentdb.md`);
      transaction(db, () => makeCopy(db as Database));
    }
    const upkeep = startUpkeep({ file, indexEvents });
    const mark: HeadMark = { read: () => undefined, write() {}, clear() {}, close: async () => {} };
    return { ...sqliteStorage(db, mark, upkeep, indexEvents), sync: async () => {} };
  } catch (error) {
    db?.close();
    throw storeError(error, 'the copy of the event log cannot be opened');
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
  // SQLite says of a read-only disk no more than that it cannot open the file.
  accessSync(dirname(file), constants.W_OK);
  const db = new Database(file, { timeout: openBusyMs });
  try {
    db.pragma(`page_size = ${pageBytes}`);
    useWal(db);
    db.pragma(`cache_size = -${cacheKib}`);
    if (maxPages !== undefined) db.pragma(`max_page_count = ${maxPages}`);
    createSchema(db);
    requireOneRow(db);
    const program = foreignProgram(db);
    if (program !== undefined) throw damaged(`the file has ${program}, which nobody of this project has put there`);
    // A commit writes the log and does not wait for the disk: wal.ts does, outside the event loop. Moving the log is upkeep's work.
    db.pragma('synchronous = NORMAL');
    db.pragma('wal_autocheckpoint = 0');
    return db;
  } catch (error) {
    db.close();
    throw error;
  }
}

/** Without its row nobody's leadership would ever end. @throws NusecError STORE_DAMAGED */
function requireOneRow(db: Database): void {
  if (db.prepare<number>('SELECT count(*) FROM store').pluck().get() !== 1)
    throw damaged('the row that names the store and who leads is missing');
}

/** Rows of one read while what others have written is taken in. */
const scannedAtOnce = 1000;

function sqliteStorage(db: Database, headMark: HeadMark, upkeep: Upkeep, indexEvents = defaultIndexEvents): Storage {
  const wal = openWal(db.name, upkeep);
  const index = openHeadIndex(db);
  let bytes = 0;
  const checked = createChecked();
  /** @throws NusecError STORE_DAMAGED unless the row is as it was stored */
  const check = (row: WholeRow): void => {
    const [position, revision, , , text] = row;
    if (checked.has(position)) return;
    if (!isIntact(row)) {
      const [stream] = `${text}`.split(' ', 1);
      throw damaged(`the event at position ${position} (stream ${stream}, revision ${revision}) is not what was stored`);
    }
    checked.add(position);
  };
  /** As `check`. */
  const decodeWhole = (row: WholeRow): RecordedEvent => {
    check(row);
    return eventIn(row);
  };
  // A write lock that another process holds is waited for in commitQueue.ts, not here.
  const waitForNobody = db.prepare('PRAGMA busy_timeout = 0');
  const waitForRecovery = db.prepare(`PRAGMA busy_timeout = ${readBusyMs}`);
  waitForRecovery.get();
  const begin = db.prepare('BEGIN IMMEDIATE');
  const commit = db.prepare('COMMIT');
  const insert = db.prepare('INSERT INTO events (position, stream, revision, prev, id, hash, body, crc) VALUES (?, ?, ?, ?, ?, ?, ?, ?)');
  const rows = `SELECT position, revision, prev, crc, ${rowText} FROM events`;
  const at = db.prepare<WholeRow>(`${rows} WHERE position = ?`).raw();
  const rowsAfter = db.prepare<WholeRow>(`${rows} WHERE position > ? ORDER BY position ${boundLimit}`).raw();
  const back = streamRows(db);
  const epoch = db.prepare<number>('SELECT epoch FROM store').pluck();
  const setEpoch = db.prepare('UPDATE store SET epoch = ?');
  const committer = db.prepare<Committer>('SELECT turn, committer AS address FROM store');
  const setCommitter = db.prepare('UPDATE store SET turn = ?, committer = ?');
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
      let read: readonly WholeRow[];
      let last = after;
      do {
        read = rowsAfter.all(last, scannedAtOnce);
        for (const row of read) {
          check(row);
          const [position, revision, , , text] = row;
          const { stream, id, hash } = splitRowText(text);
          visit(stream, revision, position, id, hash);
          last = position;
        }
      } while (read.length === scannedAtOnce);
    },
    changedElsewhere() {
      const now = version.get();
      const changed = now !== seen;
      seen = now;
      if (changed) index.refresh();
      return changed;
    },
    indexedUpTo: index.upTo,
    indexedEnd: index.find,
    indexedHead(stream) {
      const found = index.find(stream);
      if (found === undefined) return undefined;
      const row = at.get(found);
      if (row === undefined) throw damaged(`the event at position ${found} is missing`);
      check(row);
      const [position, revision, , , text] = row;
      const { stream: owner, hash } = splitRowText(text);
      if (owner !== stream) throw damaged('the index of streams is damaged');
      return { revision, position, hash };
    },
    extendIndex(newest) {
      if (newest - index.upTo() >= indexEvents) upkeep.run('index');
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
    insert({ position, stream, revision, prev, id, hash, body }) {
      insert.run(position, stream, revision, prev, id, hash, body, rowCheck(position, stream, revision, prev, id, hash, body));
      bytes += body.length;
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
    epoch() {
      const present = epoch.get();
      if (present === undefined) throw damaged('who leads cannot be read');
      return present;
    },
    setEpoch: next => void setEpoch.run(next),
    committer() {
      const row = committer.get();
      if (!(typeof row?.turn === 'number' && typeof row.address === 'string'))
        throw damaged('who commits for the event store cannot be read');
      return row;
    },
    setCommitter: ({ turn, address }) => void setCommitter.run(turn, address),
    ...takenRow(db),
    async freeBytes() {
      const { bavail, bsize } = await statfs(dirname(db.name));
      return bavail * bsize;
    },
    upkeepFailure: upkeep.failure,
    mark: headMark.write,
    ...treeRows(db),
    sync: wal.sync,
    back: (position, fromRevision) => back(position, fromRevision).map(decodeWhole),
    ...openIdIndex(db, check),
    after: (position, limit) => rowsAfter.all(position, limit).map(decodeWhole),
    outlinesAfter: (position, limit) =>
      rowsAfter.all(position, limit).map(row => {
        check(row);
        return outlineIn(row);
      }),
    async close() {
      await upkeep.close();
      await wal.close();
      await headMark.close();
      db.close();
    },
  };
  return translated(functions, 'the event store');
}
