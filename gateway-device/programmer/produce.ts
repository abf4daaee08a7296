import { fromHex, toHex } from '../../src/bytes.ts';
import { type ErrorCode, NusecError } from '../../src/errors.ts';
import { DevAuthError } from '../../src/production/devauth/error.ts';
import type { PackagePayload } from '../../src/production/package.ts';
import { type Core, withServer } from './core.ts';
import { reportVoid, voidUnit } from './giveUp.ts';
import { type ProgrammerIdentity, readIdentity } from './identity.ts';
import { type JobState, jobOf, remainingUnits, type UnitState } from './nvm.ts';
import { deliverAcknowledgement, packageOf } from './packageImport.ts';
import type { ServerApi } from './serverApi.ts';
import { applicationSteps } from './stepsApplication.ts';
import { bootSteps } from './stepsBoot.ts';
import { identitySteps } from './stepsIdentity.ts';
import { lockSteps } from './stepsLock.ts';
import { beginUnit, mayBelongTo, reserveStep } from './stepsReserve.ts';
import { connectTarget, type FoundTarget, findTarget, type Target, type TargetAddresses } from './target.ts';
import { journalOf, type Step, type Unit } from './unit.ts';
import { deliverOutstanding, eraseImages, zeroiseJob } from './zeroise.ts';

/** PRODUCE: one unit from a blank chip to a committed device, steps 1–16 of docs/production.md (R65–R82). The journal says what is done; after
 *  a cut the same call goes on where it was, or gives the unit up. */

type StepState = 'begin' | 'done' | 'failed';
export type Report = (k: number, name: string, state: StepState, text?: string) => void;

const steps: readonly Step[] = [reserveStep, ...identitySteps, ...bootSteps, ...lockSteps, ...applicationSteps];
const devAuthStep = stepOf(3);
const sessionStep = stepOf(11);

/** After so many failures of one step the unit is given up. */
const maxStepFailures = 3;
/** Refused units leave records that only an accepted request takes home, and a request carries 256: with more than this the last refused
 *  unit keeps its reservation until the server grants it. */
const maxPendingRecords = 200;

/** Nothing that a repetition would mend: the unit is given up at once. */
const finalCodes: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'ALLOTMENT_FROZEN',
  'ATTESTATION_FAILED',
  'CHAIN_REFUSED',
  'CLIENT_CERTIFICATE_REFUSED',
  'CONFLICT',
  'COUNT_EXHAUSTED',
  'FIRMWARE_NOT_BOUND',
  'FORBIDDEN',
  'GRANT_EXPIRED',
  'GRANT_REFUSED',
  'GRANT_USED',
  'IMAGE_REFUSED',
  'JOB_NOT_RUNNING',
  'LEDGER_GAP',
  'PROGRAMMER_NOT_ACTIVE',
  'RATE_LIMITED',
  'ROLLBACK',
  'UID_CONFLICT',
  'UID_NOT_LISTED',
  'WEAK_OR_CLONED_KEY',
  'WRONG_PRODUCT',
]);

export type Produced = { readonly uid: string; readonly jobId: string; readonly remaining: number };

/** @param jobId which job, where a chip could belong to several
 *  @throws NusecError COUNT_EXHAUSTED, UID_NOT_LISTED, DEVICE_STATE, NOT_FOUND, and whatever ended the unit. SERVER_UNREACHABLE, LINK_FAILED and
 *    LINK_TIMEOUT leave the unit in the journal: the same call goes on */
export async function produceUnit(core: Core, addresses: TargetAddresses, report: Report, jobId?: string): Promise<Produced> {
  const identity = readIdentity(core.chip);
  const target = await connectTarget(addresses);
  try {
    report(1, 'identify the target', 'begin');
    const found = await findTarget(target);
    report(1, 'identify the target', 'done', toHex(found.uid));
    return await withServer(core, server => produceFound(core, identity, server, target, found, report, jobId));
  } finally {
    await target.close();
  }
}

async function produceFound(
  core: Core,
  identity: ProgrammerIdentity,
  server: ServerApi,
  target: Target,
  found: FoundTarget,
  report: Report,
  wantedJob: string | undefined,
): Promise<Produced> {
  await closeOther(core, identity, server, found);
  if (!core.nvm.state().unit) await reserveFor(core, identity, server, found, wantedJob);
  const { jobId } = journalOf({ core });
  const payload = await packageOf(core, identity, jobOf(core.nvm.state(), jobId));
  const unit: Unit = { core, identity, server, payload, target, found, live: {} };
  await runSteps(unit, report);
  const remaining = remainingUnits(jobOf(core.nvm.state(), jobId));
  if (remaining === 0) await endJob(core, jobId);
  return { uid: toHex(found.uid), jobId, remaining };
}

/** A unit that was left behind when another one is on the wires, or whose end the server has not heard of. */
async function closeOther(core: Core, identity: ProgrammerIdentity, server: ServerApi, found: FoundTarget): Promise<void> {
  const { unit } = core.nvm.state();
  if (!unit) return;
  if (!unit.voiding && unit.uid !== toHex(found.uid)) {
    if (mustKeep(core, unit)) throw new NusecError('RATE_LIMITED', `too many units were refused: go on with ${unit.uid}`);
    await voidUnit(core, identity, packageIdOf(core, unit.jobId), 'abandoned for another unit');
  }
  await reportVoid(core, server);
}

const mustKeep = (core: Core, { jobId, facts }: UnitState): boolean =>
  facts.grantId === undefined && jobOf(core.nvm.state(), jobId).ledger.pending.length > maxPendingRecords;

const packageIdOf = (core: Core, jobId: string): Uint8Array => fromHex(jobOf(core.nvm.state(), jobId).packageId);

/** Local checks before anything is asked: a fresh chip, units left, a UID of the list (RULE-4, RULE-7). */
async function reserveFor(
  core: Core,
  identity: ProgrammerIdentity,
  server: ServerApi,
  found: FoundTarget,
  wantedJob?: string,
): Promise<void> {
  if (found.isLocked || !found.isNew) throw new NusecError('DEVICE_STATE', 'this chip has been provisioned before');
  const { job, payload } = await chooseJob(core, identity, found, wantedJob);
  if (!job.acknowledgementSent) await deliverAcknowledgement(core, job.jobId, server);
  await beginUnit(core, identity, jobOf(core.nvm.state(), job.jobId), payload.packageId, found);
}

async function chooseJob(
  core: Core,
  identity: ProgrammerIdentity,
  found: FoundTarget,
  wantedJob: string | undefined,
): Promise<{ readonly job: JobState; readonly payload: PackagePayload }> {
  const jobs = Object.values(core.nvm.state().jobs).filter(job => wantedJob === undefined || job.jobId === wantedJob);
  if (jobs.length === 0) throw new NusecError('NOT_FOUND', 'no package was imported');
  const counting = jobs.filter(job => remainingUnits(job) > 0);
  if (counting.length === 0) throw new NusecError('COUNT_EXHAUSTED', 'the count is used up; more units need a new package');
  for (const job of counting) {
    const payload = await packageOf(core, identity, job);
    if (mayBelongTo(payload, found.uid)) return { job, payload };
  }
  throw new NusecError('UID_NOT_LISTED', 'this UID is not on the list of any job here');
}

async function runSteps(unit: Unit, report: Report): Promise<void> {
  for (let step = nextStep(unit); step; step = nextStep(unit)) {
    report(step.k, step.name, 'begin');
    try {
      await restore(unit, step);
      if (step.starred) journal(unit, { begun: step.k });
      await step.run(unit);
      journal(unit, { done: step.k, failures: 0 });
      report(step.k, step.name, 'done');
    } catch (error) {
      if (!(error instanceof NusecError)) throw error;
      report(step.k, step.name, 'failed', textOf(error));
      await afterFailure(unit, step, error);
    }
  }
}

function nextStep({ core }: Unit): Step | undefined {
  const { unit } = core.nvm.state();
  return unit && steps.find(({ k }) => k === unit.done + 1);
}

function stepOf(k: number): Step {
  const step = steps.find(candidate => candidate.k === k);
  if (!step) throw new RangeError(`no step ${k}`);
  return step;
}

/** What is lost in a cut and needed by the step: DevAuth in SRAM, or the session. */
async function restore(unit: Unit, { needs }: Step): Promise<void> {
  if (needs === 'devauth' && !unit.live.devAuth) await devAuthStep.run(unit);
  if (needs === 'session' && !unit.live.session) await sessionStep.run(unit);
}

function journal({ core }: Unit, change: { readonly begun?: number; readonly done?: number; readonly failures?: number }): void {
  const { unit } = core.nvm.state();
  if (unit) core.nvm.update(state => ({ ...state, unit: { ...unit, ...change } }));
}

/** Decides whether the step is tried again (returns), later (throws, journal kept) or never (throws, unit voided). */
async function afterFailure(unit: Unit, step: Step, error: NusecError): Promise<void> {
  delete unit.live.devAuth;
  delete unit.live.session;
  // No word from the server says nothing about the unit: it waits.
  if (error.code === 'SERVER_UNREACHABLE') throw error;
  const failures = journalOf(unit).failures + 1;
  journal(unit, { failures });
  if (failures < maxStepFailures && step !== reserveStep && !isFinal(error)) {
    if (error.code === 'LINK_FAILED' || error.code === 'LINK_TIMEOUT') throw error;
    return;
  }
  const { core, identity, payload, server } = unit;
  if (mustKeep(core, journalOf(unit))) throw error;
  if (error.code === 'JOB_NOT_RUNNING') eraseImages(core, journalOf(unit).jobId);
  await voidUnit(core, identity, payload.packageId, `step ${step.k}: ${codeOf(error)}`);
  await reportVoid(core, server).catch(() => undefined);
  throw error;
}

const isFinal = (error: NusecError): boolean =>
  finalCodes.has(error.code) || (error instanceof DevAuthError && (error.reason === 'otp-used' || error.reason === 'otp-verify'));

const codeOf = (error: NusecError): string => (error instanceof DevAuthError ? `${error.code} ${error.reason}` : error.code);
const textOf = (error: NusecError): string => `${error.code}: ${error.message}`;

/** The last unit: images are erased, the server gets the receipt now or later (RULE-19). */
async function endJob(core: Core, jobId: string): Promise<void> {
  await zeroiseJob(core, jobId);
  await deliverOutstanding(core).catch((error: unknown) => {
    if (!(error instanceof NusecError)) throw error;
  });
}
