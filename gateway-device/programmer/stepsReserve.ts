import { equalBytes, fromHex, toBase64url, toHex } from '../../src/bytes.ts';
import { NusecError } from '../../src/errors.ts';
import { type Grant, verifyGrant } from '../../src/production/grant.ts';
import { isUidAllowed } from '../../src/production/uidList.ts';
import type { Core } from './core.ts';
import { oemKeys, type ProgrammerIdentity } from './identity.ts';
import { appendRecord } from './ledgerBook.ts';
import { type JobState, jobOf, remainingUnits, withJob, withUnit } from './nvm.ts';
import { storeAcknowledged } from './packageImport.ts';
import type { FoundTarget } from './target.ts';
import { fact, factBytes, jobOfUnit, journalOf, type Step, type Unit } from './unit.ts';
import { keepUnitData, requireFreshNumber } from './unitData.ts';

/** Step 2: one of the count is taken, written down and signed into the ledger; then the server is asked for a grant (R65–R66, RULE-4, RULE-7). */

/** Opens the journal of a unit: count − 1, ledger record and journal in one piece, before anybody is asked.
 *  @throws NusecError COUNT_EXHAUSTED: the count is a hard limit whatever the server says (RULE-4) */
export async function beginUnit(
  core: Core,
  identity: ProgrammerIdentity,
  job: JobState,
  packageId: Uint8Array,
  found: FoundTarget,
): Promise<void> {
  if (remainingUnits(job) === 0) throw new NusecError('COUNT_EXHAUSTED', 'the count of this job is used up');
  const reserved = { ...job, open: job.open + 1 };
  const remaining = remainingUnits(reserved);
  const entry = { type: 'reserve', jobId: fromHex(job.jobId), packageId, remaining, uid: found.uid } as const;
  const ledger = await appendRecord(job.ledger, entry, identity.signer, core.uptimeSeconds());
  const unit = { jobId: job.jobId, uid: toHex(found.uid), done: 1, begun: 2, failures: 0, facts: {}, reserveHead: ledger.headSha256 };
  core.nvm.update(state => ({
    ...withJob(state, { ...jobOf(state, job.jobId), open: reserved.open, ledger }),
    nextRunId: state.nextRunId + 1,
    units: { ...state.units, [unit.uid]: { ...unit, runId: state.nextRunId } },
  }));
}

export const reserveStep: Step = { k: 2, name: 'reserve', starred: true, run: reserve };

/** The grant is in the journal before the chip is judged by it, so that a void unit is reported to the server immediately. */
async function reserve(unit: Unit): Promise<void> {
  requireConfigArea(unit);
  if (journalOf(unit).facts.grant === undefined) await askForGrant(unit);
  const known = { grantId: fact(unit, 'grantId'), objId: fact(unit, 'objId'), grant: factBytes(unit, 'grant') };
  const granted = await checkGrant(unit, known);
  if (!isUidAllowed(unit.payload.uids, unit.found.uid, granted.uidProof))
    throw new NusecError('UID_NOT_LISTED', 'this UID is not on the list of the job');
  keepUnitData(unit, granted);
}

/** Found out before anything is burned. @throws NusecError DEVICE_STATE */
function requireConfigArea({ payload, target, found }: Unit): void {
  if (payload.configWords === undefined || found.isLocked || target.debug.flash.config) return;
  throw new NusecError('DEVICE_STATE', 'the job has configuration words, and the debug port of this chip knows no place for them');
}

/** The same records give the same grant, so this may be repeated after a cut (I12). */
async function askForGrant(unit: Unit): Promise<void> {
  const { core, server, found } = unit;
  const { jobId, uid } = journalOf(unit);
  const { ledger } = jobOfUnit(unit);
  const answer = await server.reserve({ jobId, uid, productId: found.productId, ledger: ledger.pending });
  const granted = await checkGrant(unit, answer);
  requireFreshNumber(unit, granted);
  const facts = { grantId: answer.grantId, objId: answer.objId, grant: toBase64url(answer.grant) };
  const journal = journalOf(unit);
  storeAcknowledged(
    core,
    jobId,
    ledger.pending,
    job => ({ ...job, newestNumber: granted.number }),
    state => withUnit(state, { ...journal, facts: { ...journal.facts, ...facts } }),
  );
}

/** The grant must be signed by a key for grants, for this unit, this job and the ledger as quoted; the ids beside it must be its own. */
async function checkGrant(
  unit: Unit,
  answer: { readonly grantId: string; readonly objId: string; readonly grant: Uint8Array },
): Promise<Grant> {
  const { core, identity, payload, found } = unit;
  const ledgerHead = fromHex(journalOf(unit).reserveHead ?? jobOfUnit(unit).ledger.headSha256);
  const expected = { jobId: payload.jobId, uid: found.uid, progUid: identity.uid, ledgerHead };
  const grant = await verifyGrant(answer.grant, expected, await oemKeys(core.chip, identity, 'grant'));
  if (toHex(grant.grantId) !== answer.grantId || toHex(grant.objId) !== answer.objId) {
    throw new NusecError('GRANT_REFUSED', 'the grant is for something else');
  }
  return grant;
}

/** Which job this chip belongs to: the oldest one with units left whose list allows the UID. A list known by its tree only is judged with
 *  the proof in the grant. */
export function mayBelongTo(payload: { readonly uids: Parameters<typeof isUidAllowed>[0] }, uid: Uint8Array): boolean {
  const { uids } = payload;
  if (uids === null || 'merkleRoot' in uids) return true;
  return uids.uids.some(listed => equalBytes(listed, uid));
}
