import { closeSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import Database from 'better-sqlite3';
import { NusecError } from './errors.ts';
import { makeFolder } from './folder.ts';

/** Who may work with a file that several server processes share.
 *
 *  Node has no file locks; those of SQLite on an empty database beside the file are some, and the kernel drops them with the process,
 *  however that ends. Sharing is a read lock, changing a reserved lock beside it, being alone an exclusive one. */
export type FileLock = {
  /** Runs `work` while nobody else changes the file; one after the other. @throws KEYSTORE_LOCKED when another process does not finish */
  change<Result>(work: () => Promise<Result>): Promise<Result>;
  release(): void;
};

const changeWaitMs = 10_000;
const changePollMs = 5;

/** @param how `shared`: beside other processes that share it · `alone`: nobody else has it open
 *  @throws KEYSTORE_LOCKED when that cannot be: somebody is alone with it, or shares it */
export function lockFile(file: string, how: 'shared' | 'alone'): FileLock {
  const held = holding(file, how === 'alone' ? 'BEGIN EXCLUSIVE' : 'BEGIN; SELECT count(*) FROM sqlite_master');
  if (held === undefined) throw new NusecError('KEYSTORE_LOCKED', `${file} is in use by another process`);
  let last: Promise<unknown> = Promise.resolve();
  const alone = async <Result>(work: () => Promise<Result>): Promise<Result> => {
    const reserved = how === 'alone' ? undefined : await reserve(file);
    try {
      return await work();
    } finally {
      reserved?.close();
    }
  };
  return {
    change(work) {
      const turn = last.then(() => alone(work));
      last = turn.catch(() => undefined);
      return turn;
    },
    release: () => void held.close(),
  };
}

/** @returns undefined when somebody else holds or shares the file */
export function holdAlone(file: string): Pick<FileLock, 'release'> | undefined {
  const held = holding(file, 'BEGIN EXCLUSIVE');
  return held && { release: () => void held.close() };
}

/** Holds the folder of a machine for this process alone, until `close`: two processes on one memory would count, number and sign past each other.
 *  The folder is created when it is missing. @throws NusecError FOLDER_IN_USE, FOLDER_REFUSED */
export function holdFolder(folder: string): { close(): void } {
  makeFolder(folder);
  const held = holdAlone(join(folder, 'process'));
  if (held === undefined)
    throw new NusecError('FOLDER_IN_USE', `another process works in the folder ${folder}: end it first, or name another folder (--data)`);
  return { close: held.release };
}

async function reserve(file: string): Promise<Database> {
  for (const deadline = performance.now() + changeWaitMs; performance.now() < deadline; await sleep(changePollMs)) {
    const reserved = holding(file, 'BEGIN IMMEDIATE');
    if (reserved) return reserved;
  }
  throw new NusecError('KEYSTORE_LOCKED', `${file} is being changed by another process`);
}

/** @returns the connection that holds the lock until it is closed; undefined when somebody else is in the way */
function holding(file: string, begin: string): Database | undefined {
  // Made here, so that nobody else can open it and hold the lock.
  closeSync(openSync(`${file}.lock`, 'a', 0o600));
  const database = new Database(`${file}.lock`, { timeout: 0 });
  try {
    // Nothing is ever written: keep the journal off the disk.
    database.pragma('journal_mode = MEMORY');
    database.exec(begin);
    return database;
  } catch (error) {
    database.close();
    if ((error as { code?: string }).code === 'SQLITE_BUSY') return undefined;
    throw error;
  }
}
