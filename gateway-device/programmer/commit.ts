import { fromHex } from '../../src/bytes.ts';
import { sha256 } from '../../src/digest.ts';
import type { ProgrammerIdentity } from './identity.ts';
import { appendRecord } from './ledgerBook.ts';
import { type JobState, jobOf, type NvmState, remainingUnits, withJob, withoutUnit, withUnit } from './nvm.ts';
import { recordsUpTo, storeAcknowledged } from './packageImport.ts';
import type { ServerApi } from './serverApi.ts';
import { fact, factBytes, grantIdOf, jobOfUnit, journalOf, type UnitRef } from './unit.ts';

/** Step 16 needs nothing of the target, so it does not wait for it. The receipt is the one of the journal and the ledger record is written once:
 *  every retry is the same request. */
export async function commitUnit(
  unit: UnitRef,
  identity: ProgrammerIdentity,
  server: ServerApi,
  andState: (state: NvmState) => NvmState = state => state,
): Promise<void> {
  await recordCommit(unit, identity);
  const { core, uidHex } = unit;
  const { jobId, endNumber = jobOfUnit(unit).ledger.nextNumber - 1 } = journalOf(unit);
  const records = recordsUpTo(core, jobId, endNumber);
  await server.commit(grantIdOf(unit), fact(unit, 'receipt'), records);
  const count = (job: JobState): JobState => ({ ...job, committed: job.committed + 1, open: job.open - 1 });
  storeAcknowledged(core, jobId, records, count, state => andState(withoutUnit(state, uidHex)));
}

async function recordCommit(unit: UnitRef, identity: ProgrammerIdentity): Promise<void> {
  const { core } = unit;
  const journal = journalOf(unit);
  if (journal.facts.committing) return;
  const job = jobOfUnit(unit);
  const entry = {
    type: 'commit',
    jobId: fromHex(job.jobId),
    packageId: fromHex(job.packageId),
    remaining: remainingUnits(job),
    uid: fromHex(journal.uid),
    objId: fromHex(fact(unit, 'objId')),
    grantId: fromHex(grantIdOf(unit)),
    receiptSha256: sha256(factBytes(unit, 'receipt')),
  } as const;
  const ledger = await appendRecord(job.ledger, entry, identity.signer, core.uptimeSeconds());
  const committing = { ...journal, facts: { ...journal.facts, committing: true as const }, endNumber: ledger.nextNumber - 1 };
  core.nvm.update(state => withUnit(withJob(state, { ...jobOf(state, job.jobId), ledger }), committing));
}
