import { NusecError } from '../../errors.ts';
import { placeOf } from '../../eventstore/verify.ts';
import { fromPem } from '../../pki/pem.ts';
import { judgeLog, ownRoot } from './logVerdict.ts';

/** Adds to an error of a log that cannot be opened which event is the first that does not hold: what only the seal shows has no place.
 *  @param witnesses folders with checkpoints @returns the error to throw */
export function namedDamage(error: unknown, dataDir: string, witnesses: readonly string[]): unknown {
  if (!(error instanceof NusecError && error.code === 'STORE_DAMAGED')) return error;
  try {
    const pem = ownRoot(dataDir);
    const verdict = judgeLog({ dataDir, witnesses, roots: pem === undefined ? [] : fromPem('CERTIFICATE', pem), witnessKeys: [] });
    return verdict.ok
      ? error
      : new NusecError(error.code, `${placeOf(verdict)} is not what was stored: ${error.message}`, { cause: error });
  } catch {
    return error;
  }
}
