import { NusecError } from '../../src/errors.ts';
import { isServerAway } from './blame.ts';
import type { Core } from './core.ts';
import { reportVoid, voidUnit } from './giveUp.ts';
import type { ProgrammerIdentity } from './identity.ts';
import { jobOf, type UnitState } from './nvm.ts';
import type { ServerApi, UnitOutcome } from './serverApi.ts';

/** Refused units leave records that only an accepted request takes home, and a request carries 256: with more than this the last refused
 *  unit keeps its reservation until the server grants it. */
const maxPendingRecords = 200;

/** What became of the units that were left behind: the server says it, not the wires. One that never got a grant is given up when another chip
 *  comes; nothing was done to it. */
export async function settleUnits(core: Core, identity: ProgrammerIdentity, server: ServerApi, own: string): Promise<void> {
  for (const unit of Object.values(core.nvm.state().units)) {
    const { grantId } = unit.facts;
    if (unit.uid !== own && core.working.has(unit.uid)) continue;
    if (grantId !== undefined) await settleUnit(core, identity, server, unit, grantId);
    else if (unit.uid !== own) {
      if (mustKeep(core, unit)) throw new NusecError('RATE_LIMITED', `too many units were refused: go on with ${unit.uid}`);
      await voidUnit(core, identity, unit.uid, 'left before it was granted');
      await reportVoid(core, server, unit.uid);
    }
  }
}

/** @returns whether the server has ended the unit as scrap */
export async function settleUnit(
  core: Core,
  identity: ProgrammerIdentity,
  server: ServerApi,
  { uid }: UnitState,
  grantId: string,
): Promise<boolean> {
  const { outcome, isScrap } = await server.outcome(grantId).catch(unknownOutcome);
  if (outcome !== 'voided') return false;
  await voidUnit(core, identity, uid, 'ended by the server', { otpTouched: isScrap });
  await reportVoid(core, server, uid);
  return isScrap;
}

/** A refusal leaves the unit as it is; the step that needs it reports the fault. */
function unknownOutcome(error: unknown): UnitOutcome {
  if (!(error instanceof NusecError) || isServerAway(error)) throw error;
  return { outcome: 'open', isScrap: false };
}

/** Whether another refused unit would leave more records than a request carries. */
export const mustKeep = (core: Core, { jobId, facts }: UnitState): boolean =>
  facts.grantId === undefined && jobOf(core.nvm.state(), jobId).ledger.pending.length > maxPendingRecords;
