import { existsSync } from 'node:fs';
import { NusecError } from '../errors.ts';
import { isDamage } from '../sqliteFile.ts';

/** What SQLite and the file system say, in our words: a stable code, and what to do about it. */

const howToMend = 'stop the server, look with "nusec log verify --data DIR", and put the data folder back from a backup';

/** A damage of the store. @param what is wrong, with the position where there is one */
export const damaged = (what: string, cause?: unknown): NusecError =>
  new NusecError('STORE_DAMAGED', `${what}; ${howToMend}`, cause === undefined ? undefined : { cause });

/** @param doing what did not work, for people @returns the error itself when it has a code of ours */
export function storeError(cause: unknown, doing: string): NusecError {
  if (cause instanceof NusecError) return cause;
  const code = String((cause as { code?: unknown } | null)?.code ?? '');
  // Values that are not of the type of their column, or that no commit leaves, are those of a page that was overwritten; so are tables that do not
  // have our columns.
  if (isDamage(cause) || /^(SQLITE_(ERROR$|MISMATCH|CONSTRAINT)|ERR_INVALID_ARG_TYPE)/.test(code))
    return damaged(`${doing}: the file is damaged (${code})`, cause);
  if (/^(SQLITE_FULL|ENOSPC|EDQUOT)/.test(code))
    return new NusecError('STORE_FULL', `${doing}: the disk is full; nothing was stored`, { cause });
  if (/^(SQLITE_READONLY|EROFS|EACCES|EPERM)/.test(code))
    return new NusecError('STORE_READ_ONLY', `${doing}: the data folder cannot be written (${code})`, { cause });
  return new NusecError('STORE_UNAVAILABLE', `${doing}${code === '' ? '' : ` (${code})`}`, { cause });
}

/** Why a file cannot be read by somebody who only reads it. */
export function unreadable(file: string, cause: unknown): NusecError {
  if (cause instanceof NusecError) return cause;
  const needsWriting = /^SQLITE_(CANTOPEN|READONLY)/.test(String((cause as { code?: unknown } | null)?.code)) && existsSync(file);
  if (!needsWriting) return damaged('the event store cannot be read', cause);
  const hint = 'copy the folder to where it can be written';
  return new NusecError('STORE_READ_ONLY', `an event store is not read where nothing can be written beside it: ${hint}`, { cause });
}

/** The same functions, throwing errors of ours. */
export function translated<Functions extends Record<string, (...args: never[]) => unknown>>(
  functions: Functions,
  doing: string,
): Functions {
  const translate =
    (work: (...args: never[]) => unknown) =>
    (...args: never[]) => {
      const fail = (error: unknown): never => {
        throw storeError(error, doing);
      };
      try {
        const result = work(...args);
        return result instanceof Promise ? result.catch(fail) : result;
      } catch (error) {
        return fail(error);
      }
    };
  return Object.fromEntries(Object.entries(functions).map(([name, work]) => [name, translate(work)])) as Functions;
}
