import type { Actor } from '../../domain/actor.ts';
import { allotment, allotmentStream, thawContent, thawProposalOf } from '../../domain/allotment.ts';
import type { AllotmentState, ThawProposal } from '../../domain/allotmentState.ts';
import { job, jobStream } from '../../domain/job.ts';
import { type CreatedJob, requireSameSite } from '../../domain/jobState.ts';
import { programmerStream, programmer as programmers, requireUsableProgrammer } from '../../domain/programmer.ts';
import { isWaiting } from '../../domain/proposals.ts';
import { NusecError } from '../../errors.ts';
import { type Approval, approve } from '../base/approval.ts';
import { type Condition, type Context, execute, executeIf, newHexId, nowIso, stateOf } from '../base/context.ts';
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

/** Proposes to thaw a share, for whatever reason it is frozen. @returns id for the second person @throws NusecError NOT_FOUND, STATE */
export async function proposeThaw(ctx: Context, jobId: string, programmer: string, reason: string, by: Actor): Promise<string> {
  const id = newHexId(ctx);
  await execute(ctx, allotment, allotmentStream(jobId, programmer), { type: 'ProposeThaw', id, reason, by, now: nowIso(ctx) }, by);
  return id;
}

export type ThawPlace = { readonly jobId: string; readonly programmer: string; readonly id: string };

/** @throws NusecError NOT_FOUND */
export async function thawProposal(ctx: Context, { jobId, programmer, id }: ThawPlace): Promise<ThawProposal> {
  return thawProposalOf(await allotmentOf(ctx, jobId, programmer), id);
}

/** The one that waits for a second person, or none. @throws NusecError NOT_FOUND (no such share) */
export async function waitingThaws(ctx: Context, jobId: string, programmer: string): Promise<readonly ThawProposal[]> {
  const state = await allotmentOf(ctx, jobId, programmer);
  if (state.status === 'NONE') throw new NusecError('NOT_FOUND', 'this programmer has no share of the job');
  const { status, thawProposal: newest } = state;
  return newest === undefined || newest.isOver || status !== 'FROZEN' || !isWaiting(newest.at, nowIso(ctx)) ? [] : [newest];
}

/** @throws NusecError NOT_FOUND, FOUR_EYES_REQUIRED, CONFLICT (not what was seen, or it is frozen for another reason by now) */
export async function approveThaw(ctx: Context, place: ThawPlace, by: Actor, approval?: Approval): Promise<void> {
  const { jobId, programmer, id } = place;
  await approve(
    ctx,
    {
      decider: allotment,
      stream: allotmentStream(jobId, programmer),
      content: async () => thawContent(await thawProposal(ctx, place)),
      command: content => ({ type: 'ApproveThaw' as const, id, by, now: nowIso(ctx), content }),
    },
    by,
    approval,
  );
}

/** Whether the package of a programmer was replaced: then it is not to be imported any more (silence 7, I13).
 *  @throws NusecError NOT_FOUND: no such package was made for it */
export async function isSuperseded(ctx: Context, jobId: string, programmer: string, packageId: string): Promise<boolean> {
  const state = await allotmentOf(ctx, jobId, programmer);
  const known = state.status === 'NONE' ? undefined : state.packages.find(each => each.packageId === packageId);
  if (known === undefined) throw new NusecError('NOT_FOUND', 'no such package was made for this programmer');
  return known.supersededBy !== undefined;
}

export const allotmentOf = (ctx: Context, jobId: string, programmer: string): Promise<AllotmentState> =>
  stateOf(ctx, allotment, allotmentStream(jobId, programmer));
