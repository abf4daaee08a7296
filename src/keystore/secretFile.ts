import { closeSync, constants, fchownSync, fstatSync, fsyncSync, openSync, readFileSync, type Stats, statSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { NusecError } from '../errors.ts';

/** Files that hold a secret: key files, passphrase files, the sealed keyset. Only their owner may read or write them. */

const othersMask = 0o077;
export const secretFileMode = 0o600;

/** Reads a secret file; the rights are those of the opened file, not of a name that may be swapped in between.
 *  @returns the bytes, or undefined when there is no such file
 *  @throws KEYSTORE_PERMISSIONS when group or world may read or write it, when it is no regular file, or longer than `maxBytes` */
export function readSecretFile(file: string, maxBytes: number): Uint8Array | undefined {
  const fd = openIfThere(file);
  if (fd === undefined) return undefined;
  try {
    const { size } = checkOwnerOnly(file, fstatSync(fd));
    if (size > maxBytes) throw new NusecError('KEYSTORE_PERMISSIONS', `${file} is longer than ${maxBytes} bytes`);
    return readFileSync(fd);
  } finally {
    closeSync(fd);
  }
}

/** @throws KEYSTORE_PERMISSIONS when group or world may read or write it, or when it is no regular file */
export function checkOwnerOnly(file: string, stat: Stats = statSync(file)): Stats {
  if (!stat.isFile()) throw new NusecError('KEYSTORE_PERMISSIONS', `${file} is not a regular file`);
  if ((stat.mode & othersMask) !== 0) throw new NusecError('KEYSTORE_PERMISSIONS', `${file} must have mode 600`);
  return stat;
}

/** Root works for the user whose folder it is, whose server could not read what is root's alone. @returns undefined when the file is right as it comes */
export function ownerThere(file: string): { readonly uid: number; readonly gid: number } | undefined {
  if (process.getuid?.() !== 0) return undefined;
  const { uid, gid } = statSync(dirname(file));
  return uid === 0 ? undefined : { uid, gid };
}

/** Writes a new secret file of mode 600, durably, for the user whose folder it is. @throws KEY_EXISTS when the file is there already */
export function createSecretFile(file: string, secret: Uint8Array): void {
  const fd = openNew(file);
  try {
    const owner = ownerThere(file);
    if (owner !== undefined) fchownSync(fd, owner.uid, owner.gid);
    writeSync(fd, secret);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

function openNew(file: string): number {
  try {
    return openSync(file, 'wx', secretFileMode);
  } catch (error) {
    if (hasCode(error, 'EEXIST')) throw new NusecError('KEY_EXISTS', `${file} exists: name a file that is not there yet`);
    throw error;
  }
}

/** Non-blocking, so that a pipe put in the file's place cannot hold up the start without end. */
function openIfThere(file: string): number | undefined {
  try {
    return openSync(file, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return undefined;
    throw error;
  }
}

/** Shows whether a file was replaced since. */
export function fileVersion(file: string): string {
  const stat = statSync(file, { throwIfNoEntry: false });
  return `${stat?.ino} ${stat?.mtimeMs} ${stat?.size}`;
}

const hasCode = (error: unknown, code: string): boolean => error instanceof Error && 'code' in error && error.code === code;
