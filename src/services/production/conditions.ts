import { allotment, allotmentStream } from '../../domain/allotment.ts';
import { requireLiveGrant } from '../../domain/allotmentState.ts';
import { job, jobStream } from '../../domain/job.ts';
import { requireRunningJob, requireSameSite } from '../../domain/jobState.ts';
import { programmer, programmerStream, requireActiveProgrammer } from '../../domain/programmer.ts';
import type { Read } from '../../eventstore/handle.ts';
import { type Condition, type Context, nowIso } from '../base/context.ts';

/** What has to be so whenever something is decided for a unit, read for that very decision: it is stored only while it is still so. */

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

/** And the grant is live (RULE-5, I12).
 *  @throws NusecError PROGRAMMER_NOT_ACTIVE, JOB_NOT_RUNNING, WRONG_SITE, GRANT_EXPIRED, GRANT_USED, NOT_FOUND, ALLOTMENT_FROZEN */
export const inWork =
  (ctx: Context, { jobId, programmer: uid, grantId, uid: chip }: StepOf): Condition =>
  async read => {
    await requireWorking(read, jobId, uid);
    requireLiveGrant(await read(allotment, allotmentStream(jobId, uid)), grantId, chip, nowIso(ctx));
  };
