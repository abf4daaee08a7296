import { allotment, allotmentStream } from '../../domain/allotment.ts';
import { requireLiveGrant } from '../../domain/allotmentState.ts';
import { job, jobStream } from '../../domain/job.ts';
import type { BoundFirmware, ImageKind } from '../../domain/jobEvents.ts';
import { type CreatedJob, requireBoundFirmware, requireRunningJob, requireSameSite } from '../../domain/jobState.ts';
import { line, lineStream } from '../../domain/line.ts';
import { programmer, programmerStream, requireActiveProgrammer } from '../../domain/programmer.ts';
import { release, releaseStream } from '../../domain/release.ts';
import { NusecError } from '../../errors.ts';
import type { Read } from '../../eventstore/handle.ts';
import { type Condition, type Context, nowIso } from '../base/context.ts';
import { checkCounter } from '../firmware/releases.ts';

/** What has to be so whenever something is decided for a unit, read for that very decision: it is stored only while it is still so. */

/** The firmware a unit gets (I8, I9, RULE-8, RULE-11): bound to its job, still published, not below the floor of its line.
 *  @throws NusecError FIRMWARE_NOT_BOUND, RELEASE_STATE, ROLLBACK, COUNTER_EXHAUSTED, ENCRYPTION_REQUIRED */
export async function requireGivable(read: Read, owner: CreatedJob, image: ImageKind): Promise<BoundFirmware> {
  const bound = requireBoundFirmware(owner, image);
  const known = await read(release, releaseStream(bound.releaseId));
  if (known.status !== 'PUBLISHED') throw new NusecError('RELEASE_STATE', `release ${bound.releaseId} is ${known.status}`);
  const product = await read(line, lineStream(owner.line));
  if (product.status === 'NONE') throw new NusecError('NOT_FOUND', `there is no product line ${owner.line}`);
  if (image === 'bl2') return bound;
  checkCounter(bound.securityCounter, product.rollbackFloor, product.counterMaximum);
  if (product.encryption?.only && bound.bodySha256 !== known.encrypted?.bodySha256) {
    throw new NusecError('ENCRYPTION_REQUIRED', 'the job is bound to a plain image: bind the release again');
  }
  return bound;
}

/** All that a unit of this job gets. @throws NusecError as `requireGivable` */
export async function requireFirmware(read: Read, owner: CreatedJob): Promise<void> {
  for (const image of ['bl2', 'app'] as const) await requireGivable(read, owner, image);
}

/** Whose step it is. */
export type StepOf = { readonly jobId: string; readonly programmer: string; readonly grantId: string; readonly uid: string };

/** Programmer active, job running, both at one site. @throws NusecError PROGRAMMER_NOT_ACTIVE, JOB_NOT_RUNNING, WRONG_SITE */
export async function requireWorking(read: Read, jobId: string, uid: string): Promise<void> {
  const caller = await read(programmer, programmerStream(uid));
  requireActiveProgrammer(caller);
  const running = await read(job, jobStream(jobId));
  requireRunningJob(running);
  requireSameSite(running, caller.shippedTo);
}

/** The same for what only records a finished unit: a suspended job gives nothing more, but what was complete counts.
 *  @throws NusecError PROGRAMMER_NOT_ACTIVE, JOB_NOT_RUNNING, WRONG_SITE */
async function requireFinishing(read: Read, jobId: string, uid: string): Promise<void> {
  const owner = await read(job, jobStream(jobId));
  if (owner.status !== 'SUSPENDED') return requireWorking(read, jobId, uid);
  const caller = await read(programmer, programmerStream(uid));
  requireActiveProgrammer(caller);
  requireSameSite(owner, caller.shippedTo);
}

/** And the grant is live (RULE-5, I12).
 *  @throws NusecError PROGRAMMER_NOT_ACTIVE, JOB_NOT_RUNNING, WRONG_SITE, GRANT_EXPIRED, GRANT_USED, NOT_FOUND, ALLOTMENT_FROZEN */
export const inWork = (ctx: Context, step: StepOf): Condition => whileGranted(ctx, step, requireWorking);

/** The same for the commit. */
export const inFinish = (ctx: Context, step: StepOf): Condition => whileGranted(ctx, step, requireFinishing);

const whileGranted =
  (ctx: Context, { jobId, programmer: uid, grantId, uid: chip }: StepOf, require: typeof requireWorking): Condition =>
  async read => {
    await require(read, jobId, uid);
    requireLiveGrant(await read(allotment, allotmentStream(jobId, uid)), grantId, chip, nowIso(ctx));
  };
