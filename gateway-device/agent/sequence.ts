import { closeSync, existsSync, fsyncSync, openSync, readFileSync, renameSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { NusecError } from '../../src/errors.ts';

/** The sequence of a gateway's verdicts: a counter in its data folder, so that it rises whatever the clock does. */

const fileName = 'sequence';
/** Numbers that are reserved in the file in one write. After a crash the unused ones are skipped; none is used twice. */
const reservedNumbers = 1000;

/** @param firstNumber for a folder without a counter; a gateway that numbered its verdicts by the clock continues above that
 *  @returns a function that gives the next number; the number is reserved on the disk before it is given out
 *  @throws NusecError STORE_DAMAGED when the file holds no number */
export function openSequence(dataDir: string, firstNumber: number): () => number {
  const file = join(dataDir, fileName);
  let next = existsSync(file) ? numberIn(file) : firstNumber;
  let reserved = next;
  return () => {
    if (next === reserved) {
      reserved = next + reservedNumbers;
      replaceDurably(dataDir, file, `${reserved}\n`);
    }
    next += 1;
    return next;
  };
}

function numberIn(file: string): number {
  const text = readFileSync(file, 'utf8').trim();
  const number = Number(text);
  if (/^[0-9]{1,15}$/.test(text) && Number.isSafeInteger(number)) return number;
  throw new NusecError('STORE_DAMAGED', `${file} holds no number: the gateway needs a new key, which begins a new sequence`);
}

function replaceDurably(folder: string, file: string, text: string): void {
  const fd = openSync(`${file}.new`, 'w', 0o600);
  try {
    writeSync(fd, text);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
  renameSync(`${file}.new`, file);
  const folderFd = openSync(folder, 'r');
  try {
    fsyncSync(folderFd);
  } finally {
    closeSync(folderFd);
  }
}
