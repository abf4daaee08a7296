import { hash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { opendir } from 'node:fs/promises';
import { basename, join } from 'node:path';
import Database from 'better-sqlite3';
import { toHex } from '../../bytes.ts';
import { foreignProgram } from '../../eventstore/sqliteSchema.ts';
import { damagedKeys } from '../../keystore/custody.ts';

/** Finds what is damaged in a data folder beside the events: every blob against its name, every boot key against its checksum, the databases. For the
 *  scrub, for backups, and for people who verify a folder. Where undefined comes, one may pause. */

/** @property place what is damaged: `blob 3fa…`, `custody.db`, a key in it */
export type Damage = { readonly place: string; readonly detail: string };

export type FolderParts = {
  /** File of the event store. */
  readonly store: string;
  /** Folder of the blobs that are files. */
  readonly blobs: string;
  /** Other SQLite files: custody, people, attestations, read models. Those that are missing are left out. */
  readonly databases: readonly string[];
};
/** How SQLite looks at a file: the quick way does not compare indices with rows. */
type Check = 'quick_check' | 'integrity_check';

const rowsAtOnce = 200;
const notWhatWasStored = 'is not what was stored';

/** In the file of an event store beside the events. One of the first format has nothing there. */
function* damagedRows(db: Database): Generator<Damage | undefined> {
  if (db.prepare("SELECT 1 FROM sqlite_schema WHERE name = 'blobs'").get() === undefined) return;
  if (db.prepare('SELECT 1 FROM store').get() === undefined)
    yield { place: basename(db.name), detail: 'the row that names the store and who leads is missing' };
  const program = foreignProgram(db);
  if (program !== undefined) yield { place: basename(db.name), detail: `has ${program}, which nobody of this project has put there` };
  const rows = db.prepare<{ rowid: number; sha256: Uint8Array; bytes: Uint8Array }>(
    'SELECT rowid, sha256, bytes FROM blobs NOT INDEXED WHERE rowid > ? ORDER BY rowid LIMIT ?',
  );
  // By the index over the names, which the row need not agree with.
  const find = db.prepare<number>('SELECT rowid FROM blobs WHERE sha256 = ?').pluck();
  for (let after = 0, page = rows.all(after, rowsAtOnce); page.length > 0; page = rows.all(after, rowsAtOnce)) {
    for (const { rowid, sha256, bytes } of page) {
      const name = hash('sha256', bytes);
      if (toHex(sha256) !== name) yield { place: `blob ${toHex(sha256)}`, detail: notWhatWasStored };
      else if (find.get(sha256) !== rowid) yield { place: `blob ${name}`, detail: 'is not found by its name' };
      after = rowid;
    }
    yield undefined;
  }
}

async function* damagedBlobFiles(folder: string): AsyncGenerator<Damage | undefined> {
  if (!existsSync(folder)) return;
  for await (const entry of await opendir(folder, { recursive: true })) {
    const name = basename(entry.parentPath) + entry.name;
    if (!entry.isFile() || !/^[0-9a-f]{64}$/.test(name)) continue;
    const bytes = contentOf(join(entry.parentPath, entry.name));
    if (bytes !== undefined && hash('sha256', bytes) !== name) yield { place: `blob ${name}`, detail: notWhatWasStored };
    yield undefined;
  }
}

/** It may have been deleted since. */
function contentOf(file: string): Uint8Array | undefined {
  try {
    return readFileSync(file);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/** Of a database beside the log, and of each boot key in it. */
function* damagedParts(db: Database, check: Check): Generator<Damage | undefined> {
  const name = basename(db.name);
  const answer = db.pragma(`${check}(1)`, { simple: true });
  if (answer !== 'ok') return yield { place: name, detail: String(answer) };
  yield undefined;
  for (const keyId of damagedKeys(db)) yield keyId === undefined ? undefined : { place: `${name}, key ${keyId}`, detail: notWhatWasStored };
}

/** Work on one file; what makes it unreadable is a damage too. A file that is missing has none. */
export function* damagesIn(file: string, work: (db: Database) => Iterable<Damage | undefined>): Generator<Damage | undefined> {
  if (!existsSync(file)) return;
  let db: Database | undefined;
  try {
    db = new Database(file, { readonly: true, fileMustExist: true });
    yield* work(db);
  } catch (error) {
    yield { place: basename(file), detail: (error as Error).message };
  } finally {
    db?.close();
  }
}

/** Everything beside the events. */
export async function* damagesBeside({ store, blobs, databases }: FolderParts, check: Check): AsyncGenerator<Damage | undefined> {
  yield* damagesIn(store, damagedRows);
  yield* damagedBlobFiles(blobs);
  for (const file of databases) yield* damagesIn(file, db => damagedParts(db, check));
}
