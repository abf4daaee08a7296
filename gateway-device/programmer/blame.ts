import { type ErrorCode, isUnreachable, NusecError } from '../../src/errors.ts';
import { ServerRefusal } from '../link/httpClient.ts';

/** Whose fault an error is. The chip's are counted and end the unit; the server's, the job's and the programmer's own are waited for, because no
 *  chip is to blame for them. */

/** Something the server gave that cannot be used: wrong, or not for this unit. */
export class UnusableAnswer extends NusecError {}

/** Judges something the server gave. @throws UnusableAnswer with the code of what is wrong; what the server refused, as it is */
export async function fromServer<T>(judge: () => Promise<T>): Promise<T> {
  try {
    return await judge();
  } catch (error) {
    if (!(error instanceof NusecError) || error instanceof ServerRefusal || error.code === 'SERVER_UNREACHABLE') throw error;
    throw new UnusableAnswer(error.code, error.message, { cause: error });
  }
}

/** Refusals that say something about the chip, its key, its certificate or what it has signed. */
const aboutTheUnit: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'ATTESTATION_FAILED',
  'CBOR_MALFORMED',
  'CHAIN_REFUSED',
  'CONFLICT',
  'COSE_MALFORMED',
  'COSE_SIGNATURE',
  'CSR_ALGORITHM',
  'CSR_MALFORMED',
  'CSR_SIGNATURE',
  'CSR_SUBJECT',
  'CSR_TOO_LARGE',
  'DEVICE_STATE',
  'KEY_REFUSED',
  'RECEIPT_REFUSED',
  'SPDM_MALFORMED',
  'SPDM_SIGNATURE',
  'SPDM_UNEXPECTED',
  'SPDM_UNSUPPORTED',
  'UID_CONFLICT',
  'UID_NOT_LISTED',
  'WEAK_OR_CLONED_KEY',
]);

const tooMany = 429;

/** No answer, or one that says that the server is in trouble: every 5xx, and too many requests. */
export const isServerAway = (error: unknown): boolean =>
  isUnreachable(error) ||
  (error instanceof ServerRefusal && (error.status >= 500 || error.status === tooMany || error.code === 'REVISION_CONFLICT'));

/** The server's trouble, or a refusal that is not about the unit: the job is suspended, a release withdrawn, the programmer on hold. */
export const isNotOfUnit = (error: unknown): boolean =>
  isServerAway(error) || error instanceof UnusableAnswer || (error instanceof ServerRefusal && !aboutTheUnit.has(error.code));
