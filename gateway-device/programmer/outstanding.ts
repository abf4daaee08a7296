import { NusecError } from '../../src/errors.ts';
import { isServerAway } from './blame.ts';
import { commitUnit } from './commit.ts';
import { type Core, withServer } from './core.ts';
import { reportVoid } from './giveUp.ts';
import { type ProgrammerIdentity, readIdentity } from './identity.ts';
import { jobOf, type NvmState, type UnitState, withUntold } from './nvm.ts';
import { deliverAcknowledgement, storeAcknowledged } from './packageImport.ts';
import type { ServerApi } from './serverApi.ts';

/** Reports that the server has yet to get and that need no chip: commits whose answer was lost, voids, acknowledgements of imports, ends of jobs. It
 *  goes first, whatever is on the wires. */

const lastStepWithTarget = 15;

/** The unit is finished; only the server has not confirmed it. */
export const isCommitPending = ({ done, voiding }: UnitState): boolean => done >= lastStepWithTarget && voiding === undefined;

const isOutstanding = (unit: UnitState): boolean => isCommitPending(unit) || unit.voiding !== undefined;

export const hasOutstanding = ({ jobs, units }: NvmState): boolean =>
  Object.values(units).some(isOutstanding) || Object.values(jobs).some(job => !job.acknowledgementSent || job.zeroised === 'recorded');

/** In the background. @throws NusecError SERVER_UNREACHABLE, or the last refusal */
export const deliverOutstanding = (core: Core): Promise<void> =>
  core.alone(() =>
    withServer(core, async server => {
      const refusal = await deliver(core, readIdentity(core.chip), server);
      if (refusal) throw refusal;
    }),
  );

/** What the server refuses for one unit or job does not hold up the others.
 *  Units that a run works on are its own.
 *  @returns the last refusal @throws NusecError when the server is away or in trouble */
export async function deliver(core: Core, identity: ProgrammerIdentity, server: ServerApi): Promise<NusecError | undefined> {
  let refusal: NusecError | undefined;
  const attempt = async (work: Promise<void>): Promise<void> => {
    await work.catch((error: unknown) => {
      if (!(error instanceof NusecError) || isServerAway(error)) throw error;
      refusal = error;
    });
  };
  const { jobs, units } = core.nvm.state();
  for (const { jobId, acknowledgementSent } of Object.values(jobs)) {
    if (!acknowledgementSent) await attempt(deliverAcknowledgement(core, jobId, server));
  }
  for (const unit of Object.values(units)) {
    if (isOutstanding(unit) && !core.working.has(unit.uid)) await attempt(deliverUnit(core, identity, server, unit));
  }
  for (const { jobId } of Object.values(jobs)) await attempt(deliverEnd(core, server, jobId));
  return refusal;
}

async function deliverUnit(
  core: Core,
  identity: ProgrammerIdentity,
  server: ServerApi,
  { uid, jobId, voiding, facts }: UnitState,
): Promise<void> {
  if (voiding) return void (await reportVoid(core, server, uid));
  const unit = { core, uidHex: uid };
  const values = facts.unitData === undefined ? {} : { values: facts.unitData.values };
  const reported = (state: NvmState): NvmState => withUntold(state, { uid, jobId, ...values });
  await commitUnit(unit, identity, server, reported).catch(async (error: unknown) => {
    if (!(error instanceof NusecError) || error.code !== 'GRANT_EXPIRED' || facts.grantId === undefined) throw error;
    await server.renew(facts.grantId);
    await commitUnit(unit, identity, server, reported);
  });
  core.tell({ event: 'unit-committed', uid });
}

async function deliverEnd(core: Core, server: ServerApi, jobId: string): Promise<void> {
  const { zeroised, ledger } = jobOf(core.nvm.state(), jobId);
  if (zeroised !== 'recorded') return;
  await server.zeroise(jobId, ledger.pending);
  storeAcknowledged(core, jobId, ledger.pending, job => ({ ...job, zeroised: 'told' }));
}
