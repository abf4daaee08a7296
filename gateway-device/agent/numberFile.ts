import { existsSync, readFileSync } from 'node:fs';
import { utf8 } from '../../src/bytes.ts';
import { NusecError } from '../../src/errors.ts';
import { replaceFile } from '../link/replaceFile.ts';

/** A number in a file of its own, on the disk before anything follows from it. */

/** @returns undefined where there is no file @throws NusecError STORE_DAMAGED with the remedy when it holds no number */
export function numberIn(file: string, remedy: string): number | undefined {
  if (!existsSync(file)) return undefined;
  const text = readFileSync(file, 'utf8').trim();
  const number = Number(text);
  if (/^[0-9]{1,15}$/.test(text) && Number.isSafeInteger(number)) return number;
  throw new NusecError('STORE_DAMAGED', `${file} holds no number: ${remedy}`);
}

export const keepNumber = (file: string, number: number): void => replaceFile(file, utf8(`${number}\n`));
