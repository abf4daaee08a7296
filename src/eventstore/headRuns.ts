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
/** Pages of one transaction while two runs become one. */
const pagesAtOnce = 64;

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

type Row = [position: number, stream: string, revision: number, prev: number, id: string, hash: string, body: string, crc: number];

/** Adds a run over the next events, at most `limit`; within a transaction. @returns how many they were
 *  @throws NusecError STORE_DAMAGED */
export function appendRun(db: Database, limit: number): number {
  const after = runsOf(db).at(-1)?.upTo ?? 0;
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
  if (upTo === after) return 0;
  const entries = [...newest].map(([stream, position]) => entryOf(streamKey(stream), position)).sort(Buffer.compare);
  const run = newRun(db);
  const pages = createPages(db, run);
  entries.forEach(pages.add);
  insertRun(db, { run, after, upTo, ...pages.end() });
  return upTo - after;
}

function entryOf(key: Buffer, position: number): Buffer {
  const entry = Buffer.allocUnsafe(entryBytes);
  key.copy(entry);
  entry.writeUIntBE(position, keyBytes, 6);
  return entry;
}

const newRun = (db: Database): number =>
  1 +
  (db
    .prepare<number>(
      'SELECT max((SELECT coalesce(max(run), 0) FROM head_runs), (SELECT coalesce(max(page), 0) / 16777216 FROM head_pages))',
    )
    .pluck()
    .get() ?? 0);

function insertRun(db: Database, run: Run): void {
  db.prepare('INSERT INTO head_runs VALUES (?, ?, ?, ?, ?, ?)').run(run.run, run.after, run.upTo, run.entries, run.pages, runCheck(run));
}

/** Writes the pages of a run. @param written called after each page */
function createPages(db: Database, run: number, written: () => void = () => {}) {
  const insert = db.prepare('INSERT INTO head_pages VALUES (?, ?, ?)');
  let waiting: Buffer[] = [];
  let entries = 0;
  let pages = 0;
  const flush = (): void => {
    const bytes = Buffer.concat(waiting);
    insert.run(pageNumber(run, pages), crc32(bytes), bytes);
    pages += 1;
    waiting = [];
    written();
  };
  return {
    add(entry: Buffer): void {
      waiting.push(entry);
      entries += 1;
      if (waiting.length === pageEntries) flush();
    },
    end(): { readonly entries: number; readonly pages: number } {
      if (waiting.length > 0) flush();
      return { entries, pages };
    },
  };
}

/** Makes one run of the two newest as long as the newer is at least as large as the older. Nobody else may be doing the same.
 *  @returns whether two have become one */
export function mergeRuns(db: Database): boolean {
  const [older, newer] = runsOf(db).slice(-2);
  if (older === undefined || newer === undefined || newer.entries < older.entries) return false;
  dropUnlisted(db);
  db.exec('BEGIN IMMEDIATE');
  const run = newRun(db);
  let unwritten = 0;
  const pages = createPages(db, run, () => {
    unwritten += 1;
    if (unwritten % pagesAtOnce === 0) db.exec('COMMIT; BEGIN IMMEDIATE');
  });
  for (const entry of merged(entriesOf(db, older), entriesOf(db, newer))) pages.add(entry);
  const counts = pages.end();
  db.prepare('DELETE FROM head_runs WHERE run IN (?, ?)').run(older.run, newer.run);
  insertRun(db, { run, after: older.after, upTo: newer.upTo, ...counts });
  db.exec('COMMIT');
  dropUnlisted(db);
  return true;
}

/** Drops the pages of runs that are no longer listed, also of a merge that was cut off. */
function dropUnlisted(db: Database): void {
  const listed = new Set(runsOf(db).map(({ run }) => run));
  const next = db.prepare<number | null>('SELECT min(page) FROM head_pages WHERE page >= ?').pluck();
  const drop = db.prepare('DELETE FROM head_pages WHERE page >= ? AND page < ?');
  for (let page = next.get(0); typeof page === 'number'; page = next.get(page)) {
    const run = Math.floor(page / pagesPerRun);
    if (listed.has(run)) page = pageNumber(run + 1, 0);
    else drop.run(page, page + pagesAtOnce);
  }
}

function* entriesOf(db: Database, { run, pages }: Run): Generator<Buffer> {
  const select = db.prepare<{ crc: number; entries: Uint8Array }>('SELECT crc, entries FROM head_pages WHERE page = ?');
  for (let page = 0; page < pages; page++) {
    const number = pageNumber(run, page);
    const row = select.get(number);
    if (row === undefined) throw damaged(`the index of streams is damaged (page ${number})`);
    const bytes = checkPage(number, row);
    for (let at = 0; at < bytes.length; at += entryBytes) yield bytes.subarray(at, at + entryBytes);
  }
}

/** Both in the order of keys; of a key that both have, the newer. */
function* merged(older: Generator<Buffer>, newer: Generator<Buffer>): Generator<Buffer> {
  let [a, b] = [older.next(), newer.next()];
  while (!(a.done && b.done)) {
    const order = a.done ? 1 : b.done ? -1 : a.value.compare(b.value, 0, keyBytes, 0, keyBytes);
    yield (order < 0 ? a.value : b.value) as Buffer;
    const [takesOlder, takesNewer] = [order <= 0, order >= 0];
    if (takesOlder) a = older.next();
    if (takesNewer) b = newer.next();
  }
}
