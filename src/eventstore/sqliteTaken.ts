import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import type Database from 'better-sqlite3';
import { reading, removeDatabase } from '../sqliteFile.ts';
import type { Storage, Taken } from './storage.ts';

/** Which commit of a log elsewhere a store's file follows: one row, in a file that is a copy only. */

const none: Taken = { revision: -1, id: '' };

/** Whether the file is a copy of a log elsewhere. */
export const isCopy = (db: Database): boolean =>
  db.prepare("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'taken'").get() !== undefined;

/** Removes a copy, which is made again from the log. A store of its own stays. */
export function removeCopy(file: string): void {
  if (!existsSync(file) || !reading(file, isCopy)) return;
  removeDatabase(file);
}

/** Makes a store's file a copy, from the next commit of the log on. */
export function makeCopy(db: Database, { revision, id }: Taken = none): void {
  db.exec('CREATE TABLE taken (revision INTEGER NOT NULL, id TEXT NOT NULL) STRICT');
  db.prepare('INSERT INTO taken VALUES (?, ?)').run(revision, id);
}

/** Of the move that makes this copy a store of its own; the same when it is begun again. */
export function movingId(db: Database): string {
  db.exec('CREATE TABLE IF NOT EXISTS moving (id TEXT NOT NULL) STRICT');
  const known = db.prepare<string>('SELECT id FROM moving').pluck();
  if (known.get() === undefined) db.prepare('INSERT INTO moving VALUES (?)').run(randomUUID());
  return known.get() as string;
}

/** Makes a copy a store of its own. */
export const makeOwn = (db: Database): void => void db.exec('DROP TABLE taken; DROP TABLE IF EXISTS moving');

export function takenRow(db: Database): Pick<Storage, 'taken' | 'setTaken'> {
  if (!isCopy(db)) return { taken: () => none, setTaken() {} };
  const read = db.prepare<Taken>('SELECT revision, id FROM taken');
  const write = db.prepare('UPDATE taken SET revision = ?, id = ?');
  return {
    taken: () => read.get() ?? none,
    setTaken: ({ revision, id }) => void write.run(revision, id),
  };
}
