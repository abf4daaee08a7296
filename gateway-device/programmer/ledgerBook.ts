import { appendFileSync, existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fromBase64url, fromHex, toBase64url, toHex } from '../../src/bytes.ts';
import { emptyLedger, type LedgerRecord, ledgerHeadOf, signLedgerRecord } from '../../src/production/ledger.ts';
import type { Signer } from '../../src/production/signed.ts';
import type { Seconds } from '../../src/times.ts';
import type { JobState, LedgerState } from './nvm.ts';

/** The ledger of a job on this programmer: every step that counts, numbered, hash-linked and signed (I14, T19). A record is signed first and
 *  then stored in one write with the state that it describes, so ledger and counts cannot disagree after a power cut. */

export const newLedger: LedgerState = { nextNumber: emptyLedger.nextNumber, headSha256: toHex(emptyLedger.headSha256), pending: [] };

/** What a record says besides its place in the chain; ids as bytes. */
export type LedgerEntry = Pick<LedgerRecord, 'type'> & Partial<Omit<LedgerRecord, 'number' | 'previousSha256' | 'uptimeSeconds' | 'type'>>;

/** @param uptimeSeconds programmers have no trusted clock @returns the ledger with one more record, not yet stored */
export async function appendRecord(ledger: LedgerState, entry: LedgerEntry, signer: Signer, uptimeSeconds: Seconds): Promise<LedgerState> {
  const place = { number: ledger.nextNumber, previousSha256: fromHex(ledger.headSha256), uptimeSeconds };
  const signed = await signLedgerRecord({ ...entry, ...place }, signer);
  return {
    nextNumber: ledger.nextNumber + 1,
    headSha256: toHex(ledgerHeadOf(signed)),
    pending: [...ledger.pending, toBase64url(signed)],
  };
}

/** The job after the server accepted `sent`: these records are not sent again. */
export function acknowledged(job: JobState, sent: readonly string[]): JobState {
  const taken = new Set(sent);
  return { ...job, ledger: { ...job.ledger, pending: job.ledger.pending.filter(record => !taken.has(record)) } };
}

/** Where records go that the server has: the traceability log of every unit (R82, RULE-20), one signed record per line. */
export type LedgerArchive = {
  readonly add: (jobId: string, records: readonly string[]) => void;
  /** Every acknowledged record of the job, oldest first. */
  readonly read: (jobId: string) => readonly Uint8Array[];
};

export function openLedgerArchive(folder: string): LedgerArchive {
  const fileOf = (jobId: string): string => join(folder, `ledger-${jobId}.log`);
  return {
    add: (jobId, records) => {
      if (records.length > 0) appendFileSync(fileOf(jobId), `${records.join('\n')}\n`, { mode: 0o600, flush: true });
    },
    // A cut between archive and memory writes a record twice.
    read: jobId => {
      const lines = existsSync(fileOf(jobId)) ? readFileSync(fileOf(jobId), 'utf8').split('\n') : [];
      return [...new Set(lines.filter(line => line.length > 0))].map(fromBase64url);
    },
  };
}
