import { toHex } from '../../src/bytes.ts';
import { type ErrorCode, NusecError } from '../../src/errors.ts';
import { DevAuthError } from '../../src/production/devauth/error.ts';
import type { PackagePayload } from '../../src/production/package.ts';
import type { ReportedValue } from '../../src/production/unitData.ts';
import { isNotOfUnit, isServerAway } from './blame.ts';
import { type Core, withServer } from './core.ts';
import { emptyReceipt, isScrapUnheard, reportVoid, voidUnit } from './giveUp.ts';
import { type ProgrammerIdentity, readIdentity } from './identity.ts';
import { type CommittedUnit, type JobState, jobOf, remainingUnits, withUnit } from './nvm.ts';
import { deliver, hasOutstanding, isCommitPending } from './outstanding.ts';
import { deliverAcknowledgement, packageOf } from './packageImport.ts';
import type { Patience } from './patience.ts';
import type { ServerApi } from './serverApi.ts';
import { mustKeep, settleUnit, settleUnits } from './settle.ts';
import { applicationSteps } from './stepsApplication.ts';
import { bootSteps } from './stepsBoot.ts';
import { identitySteps, policyFact } from './stepsIdentity.ts';
import { lockSteps } from './stepsLock.ts';
import { beginUnit, mayBelongTo, reserveStep } from './stepsReserve.ts';
import { connectTarget, type FoundTarget, findTarget, type Target, type TargetAddresses } from './target.ts';
import { grantIdOf, journalOf, learn, type Step, type Unit } from './unit.ts';
import { eraseImages, zeroiseJob } from './zeroise.ts';

/** PRODUCE: one unit from a blank chip to a committed device, steps 1–16 of docs/production.md (R65–R82). The journal says what is done; after
 *  a power cut the same call resumes, or gives the unit up. */

type StepState = 'begin' | 'done' | 'failed' | 'waiting';
export type Report = (k: number, name: string, state: StepState, text?: string) => void;

const steps: readonly Step[] = [reserveStep, ...identitySteps, ...bootSteps, ...lockSteps, ...applicationSteps];
const devAuthStep = stepOf(3);
const sessionStep = stepOf(11);
const lastStep = 16;
/** So long a unit may have the ledger before another one says that it waits. */
const ledgerPatienceMs = 2_000;

/** After so many failures of one step the unit is given up. */
const maxStepFailures = 3;
/** Refusals of the unit that a repetition cannot mend: the unit is given up immediately. */
const finalCodes: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'ATTESTATION_FAILED',
  'CHAIN_REFUSED',
  'CONFLICT',
  'UID_CONFLICT',
  'UID_NOT_LISTED',
  'WEAK_OR_CLONED_KEY',
  'WRONG_PRODUCT',
]);

export type Produced = {
  readonly uid: string;
  readonly jobId: string;
  readonly remaining: number;
  /** Unit data, as it goes on labels and into reports. */
  readonly values: readonly ReportedValue[];
};

/** What one PRODUCE works with. */
export type RunOptions = {
  readonly report: Report;
  /** Which job, where a chip could belong to several. */
  readonly jobId?: string | undefined;
  readonly patience: Patience;
};

/** The unit was given up for this error. */
export class UnitVoided extends NusecError {
  readonly isScrap: boolean;

  constructor(cause: NusecError, isScrap: boolean) {
    super(cause.code, cause.message, { cause });
    this.isScrap = isScrap;
  }
}

type Run = RunOptions & { readonly core: Core; readonly identity: ProgrammerIdentity; readonly server: ServerApi };

/** @throws NusecError COUNT_EXHAUSTED, UID_NOT_LISTED, DEVICE_STATE, NOT_FOUND, and whatever ended the unit. After a fault that is not of the chip
 *    the unit stays in the journal: the same call resumes */
export async function produceUnit(core: Core, addresses: TargetAddresses, options: RunOptions): Promise<Produced> {
  const identity = readIdentity(core.chip);
  return withServer(core, async server => {
    const run: Run = { ...options, core, identity, server };
    await withLedger(run, 2, 'what the server has not heard', () => deliverFirst(run));
    try {
      return await produceOn(run, addresses);
    } catch (error) {
      // While the server was away it gave the reservation up, and nothing was burned: the chip is begun anew.
      if (!(error instanceof UnitVoided) || error.isScrap || error.code !== 'GRANT_USED') throw error;
      return produceOn(run, addresses);
    }
  });
}

async function produceOn(run: Run, addresses: TargetAddresses): Promise<Produced> {
  const { core, report } = run;
  const target = await connectTarget(addresses);
  try {
    report(1, 'identify the target', 'begin');
    const found = await identify(target, report);
    const uid = toHex(found.uid);
    report(1, 'identify the target', 'done', uid);
    const untold = core.nvm.state().untold?.find(unit => unit.uid === uid);
    if (untold) return alreadyCommitted(core, untold);
    return await whileWorkingOn(core, uid, () => produceFound(run, target, found));
  } finally {
    await target.close();
  }
}

async function identify(target: Target, report: Report): Promise<FoundTarget> {
  try {
    return await findTarget(target);
  } catch (error) {
    if (error instanceof NusecError) report(1, 'identify the target', 'failed', textOf(error));
    throw error;
  }
}

/** One chip, one run. @throws NusecError UID_CONFLICT */
async function whileWorkingOn<T>({ working }: Core, uid: string, work: () => Promise<T>): Promise<T> {
  if (working.has(uid)) throw new NusecError('UID_CONFLICT', `two targets show the UID ${uid}: are their wires swapped?`);
  working.add(uid);
  try {
    return await work();
  } finally {
    working.delete(uid);
  }
}

/** What appends to a ledger, and sends it, happens to one unit after the other. A long wait is reported. */
async function withLedger<T>({ core, report }: Pick<Run, 'core' | 'report'>, k: number, name: string, work: () => Promise<T>): Promise<T> {
  const timer = setTimeout(() => report(k, name, 'waiting', 'another unit has the ledger'), ledgerPatienceMs);
  return core.alone(() => {
    clearTimeout(timer);
    return work();
  });
}

const producedOf = (core: Core, uid: string, jobId: string, values: readonly ReportedValue[] = []): Produced => ({
  uid,
  jobId,
  values,
  remaining: remainingUnits(jobOf(core.nvm.state(), jobId)),
});

/** This chip was committed, but the answer was lost. */
function alreadyCommitted(core: Core, { uid, jobId, values }: CommittedUnit): Produced {
  core.nvm.update(state => ({ ...state, untold: (state.untold ?? []).filter(unit => unit.uid !== uid) }));
  return producedOf(core, uid, jobId, values);
}

/** What needs no chip goes to the server first, whatever is on the wires. */
async function deliverFirst(run: Run): Promise<void> {
  const { core, identity, server, report } = run;
  if (!hasOutstanding(core.nvm.state())) return;
  const pending = Object.values(core.nvm.state().units).filter(isCommitPending);
  for (const { uid } of pending) report(16, 'commit', 'begin', uid);
  await patiently(run, 16, 'what the server has not heard', () => deliver(core, identity, server));
  const committed = pending.filter(({ uid }) => core.nvm.state().units[uid] === undefined);
  for (const { uid } of committed) report(16, 'commit', 'done', uid);
}

/** Waits for a server that is away. @throws what `work` throws else, or when the patience ends */
async function patiently<T>({ patience, report }: RunOptions, k: number, name: string, work: () => Promise<T>): Promise<T> {
  for (let tries = 0; ; tries += 1) {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof NusecError) || !isServerAway(error)) throw error;
      report(k, name, 'waiting', textOf(error));
      if (!(await patience.wait(tries))) throw error;
    }
  }
}

async function produceFound(run: Run, target: Target, found: FoundTarget): Promise<Produced> {
  const { core, identity, server, patience } = run;
  const uidHex = toHex(found.uid);
  // A reservation is followed by its grant before anything else is sent: the server would take its record without granting it.
  const unit = await withLedger(run, 2, 'reserve', async () => {
    await patiently(run, 2, 'units left behind', () => settleUnits(core, identity, server, uidHex));
    if (!core.nvm.state().units[uidHex]) await patiently(run, 2, 'reserve', () => reserveFor(run, found));
    const payload = await packageOf(core, identity, jobOf(core.nvm.state(), journalOf({ core, uidHex }).jobId));
    const begun: Unit = {
      core,
      uidHex,
      identity,
      server,
      payload,
      target,
      found,
      patience,
      live: found.devAuth ? { devAuth: found.devAuth } : {},
    };
    await runSteps(begun, run.report, { upTo: reserveStep.k, alone: work => work() });
    return begun;
  });
  const { jobId, facts } = journalOf(unit);
  const alone: Alone = work => withLedger(run, lastStep, 'commit', work);
  await runSteps(unit, run.report, { upTo: lastStep, alone });
  return alone(async () => {
    const produced = producedOf(core, uidHex, jobId, facts.unitData?.values);
    if (produced.remaining === 0 && jobOf(core.nvm.state(), jobId).open === 0) await endJob(core, identity, server, jobId);
    return produced;
  });
}

/** How work on the ledger is done: it may be that nobody else can do any at the moment. */
type Alone = <T>(work: () => Promise<T>) => Promise<T>;

/** Local checks before anything is asked: a fresh chip, units left, a UID of the list (RULE-4, RULE-7). */
async function reserveFor({ core, identity, server, jobId }: Run, found: FoundTarget): Promise<void> {
  if (found.isLocked || !found.isNew) throw new NusecError('DEVICE_STATE', 'this chip has been provisioned before');
  const { job, payload } = await chooseJob(core, identity, found, jobId);
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

async function runSteps(unit: Unit, report: Report, { upTo, alone }: { readonly upTo: number; readonly alone: Alone }): Promise<void> {
  let tries = 0;
  let isRenewed = false;
  for (let step = nextStep(unit); step && step.k <= upTo; step = nextStep(unit)) {
    report(step.k, step.name, 'begin');
    try {
      await restore(unit, step);
      if (step.starred) journal(unit, { begun: step.k });
      await (step.k === lastStep ? alone(() => step.run(unit)) : step.run(unit));
      journal(unit, { done: step.k, failures: 0 });
      report(step.k, step.name, 'done');
      tries = 0;
      isRenewed = false;
    } catch (error) {
      if (!(error instanceof NusecError)) throw error;
      unit.live = {};
      const isWaiting = isWaitedFor(step, error);
      report(step.k, step.name, isWaiting ? 'waiting' : 'failed', textOf(error));
      if (isWaiting) isRenewed = await waitForServer(unit, error, { tries: tries++, isRenewed }, alone);
      else await alone(() => afterFailure(unit, step, error));
    }
  }
}

/** Before there is a grant a refusal loses nothing: the unit is closed and the operator gets to know. */
const isWaitedFor = (step: Step, error: NusecError): boolean => (step === reserveStep ? isServerAway(error) : isNotOfUnit(error));

/** The unit stays as it is. A grant that has expired, in a long outage too, is renewed and the step repeated; if that was just done, it is waited for.
 *  @returns whether the grant was renewed @throws the error when it was long enough, UnitVoided when the server has ended the unit */
async function waitForServer(
  unit: Unit,
  error: NusecError,
  before: { readonly tries: number; readonly isRenewed: boolean },
  alone: Alone,
): Promise<boolean> {
  const { core, identity, server, uidHex, patience } = unit;
  if (error.code === 'JOB_NOT_RUNNING') eraseImages(core, journalOf(unit).jobId);
  if (error.code === 'GRANT_USED') {
    const isScrap = await alone(() => settleUnit(core, identity, server, journalOf(unit), grantIdOf(unit)));
    if (!core.nvm.state().units[uidHex]) throw new UnitVoided(error, isScrap);
  }
  const isRenewed = error.code === 'GRANT_EXPIRED' && (await isDone(server.renew(grantIdOf(unit))));
  if ((!isRenewed || before.isRenewed) && !(await patience.wait(before.tries))) throw error;
  return isRenewed;
}

const isDone = (work: Promise<unknown>): Promise<boolean> =>
  work.then(
    () => true,
    (error: unknown) => {
      if (error instanceof NusecError) return false;
      throw error;
    },
  );

function nextStep({ core, uidHex }: Unit): Step | undefined {
  const unit = core.nvm.state().units[uidHex];
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

function journal({ core, uidHex }: Unit, change: { readonly begun?: number; readonly done?: number; readonly failures?: number }): void {
  const unit = core.nvm.state().units[uidHex];
  if (unit) core.nvm.update(state => withUnit(state, { ...unit, ...change }));
}

/** Decides whether the step is tried again (returns), later (throws, journal kept) or never (throws, unit voided). Silent wires say nothing about a chip:
 *  one that would be scrap waits until it is put in again, or a person gives it up. So does one that does not speak what its line asks for: the line may
 *  be mended, the chip not. */
async function afterFailure(unit: Unit, step: Step, error: NusecError): Promise<void> {
  if (error.code === 'SPDM_UNSUPPORTED') {
    if (await isAskedOtherwise(unit)) return;
    throw error;
  }
  const isSilent = error.code === 'LINK_FAILED' || error.code === 'LINK_TIMEOUT';
  if (isSilent && isScrapUnheard(journalOf(unit))) throw error;
  const failures = journalOf(unit).failures + 1;
  journal(unit, { failures });
  if (failures < maxStepFailures && step !== reserveStep && !isFinal(error)) {
    if (isSilent) throw error;
    return;
  }
  const { core, identity, server, uidHex } = unit;
  if (mustKeep(core, journalOf(unit))) throw error;
  if (error.code === 'JOB_NOT_RUNNING') eraseImages(core, journalOf(unit).jobId);
  await voidUnit(core, identity, uidHex, `step ${step.k}: ${codeOf(error)}`, { receipt: await emptyReceipt(unit) });
  const isTouched = core.nvm.state().units[uidHex]?.voiding?.otpTouched === true;
  const counted = await reportVoid(core, server, uidHex).catch(later);
  throw new UnitVoided(error, counted ?? isTouched);
}

/** Whether the line asks for something else by now than the unit was asked for. It is in the journal then. */
async function isAskedOtherwise(unit: Unit): Promise<boolean> {
  const asked = JSON.stringify(journalOf(unit).facts.spdm);
  const named = await unit.server.renew(grantIdOf(unit)).catch(later);
  if (named === undefined) return false;
  learn(unit, policyFact(named));
  return JSON.stringify(journalOf(unit).facts.spdm) !== asked;
}

/** A report that the server cannot receive now joins the outstanding ones. */
function later(error: unknown): undefined {
  if (!(error instanceof NusecError)) throw error;
}

const isFinal = (error: NusecError): boolean =>
  finalCodes.has(error.code) || (error instanceof DevAuthError && (error.reason === 'otp-used' || error.reason === 'otp-verify'));

const codeOf = (error: NusecError): string => (error instanceof DevAuthError ? `${error.code} ${error.reason}` : error.code);
const textOf = (error: NusecError): string => `${error.code}: ${error.message}`;

/** The last unit: images are erased, the server gets the receipt now or later (RULE-19). */
async function endJob(core: Core, identity: ProgrammerIdentity, server: ServerApi, jobId: string): Promise<void> {
  await zeroiseJob(core, jobId);
  await deliver(core, identity, server).catch(later);
}
