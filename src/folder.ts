import { accessSync, constants, mkdirSync, statSync } from 'node:fs';
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

const refused = (folder: string, cause: unknown): NusecError =>
  new NusecError('FOLDER_REFUSED', `the folder ${folder} cannot be used: ${(cause as Error).message}`, { cause });
