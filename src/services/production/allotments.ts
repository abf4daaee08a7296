import type { Actor } from '../../domain/actor.ts';
import { allotment, allotmentStream } from '../../domain/allotment.ts';
import type { AllotmentState } from '../../domain/allotmentState.ts';
import { job, jobStream } from '../../domain/job.ts';
import { type CreatedJob, requireSameSite } from '../../domain/jobState.ts';
import { programmerStream, programmer as programmers, requireUsableProgrammer } from '../../domain/programmer.ts';
import { type Condition, type Context, execute, executeIf, stateOf } from '../base/context.ts';
import { jobOf } from './jobs.ts';

/** Allotments: what of a job each programmer may build. */

export type Share = { readonly programmer: string; readonly count: number; readonly scrapAllowance?: number | undefined };

/** A programmer's share, new or raised. The job keeps the plan (I2), the allotment counts; what was cut off between the two is finished
 *  by the same call again. @throws NusecError NOT_FOUND, COUNT_OVER_PLAN, STATE, PROGRAMMER_NOT_ACTIVE (suspended, stolen, given up),
 *  WRONG_SITE */
export async function allot(ctx: Context, jobId: string, { programmer, count, scrapAllowance = 0 }: Share, by: Actor): Promise<CreatedJob> {
  const usable: Condition = async read => {
    const state = await read(programmers, programmerStream(programmer));
    requireUsableProgrammer(state);
    // A share may be planned before the programmer is shipped; the units are asked again.
    if (state.shippedTo !== undefined) requireSameSite(await read(job, jobStream(jobId)), state.shippedTo);
  };
  await executeIf(ctx, usable, job, jobStream(jobId), { type: 'MakeAllotment', programmer, count, scrapAllowance }, by);
  const stream = allotmentStream(jobId, programmer);
  const isNew = (await allotmentOf(ctx, jobId, programmer)).status === 'NONE';
  if (isNew) await execute(ctx, allotment, stream, { type: 'OpenAllotment', jobId, programmer, quota: count, scrapAllowance }, by);
  else await execute(ctx, allotment, stream, { type: 'RaiseAllotment', quota: count, scrapAllowance }, by);
  return jobOf(ctx, jobId);
}

export const allotmentOf = (ctx: Context, jobId: string, programmer: string): Promise<AllotmentState> =>
  stateOf(ctx, allotment, allotmentStream(jobId, programmer));
