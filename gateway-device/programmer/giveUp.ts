import { fromHex, toBase64url } from '../../src/bytes.ts';
import { NusecError } from '../../src/errors.ts';
import { isServerAway } from './blame.ts';
import type { Core } from './core.ts';
import { type ProgrammerIdentity, readIdentity } from './identity.ts';
import { appendRecord } from './ledgerBook.ts';
import { type JobState, jobOf, remainingUnits, type UnitState, withJob, withoutUnit, withUnit } from './nvm.ts';
import { recordsUpTo, storeAcknowledged } from './packageImport.ts';
import type { ServerApi } from './serverApi.ts';
import { startDevAuth } from './target.ts';
import { journalOf, receiptNonce, type Unit } from './unit.ts';

/** Gives a unit up: the void record, the count and the intent are stored in one write; the report to the server follows, now or later. */

/** First step that leaves a permanent mark; its intent counts, because without proof nobody knows (docs/production.md). */
const firstIrreversibleStep = 9;
/** From the next one on the server gives out the key to burn, and counts a unit as scrap whose chip does not sign that it is empty. */
const lastStepWithoutKey = 6;
const maxReasonChars = 128;

const isScrap = (unit: UnitState): boolean => unit.begun >= firstIrreversibleStep;

/** Given up while its chip is silent, the unit would be scrap. */
export const isScrapUnheard = ({ done }: UnitState): boolean => done >= lastStepWithoutKey;

/** The count comes back unless OTP was touched; then the unit is scrap and takes one of the allowance.
 *  @param known otpTouched: what the server says of it (default: what the journal says); receipt: the chip signs that nothing is burned */
export async function voidUnit(
  core: Core,
  identity: ProgrammerIdentity,
  uid: string,
  reason: string,
  known: { readonly otpTouched?: boolean; readonly receipt?: Uint8Array | undefined } = {},
): Promise<void> {
  const unit = core.nvm.state().units[uid];
  if (!unit || unit.voiding) return;
  const isTouched = known.otpTouched ?? isScrap(unit);
  const before = jobOf(core.nvm.state(), unit.jobId);
  const job: JobState = { ...before, open: before.open - 1, scrapped: before.scrapped + (isTouched ? 1 : 0) };
  const { objId, grantId } = unit.facts;
  const entry = {
    type: 'void',
    jobId: fromHex(unit.jobId),
    packageId: fromHex(before.packageId),
    remaining: remainingUnits(job),
    uid: fromHex(unit.uid),
    reason: reason.slice(0, maxReasonChars),
    scrap: isTouched,
    ...(objId && { objId: fromHex(objId) }),
    ...(grantId && { grantId: fromHex(grantId) }),
  } as const;
  const ledger = await appendRecord(job.ledger, entry, identity.signer, core.uptimeSeconds());
  const proof = known.receipt === undefined ? {} : { receipt: toBase64url(known.receipt) };
  const voiding = { reason: entry.reason, otpTouched: isTouched, ...proof };
  const ended = { ...unit, voiding, endNumber: ledger.nextNumber - 1 };
  const { open, scrapped } = job;
  core.nvm.update(state => withUnit(withJob(state, { ...jobOf(state, unit.jobId), open, scrapped, ledger }), ended));
  core.tell({ event: 'unit-voided', uid: unit.uid, reason: entry.reason, scrap: isTouched });
}

/** Reports a voided unit to the server and closes its journal. A server that will not have it, because the grant has lapsed or was never made,
 *  gets the ledger with the next call. The server is right about a begun unit: what it counts as scrap is scrap here too.
 *  @returns whether the unit is scrap @throws NusecError when the server is away or in trouble: the journal stays */
export async function reportVoid(core: Core, server: ServerApi, uid: string): Promise<boolean> {
  const unit = core.nvm.state().units[uid];
  if (!unit?.voiding) return false;
  let isScrapped = unit.voiding.otpTouched;
  const { grantId } = unit.facts;
  const { ledger } = jobOf(core.nvm.state(), unit.jobId);
  const records = recordsUpTo(core, unit.jobId, unit.endNumber ?? ledger.nextNumber - 1);
  if (grantId) {
    try {
      const isMore = (await server.voidUnit(grantId, { ...unit.voiding, ledger: records })) && !isScrapped;
      isScrapped ||= isMore;
      storeAcknowledged(core, unit.jobId, records, job => (isMore ? { ...job, scrapped: job.scrapped + 1 } : job));
    } catch (error) {
      if (!(error instanceof NusecError) || isServerAway(error)) throw error;
      core.tell({ event: 'void-refused', uid, code: error.code });
    }
  }
  core.nvm.update(state => withoutUnit(state, uid));
  return isScrapped;
}

/** The server counts a unit as scrap from the moment that it has given out the key to burn, unless the chip signs that nothing is burned.
 *  @returns undefined when the chip cannot, or when it need not */
export async function emptyReceipt(unit: Unit): Promise<Uint8Array | undefined> {
  const { begun, facts } = journalOf(unit);
  if (facts.certificate === undefined || begun >= firstIrreversibleStep) return undefined;
  try {
    await startDevAuth(unit.target);
    return (await unit.target.host.request('receipt', { nonce: receiptNonce('NuSEC void receipt', unit) })).receipt;
  } catch (error) {
    if (!(error instanceof NusecError)) throw error;
    return undefined;
  }
}

/** What giving a unit up would come to. @returns whether it counts as scrap @throws as giveUpUnit */
export function isScrapGivenUp(core: Core, uid: string): boolean {
  const unit = core.nvm.state().units[uid];
  if (!unit) throw new NusecError('NOT_FOUND', 'no such unit is under way');
  if (unit.facts.receipt) throw new NusecError('STATE', 'this unit is finished; the server has to confirm it');
  return unit.voiding?.otpTouched ?? isScrap(unit);
}

/** A person says that this chip does not come back. @returns whether it counts as scrap @throws NusecError NOT_FOUND, STATE (it is finished) */
export const giveUpUnit = (core: Core, uid: string): Promise<boolean> =>
  core.alone(async () => {
    isScrapGivenUp(core, uid);
    await voidUnit(core, readIdentity(core.chip), uid, 'given up by the operator');
    return core.nvm.state().units[uid]?.voiding?.otpTouched ?? false;
  });
