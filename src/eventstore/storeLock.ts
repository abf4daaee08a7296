import Database from 'better-sqlite3';
import { NusecError } from '../errors.ts';

/** Takes the exclusive lock of a store: an open SQLite transaction on `<file>.lock`, so the operating system frees it with the process.
 *  The store's own file stays open to readers (verification, backup).
 *  @returns the lock, held until it is closed
 *  @throws NusecError STORE_LOCKED when another process, or this one, has the store open */
export function lockStore(file: string): Database {
  const lock = new Database(`${file}.lock`, { timeout: 0 });
  try {
    lock.exec('BEGIN EXCLUSIVE');
    return lock;
  } catch (error) {
    lock.close();
    if ((error as { code?: string }).code !== 'SQLITE_BUSY') throw error;
    throw new NusecError('STORE_LOCKED', `the event store ${file} is open in another process`, { cause: error });
  }
}
