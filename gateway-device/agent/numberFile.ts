import { closeSync, existsSync, fsyncSync, openSync, readFileSync, renameSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { NusecError } from '../../src/errors.ts';

/** A number in a file of its own, on the disk before anything follows from it. */

/** @returns undefined where there is no file @throws NusecError STORE_DAMAGED with the remedy when it holds no number */
export function numberIn(file: string, remedy: string): number | undefined {
  if (!existsSync(file)) return undefined;
  const text = readFileSync(file, 'utf8').trim();
  const number = Number(text);
  if (/^[0-9]{1,15}$/.test(text) && Number.isSafeInteger(number)) return number;
  throw new NusecError('STORE_DAMAGED', `${file} holds no number: ${remedy}`);
}

export function keepNumber(file: string, number: number): void {
  const fd = openSync(`${file}.new`, 'w', 0o600);
  try {
    writeSync(fd, `${number}\n`);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
  renameSync(`${file}.new`, file);
  const folderFd = openSync(dirname(file), 'r');
  try {
    fsyncSync(folderFd);
  } finally {
    closeSync(folderFd);
  }
}
