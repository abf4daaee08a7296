import { accessSync, chmodSync, constants, mkdirSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { isMainThread } from 'node:worker_threads';
import { NusecError } from './errors.ts';

/** Folders of one process: the data folder of a server, the memory of a chip. Only their owner enters them. */

const folderMode = 0o700;

/** Makes the folder when it is missing, with those above it. @throws NusecError FOLDER_REFUSED (not a folder, or not to be written) */
export function makeFolder(folder: string): void {
  try {
    mkdirSync(folder, { recursive: true, mode: folderMode });
  } catch (cause) {
    throw refused(folder, cause);
  }
  requireFolder(folder);
}

/** @param remedy what a person does about a missing folder
 *  @throws NusecError FOLDER_MISSING, FOLDER_REFUSED (not a folder, or not to be written) */
export function requireFolder(folder: string, remedy = 'make it, or name another'): void {
  try {
    if (!statSync(folder).isDirectory()) throw new Error('it is no folder');
    accessSync(folder, constants.R_OK | constants.W_OK | constants.X_OK);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'ENOENT') throw refused(folder, cause);
    throw new NusecError('FOLDER_MISSING', `there is no folder ${folder}: ${remedy}`, { cause });
  }
}

const othersMask = 0o077;
const fileMode = 0o600;
/** Databases, what SQLite keeps beside them, locks and marks. Key files are not mended but refused (keystore/secretFile.ts). */
const isOurs = (name: string): boolean => /\.(db|db-wal|db-shm|db-journal|db-head|checkpoint|lock|lock-journal|mark|beat)$/.test(name);

/** Takes from others what they may do with a folder that was there before, and with what is in it; what this process makes from here on is its
 *  owner's alone. Who cannot enter the folder can neither read its databases nor hold its locks.
 *  @throws NusecError FOLDER_REFUSED when others can enter it and it is not ours to change */
export function narrowFolder(folder: string): void {
  if (isMainThread) process.umask(othersMask);
  try {
    if (isOpen(folder)) chmodSync(folder, folderMode);
    for (const entry of readdirSync(folder, { withFileTypes: true })) {
      const path = join(folder, entry.name);
      if (entry.isDirectory() && isOpen(path)) chmodSync(path, folderMode);
      if (entry.isFile() && isOurs(entry.name) && isOpen(path)) chmodSync(path, fileMode);
    }
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'EPERM')
      throw new NusecError('FOLDER_REFUSED', `others can enter ${folder}, and it belongs to somebody else: chmod 700`, { cause });
    // Something was taken away while we looked: it is nobody's any more.
    if ((cause as NodeJS.ErrnoException).code !== 'ENOENT') throw refused(folder, cause);
  }
}

const isOpen = (path: string): boolean => (statSync(path).mode & othersMask) !== 0;

const refused = (folder: string, cause: unknown): NusecError =>
  new NusecError('FOLDER_REFUSED', `the folder ${folder} cannot be used: ${(cause as Error).message}`, { cause });
