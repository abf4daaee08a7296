import { fromHex } from '../../src/bytes.ts';
import { NusecError } from '../../src/errors.ts';
import type { Core } from './core.ts';
import type { ProgrammerIdentity } from './identity.ts';
import { appendRecord } from './ledgerBook.ts';
import { type JobState, jobOf, remainingUnits, type UnitState, withJob, withoutUnit } from './nvm.ts';
import { storeAcknowledged } from './packageImport.ts';
import type { ServerApi } from './serverApi.ts';

/** Giving a unit up: the void record, the count and the intent are stored in one piece; then the server is told, now or later. */

/** First step that leaves a mark for ever; its intent counts, because without proof nobody knows (docs/production.md). */
const firstIrreversibleStep = 9;
const maxReasonChars = 128;

const isScrap = (unit: UnitState): boolean => unit.begun >= firstIrreversibleStep;

/** The count comes back unless OTP was touched; then the unit is scrap and takes one of the allowance. */
export async function voidUnit(core: Core, identity: ProgrammerIdentity, packageId: Uint8Array, reason: string): Promise<void> {
  const { unit } = core.nvm.state();
  if (!unit || unit.voiding) return;
  const otpTouched = isScrap(unit);
  const before = jobOf(core.nvm.state(), unit.jobId);
  const job: JobState = { ...before, open: 0, scrapped: before.scrapped + (otpTouched ? 1 : 0) };
  const { objId, grantId } = unit.facts;
  const entry = {
    type: 'void',
    jobId: fromHex(unit.jobId),
    packageId,
    remaining: remainingUnits(job),
    uid: fromHex(unit.uid),
    reason: reason.slice(0, maxReasonChars),
    ...(objId && { objId: fromHex(objId) }),
    ...(grantId && { grantId: fromHex(grantId) }),
  } as const;
  const ledger = await appendRecord(job.ledger, entry, identity.signer, core.uptimeSeconds());
  const voiding = { reason: entry.reason, otpTouched };
  core.nvm.update(state => ({ ...withJob(state, { ...job, ledger }), unit: { ...unit, voiding } }));
  core.tell({ event: 'unit-voided', uid: unit.uid, reason: entry.reason, scrap: otpTouched });
}

/** Tells the server of a voided unit and closes its journal. A server that will not have it, because the grant has lapsed or was never made,
 *  gets the ledger with the next call. @throws NusecError SERVER_UNREACHABLE: the journal stays */
export async function reportVoid(core: Core, server: ServerApi): Promise<void> {
  const { unit } = core.nvm.state();
  if (!unit?.voiding) return;
  const { grantId } = unit.facts;
  const { pending } = jobOf(core.nvm.state(), unit.jobId).ledger;
  if (grantId) {
    try {
      await server.voidUnit(grantId, { ...unit.voiding, ledger: pending });
      storeAcknowledged(core, unit.jobId, pending);
    } catch (error) {
      if (!(error instanceof NusecError) || error.code === 'SERVER_UNREACHABLE') throw error;
      core.tell({ event: 'void-refused', uid: unit.uid, code: error.code });
    }
  }
  core.nvm.update(withoutUnit);
}
