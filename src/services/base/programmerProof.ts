import { programmerStream } from '../../domain/programmer.ts';
import { type ErrorCode, NusecError } from '../../errors.ts';
import type { Alarms } from './alarms.ts';

/** What a programmer brings as the word of a device. An honest one verifies it before it brings it, so one that does not hold says something about
 *  the programmer, or about the software in it (T9, T11, T29). */

/** Of what was signed by nobody, by somebody else, or about something else. Refusals for other reasons, such as the state of a job, accuse nobody. */
const falseProofs: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'CBOR_MALFORMED',
  'CHAIN_REFUSED',
  'CONFLICT',
  'COSE_MALFORMED',
  'COSE_SIGNATURE',
  'CSR_MALFORMED',
  'CSR_SIGNATURE',
  'CSR_SUBJECT',
  'EVIDENCE_MALFORMED',
  'GRANT_REFUSED',
  'LEDGER_SIGNATURE',
  'PACKAGE_REFUSED',
  'RECEIPT_REFUSED',
  'SPDM_MALFORMED',
  'SPDM_SIGNATURE',
  'SPDM_UNEXPECTED',
]);

/** Verifies what a programmer brought; when it does not hold, an alarm names the programmer.
 *  @param programmer UID, hex  @param about what it is of: a device or a job  @throws what `verify` throws */
export async function watchProof<Result>(
  alarms: Alarms,
  programmer: string,
  about: string,
  verify: () => Promise<Result>,
): Promise<Result> {
  try {
    return await verify();
  } catch (error) {
    if (error instanceof NusecError && falseProofs.has(error.code)) await raiseFalseProof(alarms, programmer, about, error);
    throw error;
  }
}

/** @param error why the proof does not hold */
export const raiseFalseProof = (
  alarms: Alarms,
  programmer: string,
  about: string,
  { code, message }: { readonly code: string; readonly message: string },
): Promise<void> =>
  alarms.raise({ code: 'PROGRAMMER_EVIDENCE', subject: programmerStream(programmer), detail: `${about}: ${code}: ${message}` });
