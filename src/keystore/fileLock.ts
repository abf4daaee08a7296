import Database from 'better-sqlite3';
import { NusecError } from '../errors.ts';

/** Keeps a second process (or a second opening in this one) from writing the same file.
 *
 *  Node has no file locks; SQLite's exclusive lock on an empty database beside the file is one, and the kernel drops it with
 *  the process, however that ends. @throws KEYSTORE_LOCKED when someone else holds it */
export function lockFile(file: string): { release(): void } {
  const database = new Database(`${file}.lock`, { timeout: 0 });
  try {
    // Nothing is ever written: keep the journal off the disk.
    database.pragma('journal_mode = MEMORY');
    database.exec('BEGIN EXCLUSIVE');
  } catch (cause) {
    database.close();
    throw new NusecError('KEYSTORE_LOCKED', `${file} is in use by another process`, { cause });
  }
  return { release: () => database.close() };
}
