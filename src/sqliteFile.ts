import { chmodSync, close, fdatasync, fstatSync, openSync, rmSync } from 'node:fs';
import { promisify } from 'node:util';
import Database from 'better-sqlite3';
import { NusecError } from './errors.ts';

/** What every room that keeps a SQLite file does with it. */

/** What LIMIT takes as a parameter: a bare one is looked at when the statement is planned, so SQLite plans it again each time it is bound. */
export const boundLimit = 'LIMIT (? + 0)';

/** Does all of the work or nothing of it. The write lock is taken at the beginning; it must not be taken already.
 *  @throws what the work throws, and SqliteError (SQLITE_BUSY, SQLITE_FULL, …) */
export function transaction<Result>(db: Database, work: () => Result): Result {
  db.exec('BEGIN IMMEDIATE');
  try {
    const result = work();
    db.exec('COMMIT');
    return result;
  } catch (error) {
    if (db.inTransaction) db.exec('ROLLBACK');
    throw error;
  }
}

/** Reads the file as it is at one moment, and waits for nobody who writes. @throws what `read` throws, and SqliteError */
export function snapshot<Result>(db: Database, read: () => Result): Result {
  db.exec('BEGIN');
  try {
    return read();
  } finally {
    db.exec('COMMIT');
  }
}

/** While a file is opened: another process may be doing the same. */
export const openBusyMs = 5000;
const openPauseMs = 5;
const nobody = new Int32Array(new SharedArrayBuffer(4));

export const isBusy = (error: unknown): boolean => String((error as { code?: unknown } | null)?.code).startsWith('SQLITE_BUSY');

/** Has a file keep its changes in a write-ahead log. Of several processes that make the same file at once, SQLite tells all but one that it is busy, whatever
 *  the time limit of the connection: they try again. @throws SqliteError */
export function useWal(db: Database): void {
  for (const untilMs = performance.now() + openBusyMs; ; Atomics.wait(nobody, 0, 0, openPauseMs)) {
    try {
      db.pragma('journal_mode = WAL');
      return;
    } catch (error) {
      if (!isBusy(error) || performance.now() > untilMs) throw error;
    }
  }
}

type SharedFile = {
  /** SQL that makes what is not there yet. */
  readonly tables: string;
  /** `FULL`: what was written is there after a power cut. */
  readonly synchronous: 'FULL' | 'OFF';
  /** Nothing of what was deleted stays in the file. */
  readonly secureDelete?: boolean;
  readonly remedy: string;
};

/** Opens a small file that the server processes of a machine share, mode 600, and makes it where it is not there.
 *  @throws NusecError STORE_DAMAGED with the remedy */
export function openShared(file: string, { tables, synchronous, secureDelete = false, remedy }: SharedFile): Database {
  return naming(file, remedy, () => {
    const db = new Database(file, { timeout: openBusyMs });
    chmodSync(file, 0o600);
    useWal(db);
    db.pragma(`synchronous = ${synchronous}`);
    if (secureDelete) db.pragma('secure_delete = ON');
    transaction(db, () => db.exec(tables));
    return db;
  });
}

/** Opens a file that is there, reads, and closes it. @throws what `read` throws, and SqliteError */
export function reading<Result>(file: string, read: (db: Database) => Result): Result {
  const db = new Database(file, { readonly: true, fileMustExist: true });
  try {
    return read(db);
  } finally {
    db.close();
  }
}

const fdatasyncLater = promisify(fdatasync);
const closeLater = promisify(close);

/** Whether SQLite says that a file is not what was written: no database, overwritten, or too short. */
export const isDamage = (error: unknown): boolean =>
  /^SQLITE_(CORRUPT|NOTADB|FORMAT|IOERR_SHORT_READ)/.test(String((error as { code?: unknown } | null)?.code));

/** Works on a file of the data folder beside the log, and names it when it is damaged, or is not to be opened or written. @param remedy of a damage
 *  @throws NusecError STORE_DAMAGED, STORE_READ_ONLY, STORE_UNAVAILABLE, and what `work` throws */
export function naming<Result>(file: string, remedy: string, work: () => Result): Result {
  try {
    return work();
  } catch (error) {
    throw named(file, remedy, error);
  }
}

/** What SQLite says of a file, in our words; another error is returned as it is. */
export function named(file: string, remedy: string, cause: unknown): unknown {
  if (isDamage(cause)) return new NusecError('STORE_DAMAGED', `${file} is damaged: ${remedy}`, { cause });
  const code = String((cause as { code?: unknown } | null)?.code);
  if (code.startsWith('SQLITE_READONLY'))
    return new NusecError('STORE_READ_ONLY', `${file} cannot be written (${code}): whose is it, and may they write it?`, { cause });
  if (code.startsWith('SQLITE_CANTOPEN'))
    return new NusecError('STORE_UNAVAILABLE', `${file} cannot be opened (${code}): is it a file, and whose is it?`, { cause });
  return cause;
}

/** Removes a file that is not open, with its log. */
export function removeDatabase(file: string): void {
  for (const ending of ['', '-wal', '-shm']) rmSync(`${file}${ending}`, { force: true });
}

/** The write-ahead log of a file that is open in WAL mode, to be synchronised outside of the event loop. */
export function openLog(file: string) {
  // SQLite's locks are on other files: closing this one drops none.
  const log = openSync(`${file}-wal`, 'r+');
  let closing: Promise<void> | undefined;
  return {
    /** Resolves when everything committed before the call is on the disk. @throws as fdatasync, and when the log was removed: what was not
     *  confirmed may be lost, also after another try */
    async sync(): Promise<void> {
      await fdatasyncLater(log);
      if (fstatSync(log).nlink === 0) throw new Error(`${file}-wal was removed while it was in use`);
    },
    close(): Promise<void> {
      closing ??= closeLater(log);
      return closing;
    },
  };
}
