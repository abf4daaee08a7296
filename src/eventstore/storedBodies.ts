import type Database from 'better-sqlite3';
import { reading } from '../sqliteFile.ts';
import { unreadable } from './storeError.ts';

/** Reads the events of a few streams out of a store's file that cannot be opened as a store: without its keystore, or because it is damaged. */

export type StoredBody = readonly [
  type: string,
  v: number,
  at: string,
  by: string,
  cause: string | null,
  corr: string | null,
  data: object,
];

/** More than any of the streams that are read so has. */
const maxEvents = 1000;

/** The events of one stream that can be read; nothing is checked. @throws NusecError STORE_DAMAGED when it is not an event store */
export function storedBodies(file: string, stream: string): readonly StoredBody[] {
  return readingStore(file, db => {
    const bodies = db.prepare<string>('SELECT body FROM events WHERE stream = ? ORDER BY position LIMIT ?').pluck().all(stream, maxEvents);
    return bodies.flatMap(bodyOf);
  });
}

/** Rows of one read. */
const pageRows = 10_000;

/** Calls `visit` with position, type and hash of every event up to a position; nothing is checked. @throws NusecError STORE_DAMAGED */
export function visitTypes(file: string, upTo: number, visit: (position: number, type: string, hash: string) => void): void {
  readingStore(file, db => {
    const page = db
      .prepare<[number, string, string]>(
        `SELECT position, body ->> 0, hash FROM events WHERE position > ? AND position <= ? ORDER BY position LIMIT ${pageRows}`,
      )
      .raw();
    for (let rows = page.all(0, upTo); rows.length > 0; rows = page.all(rows.at(-1)?.[0] ?? upTo, upTo))
      for (const row of rows) visit(...row);
  });
}

function readingStore<Result>(file: string, read: (db: Database) => Result): Result {
  try {
    return reading(file, read);
  } catch (error) {
    throw unreadable(file, error);
  }
}

function bodyOf(text: string): readonly StoredBody[] {
  try {
    const body: unknown = JSON.parse(text);
    return Array.isArray(body) && body.length === 7 && typeof body[6] === 'object' && body[6] !== null
      ? [body as unknown as StoredBody]
      : [];
  } catch {
    return [];
  }
}
