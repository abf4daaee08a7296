import { hash } from 'node:crypto';
import { crc32 } from 'node:zlib';
import type Database from 'better-sqlite3';
import { rowCheck } from './rowCheck.ts';
import { damaged } from './storeError.ts';

/** The index of streams: where the newest event of each stream is, for all but the newest events of the store.
 *
 *  It is made of runs. A run covers the events after one position up to another and has, for each stream with events among them, the position of the
 *  newest one, in the order of the keys. Runs adjoin; the newest that has a stream counts. A run is written once, in order, and two runs become one
 *  when the newer is as large as the older: so the runs are few, and the file is never written at random places, however many streams there are.
 *
 *  entry  16 bytes  first half of SHA-256 of the stream's name
 *          6 bytes  position, big endian
 *  page   up to 360 entries, one row of `head_pages` with its CRC-32; number: run · 2²⁴ + 0, 1, 2 … */

export const keyBytes = 16;
export const entryBytes = keyBytes + 6;
/** So that a page is one page of the file, too. */
const pageEntries = 360;
const pagesPerRun = 2 ** 24;
/** Pages of one transaction, so that writers of events wait for milliseconds only. */
const pagesAtOnce = 32;

/** @property after position of the event before its first @property pages how many */
export type Run = { readonly run: number; readonly after: number; readonly upTo: number; readonly entries: number; readonly pages: number };

export const streamKey = (stream: string): Buffer => hash('sha256', stream, 'buffer').subarray(0, keyBytes);
export const pageNumber = (run: number, page: number): number => run * pagesPerRun + page;

/** Begins the index again: it can always be made from the events. */
export function addRunTables(db: Database): void {
  db.exec(`
    DROP TABLE IF EXISTS head_runs;
    DROP TABLE IF EXISTS head_pages;
    CREATE TABLE head_runs (
      run INTEGER PRIMARY KEY,
      after INTEGER NOT NULL,
      upTo INTEGER NOT NULL,
      entries INTEGER NOT NULL,
      pages INTEGER NOT NULL,
      crc INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE head_pages (page INTEGER PRIMARY KEY, crc INTEGER NOT NULL, entries BLOB NOT NULL) STRICT`);
}

const runCheck = ({ run, after, upTo, entries, pages }: Run): number => crc32(`${run} ${after} ${upTo} ${entries} ${pages}`);

/** Oldest first. @throws NusecError STORE_DAMAGED when they do not adjoin */
export function runsOf(db: Database): readonly Run[] {
  const runs = db.prepare<Run & { crc: number }>('SELECT * FROM head_runs ORDER BY after').all();
  const isWhole = runs.every((run, i) => run.crc === runCheck(run) && run.after === (runs[i - 1]?.upTo ?? 0));
  if (!isWhole) throw damaged('the index of streams is damaged');
  return runs;
}

/** @throws NusecError STORE_DAMAGED */
export function checkPage(number: number, row: { readonly crc: number; readonly entries: Uint8Array }): Buffer {
  if (crc32(row.entries) !== row.crc) throw damaged(`the index of streams is damaged (page ${number})`);
  return Buffer.from(row.entries.buffer, row.entries.byteOffset, row.entries.length);
}

/** Does `work` while nobody else writes, and lets the others write before it returns. */
export type Turn = (work: () => void) => void;

type Row = [position: number, stream: string, revision: number, prev: number, id: string, hash: string, body: string, crc: number];

/** Adds a run over the next events, at most `limit`. Nobody else may be extending the index. @returns how many they were
 *  @throws NusecError STORE_DAMAGED */
export function appendRun(db: Database, limit: number, turn: Turn): number {
  const after = runsOf(db).at(-1)?.upTo ?? 0;
  const { newest, upTo } = newestOfEach(db, after, limit);
  if (upTo === after) return 0;
  const entries = [...newest].map(([stream, position]) => entryOf(streamKey(stream), position)).sort(Buffer.compare);
  const pages = createPages(db, turn);
  for (const entry of entries) pages.add(entry, 0);
  const written = pages.end();
  turn(() => insertRun(db, { after, upTo, ...written }));
  return upTo - after;
}

/** Position of the newest event of each stream among those after a position. */
function newestOfEach(db: Database, after: number, limit: number) {
  const rows = db
    .prepare<Row>('SELECT position, stream, revision, prev, id, hash, body, crc FROM events WHERE position > ? ORDER BY position LIMIT ?')
    .raw();
  const newest = new Map<string, number>();
  let upTo = after;
  for (const [position, stream, revision, prev, id, eventHash, body, crc] of rows.iterate(after, limit)) {
    if (position !== upTo + 1) throw damaged(`the event at position ${upTo + 1} is missing`);
    if (rowCheck(position, stream, revision, prev, id, eventHash, body) !== crc)
      throw damaged(`the event at position ${position} is not what was stored`);
    newest.set(stream, position);
    upTo = position;
  }
  return { newest, upTo };
}

function entryOf(key: Buffer, position: number): Buffer {
  const entry = Buffer.allocUnsafe(entryBytes);
  key.copy(entry);
  entry.writeUIntBE(position, keyBytes, 6);
  return entry;
}

function newRun(db: Database): number {
  const listed = db.prepare<number>('SELECT coalesce(max(run), 0) FROM head_runs').pluck().get() ?? 0;
  const page = db.prepare<number>('SELECT coalesce(max(page), 0) FROM head_pages').pluck().get() ?? 0;
  return 1 + Math.max(listed, Math.floor(page / pagesPerRun));
}

function insertRun(db: Database, run: Run): void {
  db.prepare('INSERT INTO head_runs VALUES (?, ?, ?, ?, ?, ?)').run(run.run, run.after, run.upTo, run.entries, run.pages, runCheck(run));
}

/** Writes the pages of a run that is not listed yet, a few at a time. */
function createPages(db: Database, turn: Turn) {
  const insert = db.prepare('INSERT INTO head_pages VALUES (?, ?, ?)');
  const run = newRun(db);
  let page = Buffer.allocUnsafe(pageEntries * entryBytes);
  let used = 0;
  let entries = 0;
  let pages = 0;
  let waiting: Buffer[] = [];
  const write = (): void => {
    turn(() => waiting.forEach((bytes, i) => void insert.run(pageNumber(run, pages + i), crc32(bytes), bytes)));
    pages += waiting.length;
    waiting = [];
  };
  const endPage = (): void => {
    waiting.push(page.subarray(0, used));
    page = Buffer.allocUnsafe(pageEntries * entryBytes);
    used = 0;
    if (waiting.length === pagesAtOnce) write();
  };
  return {
    /** Entries come in the order of their keys. */
    add(bytes: Buffer, at: number): void {
      bytes.copy(page, used, at, at + entryBytes);
      used += entryBytes;
      entries += 1;
      if (used === page.length) endPage();
    },
    end(): Pick<Run, 'run' | 'entries' | 'pages'> {
      if (used > 0) endPage();
      if (waiting.length > 0) write();
      return { run, entries, pages };
    },
  };
}

/** Makes one run of the two newest when the newer is at least as large as the older. Nobody else may be extending the index.
 *  @returns whether two have become one */
export function mergeRuns(db: Database, turn: Turn): boolean {
  const [older, newer] = runsOf(db).slice(-2);
  if (older === undefined || newer === undefined || newer.entries < older.entries) return false;
  dropUnlisted(db, turn);
  const pages = createPages(db, turn);
  mergeInto(pages.add, openCursor(db, older), openCursor(db, newer));
  const written = pages.end();
  turn(() => {
    db.prepare('DELETE FROM head_runs WHERE run IN (?, ?)').run(older.run, newer.run);
    insertRun(db, { after: older.after, upTo: newer.upTo, ...written });
  });
  dropUnlisted(db, turn);
  return true;
}

/** Drops the pages of runs that are no longer listed, also of work that was cut off. */
function dropUnlisted(db: Database, turn: Turn): void {
  const listed = new Set(runsOf(db).map(({ run }) => run));
  const next = db.prepare<number | null>('SELECT min(page) FROM head_pages WHERE page >= ?').pluck();
  const drop = db.prepare('DELETE FROM head_pages WHERE page >= ? AND page < ?');
  for (let page = next.get(0); typeof page === 'number'; page = next.get(page)) {
    const run = Math.floor(page / pagesPerRun);
    const first = page;
    if (listed.has(run)) page = pageNumber(run + 1, 0);
    else turn(() => void drop.run(first, Math.min(first + pagesAtOnce, pageNumber(run + 1, 0))));
  }
}

/** A place in a run. `lead`: the first 48 bits of the key there, `atEnd` behind the last entry. */
type Cursor = { readonly run: Run; readonly read: (number: number) => Buffer; page: number; bytes: Buffer; at: number; lead: number };
const leadBytes = 6;
const atEnd = Number.POSITIVE_INFINITY;

function openCursor(db: Database, run: Run): Cursor {
  const select = db.prepare<{ crc: number; entries: Uint8Array }>('SELECT crc, entries FROM head_pages WHERE page = ?');
  const read = (page: number): Buffer => {
    const number = pageNumber(run.run, page);
    const row = select.get(number);
    if (row === undefined) throw damaged(`the index of streams is damaged (page ${number})`);
    return checkPage(number, row);
  };
  const bytes = read(0);
  return { run, read, page: 0, bytes, at: 0, lead: bytes.readUIntBE(0, leadBytes) };
}

function advance(cursor: Cursor): void {
  cursor.at += entryBytes;
  if (cursor.at === cursor.bytes.length) {
    cursor.page += 1;
    cursor.at = 0;
    if (cursor.page < cursor.run.pages) cursor.bytes = cursor.read(cursor.page);
  }
  cursor.lead = cursor.page < cursor.run.pages ? cursor.bytes.readUIntBE(cursor.at, leadBytes) : atEnd;
}

/** Both in the order of keys; of a key that both have, the newer. */
function mergeInto(add: (bytes: Buffer, at: number) => void, older: Cursor, newer: Cursor): void {
  while (older.lead !== atEnd || newer.lead !== atEnd) {
    const order = older.lead === newer.lead ? compareKeys(older, newer) : older.lead - newer.lead;
    const taken = order < 0 ? older : newer;
    add(taken.bytes, taken.at);
    if (order <= 0) advance(older);
    if (order >= 0) advance(newer);
  }
}

const compareKeys = (a: Cursor, b: Cursor): number => a.bytes.compare(b.bytes, b.at, b.at + keyBytes, a.at, a.at + keyBytes);
