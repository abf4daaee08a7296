import type { Actor } from './actor.ts';
import { type ApprovedContent, requireNoContributor, requireSameContent } from './approval.ts';
import { type Decider, type Of, requireStatus } from './decider.ts';
import type { BoundFirmware, Discrepancy, JobAllotment, JobEvent, JobPlan, UidList, UnitDataField } from './jobEvents.ts';
import { type CreatedJob, evolveJob, type JobState, jobContent, requireOpenForUids } from './jobState.ts';
import type { Reconciliation } from './reconciliation.ts';
import { refuse, requireCount } from './rules.ts';

/** A production job: how many units of which line may be built, with which firmware, by which programmers.
 *  Stream `job-{id}`. The job id is a token of 16 random bytes (R57, RULE-5).
 *  DRAFT → DEFINED → RELEASED → RUNNING ⇄ SUSPENDED → CLOSED → RECONCILED{clean|discrepant};  DRAFT | DEFINED → CANCELLED
 *  DEFINED when bootloader and application are bound, RUNNING with the first allotment. */

/** The facts of a release that the caller reads from its stream. */
export type ReleaseFacts = BoundFirmware & { readonly line: string; readonly status: string };

export type JobCommand =
  | ({ readonly type: 'CreateJob'; readonly by: Actor } & JobPlan)
  | { readonly type: 'BindFirmware'; readonly release: ReleaseFacts; readonly by: Actor }
  | ({ readonly type: 'AttachUidList'; readonly by: Actor } & UidList)
  | { readonly type: 'ReleaseJob'; readonly by: Actor; readonly content?: ApprovedContent }
  /** `count` and `scrapAllowance` are the programmer's totals; a later command may raise them, never lower them. */
  | { readonly type: 'MakeAllotment'; readonly programmer: string; readonly count: number; readonly scrapAllowance: number }
  /** The allotment is closed: what it did not build is free for another programmer. */
  | { readonly type: 'SettleAllotment'; readonly programmer: string; readonly committed: number; readonly scrapped: number }
  | { readonly type: 'SuspendJob'; readonly reason: string; readonly by: Actor }
  /** `ownOnly`: only a suspension that `by` has made. */
  | { readonly type: 'ResumeJob'; readonly by: Actor; readonly ownOnly?: boolean }
  | { readonly type: 'CloseJob'; readonly by: Actor }
  | { readonly type: 'CancelJob'; readonly reason: string; readonly by: Actor }
  | { readonly type: 'ReconcileJob'; readonly reconciliation: Reconciliation; readonly reportSha256: string }
  | { readonly type: 'RecordDiscrepancy'; readonly discrepancy: Discrepancy };

export const jobStream = (jobId: string): string => `job-${jobId}`;

function decide(command: JobCommand, state: JobState): readonly JobEvent[] {
  if (command.type === 'CreateJob') return create(command, state);
  if (state.status === 'NONE') refuse('NOT_FOUND', 'there is no such job');
  switch (command.type) {
    case 'BindFirmware':
      return bindFirmware(command, state);
    case 'AttachUidList':
      return attachUidList(command, state);
    case 'ReleaseJob':
      return release(command, state);
    case 'MakeAllotment':
      return makeAllotment(command, state);
    case 'SettleAllotment':
      return settleAllotment(command, state);
    case 'SuspendJob':
      if (state.status === 'SUSPENDED') return [];
      requireStatus(state, ['RELEASED', 'RUNNING'], 'suspending');
      return [{ type: 'JobSuspended', data: { reason: command.reason, by: command.by } }];
    case 'ResumeJob':
      if (state.status === 'RELEASED' || state.status === 'RUNNING') return [];
      requireStatus(state, ['SUSPENDED'], 'resuming');
      if (command.ownOnly && state.suspendedBy !== command.by) refuse('FORBIDDEN', `${state.suspendedBy} has suspended this job`);
      return [{ type: 'JobResumed', data: { by: command.by } }];
    case 'CloseJob':
      return close(command, state);
    case 'CancelJob':
      if (state.status === 'CANCELLED') return [];
      requireStatus(state, ['DRAFT', 'DEFINED'], 'cancelling');
      return [{ type: 'JobCancelled', data: { by: command.by, reason: command.reason } }];
    case 'ReconcileJob':
      if (state.status === 'RECONCILED' && state.reportSha256 === command.reportSha256) return [];
      requireStatus(state, ['CLOSED'], 'reconciling');
      return [{ type: 'JobReconciled', data: { ...command.reconciliation, reportSha256: command.reportSha256 } }];
    case 'RecordDiscrepancy':
      return recordDiscrepancy(command.discrepancy, state);
  }
}

function create({ type: _, by, ...job }: Of<JobCommand, 'CreateJob'>, state: JobState): readonly JobEvent[] {
  if (state.status !== 'NONE') {
    const same =
      state.line === job.line &&
      state.plannedCount === job.plannedCount &&
      state.scrapAllowance === job.scrapAllowance &&
      state.site === job.site;
    return same && state.createdBy === by ? [] : refuse('CONFLICT', 'this job id is taken');
  }
  requireCount(job.plannedCount, 1, 'the planned count');
  requireCount(job.scrapAllowance, 0, 'the scrap allowance');
  requireDistinct(job.unitData ?? []);
  return [{ type: 'JobCreated', data: { ...job, createdBy: by } }];
}

/** One series in two fields would give a unit, or two, the same value. */
function requireDistinct(unitData: readonly UnitDataField[]): void {
  const isDouble = (['name', 'series'] as const).some(key => new Set(unitData.map(each => each[key])).size < unitData.length);
  if (isDouble) refuse('BAD_REQUEST', 'each name and each series of the unit data stands once');
}

/** Published, not withdrawn, of the same line (I8); another release of the same image replaces the first until the job is released. */
function bindFirmware({ release, by }: Of<JobCommand, 'BindFirmware'>, state: CreatedJob): readonly JobEvent[] {
  const { line, status, ...firmware } = release;
  const before = state[firmware.image];
  if (before?.releaseId === firmware.releaseId && before.bodySha256 === firmware.bodySha256) return [];
  requireStatus(state, ['DRAFT', 'DEFINED'], 'binding firmware');
  if (line !== state.line) refuse('WRONG_PRODUCT', `the release is for line ${line}, the job for ${state.line}`);
  if (status !== 'PUBLISHED') refuse('RELEASE_STATE', `the release is ${status}, not PUBLISHED`);
  return [{ type: 'FirmwareBoundToJob', data: { ...firmware, by } }];
}

function attachUidList({ type: _, ...list }: Of<JobCommand, 'AttachUidList'>, state: CreatedJob): readonly JobEvent[] {
  if (state.uidList?.sha256 === list.sha256) return [];
  requireOpenForUids(state);
  requireCount(list.count, 1, 'the length of the UID list');
  return [{ type: 'UidListAttached', data: list }];
}

/** A look at other content is refused also when the job is released already: the answer must not seem to approve what was seen. */
function release({ by, content }: Of<JobCommand, 'ReleaseJob'>, state: CreatedJob): readonly JobEvent[] {
  if (content !== undefined) requireSameContent(content, jobContent(state));
  if (state.releasedBy !== undefined) return [];
  if (state.status === 'DRAFT') refuse('FIRMWARE_NOT_BOUND', 'a job needs bootloader and application firmware before its release');
  requireStatus(state, ['DEFINED'], 'releasing');
  requireNoContributor(state.contributors, by, 'releasing the job');
  if (state.policy.requireUidList && state.uidList === undefined) refuse('STATE', 'the policy of this job asks for a UID list');
  return [{ type: 'JobReleased', data: { by, ...(content !== undefined && { contentSha256: content.sha256 }) } }];
}

/** I2: the shares of all programmers stay within the plan. A settled share counts what was built; a higher count opens it again. */
function makeAllotment({ programmer, count, scrapAllowance }: Of<JobCommand, 'MakeAllotment'>, state: CreatedJob): readonly JobEvent[] {
  const old = state.allotments.find(allotment => allotment.programmer === programmer);
  if (old !== undefined && !old.settled && old.count === count && old.scrapAllowance === scrapAllowance) return [];
  requireStatus(state, ['RELEASED', 'RUNNING'], 'an allotment');
  requireCount(count, 1, 'the count');
  requireCount(scrapAllowance, 0, 'the scrap allowance');
  if (old?.settled && count <= old.count)
    refuse('STATE', 'the allotment of this programmer is closed: it takes a higher count to open it again');
  if (old !== undefined && (count < old.count || scrapAllowance < old.scrapAllowance)) refuse('STATE', 'an allotment is never lowered');
  const others = state.allotments.filter(allotment => allotment.programmer !== programmer);
  if (total(others, 'count') + count > state.plannedCount) {
    refuse('COUNT_OVER_PLAN', `the job plans ${state.plannedCount} units, ${total(others, 'count')} are allotted to other programmers`);
  }
  if (total(others, 'scrapAllowance') + scrapAllowance > state.scrapAllowance) {
    refuse('COUNT_OVER_PLAN', `the job allows ${state.scrapAllowance} scrapped units`);
  }
  return [{ type: 'AllotmentMade', data: { programmer, count, scrapAllowance } }];
}

function total(allotments: readonly JobAllotment[], field: 'count' | 'scrapAllowance'): number {
  return allotments.reduce((sum, allotment) => sum + allotment[field], 0);
}

function settleAllotment({ programmer, committed, scrapped }: Of<JobCommand, 'SettleAllotment'>, state: CreatedJob): readonly JobEvent[] {
  const allotment = state.allotments.find(candidate => candidate.programmer === programmer);
  if (allotment === undefined) refuse('NOT_FOUND', 'this programmer has no allotment of this job');
  if (allotment.settled) return [];
  if (committed > allotment.count) refuse('COUNT_OVER_PLAN', 'more units were committed than allotted');
  requireStatus(state, ['RUNNING', 'SUSPENDED'], 'settling an allotment');
  return [{ type: 'AllotmentSettled', data: { programmer, committed, scrapped } }];
}

/** Every allotment is settled first: units terminal, last ledger segment and zeroise receipt are its own conditions. */
function close({ by }: Of<JobCommand, 'CloseJob'>, state: CreatedJob): readonly JobEvent[] {
  if (state.status === 'CLOSED' || state.status === 'RECONCILED') return [];
  requireStatus(state, ['RELEASED', 'RUNNING', 'SUSPENDED'], 'closing');
  const open = state.allotments.filter(allotment => !allotment.settled);
  if (open.length > 0) refuse('STATE', `${open.length} allotments are still open`);
  return [{ type: 'JobClosed', data: { by } }];
}

function recordDiscrepancy(discrepancy: Discrepancy, state: CreatedJob): readonly JobEvent[] {
  const known = state.discrepancies.some(
    ({ kind, programmer, uid }) => kind === discrepancy.kind && programmer === discrepancy.programmer && uid === discrepancy.uid,
  );
  if (known) return [];
  if (['DRAFT', 'DEFINED', 'CANCELLED'].includes(state.status)) refuse('STATE', 'nothing has been built for this job');
  return [{ type: 'JobDiscrepancyFound', data: discrepancy }];
}

export const job: Decider<JobCommand, JobState, JobEvent> = { initialState: { status: 'NONE' }, decide, evolve: evolveJob };
