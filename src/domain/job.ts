import type { Actor } from './actor.ts';
import { type ApprovedContent, requireNoContributor, requireSameContent, withContributor } from './approval.ts';
import { type Decider, type Of, requireStatus } from './decider.ts';
import type { Reconciliation } from './reconciliation.ts';
import { refuse, requireCount } from './rules.ts';
import { statusAfter, type Walk } from './walk.ts';

/** A production job: how many units of which line may be built, with which firmware, by which programmers.
 *  Stream `job-{id}`. The job id is a token of 16 random bytes (R57, RULE-5).
 *  DRAFT → DEFINED → RELEASED → RUNNING ⇄ SUSPENDED → CLOSED → RECONCILED{clean|discrepant};  DRAFT | DEFINED → CANCELLED
 *  DEFINED when bootloader and application are bound, RUNNING with the first allotment. */

/** What a job may choose of its package's policy; the rest is the same for all. Events of older jobs name the rest too. */
export type JobPolicy = { readonly requireUidList: boolean };

export type ImageKind = 'bl2' | 'app';

/** What a job keeps of a release: enough to build the package and to judge a request for firmware. */
export type BoundFirmware = {
  readonly releaseId: string;
  readonly image: ImageKind;
  readonly version: string;
  readonly securityCounter: number;
  readonly imageHash: string;
  readonly bodySha256: string;
  readonly size: number;
};

/** The chips that may be built. `merkleRoot` of the tree over them, 64 hex; lists of older jobs do not name it. */
export type UidList = { readonly sha256: string; readonly count: number; readonly merkleRoot?: string };

/** One programmer's share. `settled` = its allotment is closed and `count` is what it really built. */
export type JobAllotment = {
  readonly programmer: string;
  readonly count: number;
  readonly scrapAllowance: number;
  readonly settled: boolean;
};

export type DiscrepancyKind = Reconciliation['findings'][number]['kind'];

export type JobEvent =
  | {
      readonly type: 'JobCreated';
      readonly data: {
        readonly jobId: string;
        readonly line: string;
        readonly plannedCount: number;
        readonly scrapAllowance: number;
        readonly policy: JobPolicy;
        /** Of the manufacturer that builds it, as programmers are shipped to it; a job without one is built anywhere. */
        readonly site?: string;
        readonly createdBy: string;
      };
    }
  | { readonly type: 'FirmwareBoundToJob'; readonly data: BoundFirmware & { readonly by?: Actor } }
  | { readonly type: 'UidListAttached'; readonly data: UidList & { readonly by?: Actor } }
  /** `contentSha256`: SHA-256 of the content (`jobContent`) that was approved. */
  | { readonly type: 'JobReleased'; readonly data: { readonly by: Actor; readonly contentSha256?: string } }
  | {
      readonly type: 'AllotmentMade';
      readonly data: { readonly programmer: string; readonly count: number; readonly scrapAllowance: number };
    }
  | {
      readonly type: 'AllotmentSettled';
      readonly data: { readonly programmer: string; readonly committed: number; readonly scrapped: number };
    }
  | { readonly type: 'JobSuspended'; readonly data: { readonly reason: string; readonly by: Actor } }
  | { readonly type: 'JobResumed'; readonly data: { readonly by: Actor } }
  | { readonly type: 'JobClosed'; readonly data: { readonly by: Actor } }
  | { readonly type: 'JobCancelled'; readonly data: { readonly by: Actor; readonly reason: string } }
  | { readonly type: 'JobReconciled'; readonly data: Reconciliation & { readonly reportSha256: string } }
  | { readonly type: 'JobDiscrepancyFound'; readonly data: Discrepancy };

export type Discrepancy = {
  readonly kind: DiscrepancyKind;
  readonly programmer?: string;
  readonly uid?: string;
  readonly detail: string;
};

/** The facts of a release that the caller reads from its stream. */
export type ReleaseFacts = BoundFirmware & { readonly line: string; readonly status: string };

export type JobCommand =
  | {
      readonly type: 'CreateJob';
      readonly jobId: string;
      readonly line: string;
      readonly plannedCount: number;
      readonly scrapAllowance: number;
      readonly policy: JobPolicy;
      readonly site?: string;
      readonly by: Actor;
    }
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

export const jobStatuses = ['DRAFT', 'DEFINED', 'RELEASED', 'RUNNING', 'SUSPENDED', 'CLOSED', 'RECONCILED', 'CANCELLED'] as const;
export type JobStatus = (typeof jobStatuses)[number];

/** What the status of a job follows from; the read model keeps the same. */
export type JobStanding = {
  readonly status: JobStatus;
  readonly isBound: { readonly [Kind in ImageKind]: boolean };
  readonly isAllotted: boolean;
};

/** The status after an event. @param after the rest of the standing already is what the event makes it */
export function jobStatusAfter(after: JobStanding, { type }: Pick<JobEvent, 'type'>): JobStatus {
  if (type === 'FirmwareBoundToJob') return after.isBound.bl2 && after.isBound.app ? 'DEFINED' : 'DRAFT';
  if (type === 'JobResumed') return after.isAllotted ? 'RUNNING' : 'RELEASED';
  return statusAfter(jobWalk, after.status, type);
}

const jobWalk: Walk<JobEvent, JobStatus> = {
  JobReleased: 'RELEASED',
  AllotmentMade: 'RUNNING',
  JobSuspended: 'SUSPENDED',
  JobClosed: 'CLOSED',
  JobCancelled: 'CANCELLED',
  JobReconciled: 'RECONCILED',
};

export type CreatedJob = {
  readonly status: JobStatus;
  readonly jobId: string;
  readonly line: string;
  readonly plannedCount: number;
  readonly scrapAllowance: number;
  readonly policy: JobPolicy;
  readonly site?: string;
  readonly createdBy: string;
  /** Everybody who had a part in the draft: none of them releases it. */
  readonly contributors: readonly string[];
  readonly releasedBy?: string;
  readonly suspendedBy?: string;
  readonly bl2?: BoundFirmware;
  readonly app?: BoundFirmware;
  readonly uidList?: UidList;
  readonly allotments: readonly JobAllotment[];
  readonly discrepancies: readonly Discrepancy[];
  readonly verdict?: Reconciliation['verdict'];
  readonly reportSha256?: string;
};

export type JobState = { readonly status: 'NONE' } | CreatedJob;

export const jobStream = (jobId: string): string => `job-${jobId}`;

/** What the release of a job approves, as one text: the plan, the firmware and the list of chips. Equal texts are equal content. */
export function jobContent({ jobId, line, plannedCount, scrapAllowance, policy, site, bl2, app, uidList }: CreatedJob): string {
  const plan = [jobId, line, plannedCount, scrapAllowance, policy.requireUidList];
  return JSON.stringify([
    ...plan,
    firmwareContent(bl2),
    firmwareContent(app),
    uidList === undefined ? null : [uidList.sha256, uidList.count],
    ...(site === undefined ? [] : [site]),
  ]);
}

function firmwareContent(firmware: BoundFirmware | undefined) {
  if (firmware === undefined) return null;
  const { releaseId, image, version, securityCounter, imageHash, bodySha256, size } = firmware;
  return [releaseId, image, version, securityCounter, imageHash, bodySha256, size];
}

/** @throws NusecError JOB_NOT_RUNNING unless units may be built now */
export function requireRunningJob(state: JobState): asserts state is CreatedJob & { readonly status: 'RUNNING' } {
  requireStatus(state, ['RUNNING'], 'building units', 'JOB_NOT_RUNNING');
}

/** Asked before a long list is read. @throws NusecError STATE when the job takes no list any more */
export const requireOpenForUids = (state: JobState): void => requireStatus(state, ['DRAFT', 'DEFINED'], 'attaching a UID list');

/** A job that names a site is built there. @param site where the programmer is; undefined before it was shipped
 *  @throws NusecError WRONG_SITE */
export function requireSameSite(state: JobState, site: string | undefined): void {
  if (state.status === 'NONE' || state.site === undefined || state.site === site) return;
  refuse('WRONG_SITE', `the job is built at ${state.site}, the programmer is ${site === undefined ? 'not shipped' : `at ${site}`}`);
}

/** The firmware a unit of this job gets (I8, RULE-8).
 *  @throws NusecError FIRMWARE_NOT_BOUND */
export function requireBoundFirmware(state: JobState, image: ImageKind): BoundFirmware {
  const bound = state.status === 'NONE' ? undefined : state[image];
  return bound ?? refuse('FIRMWARE_NOT_BOUND', `no ${image} firmware is bound to this job`);
}

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
  return [{ type: 'JobCreated', data: { ...job, createdBy: by } }];
}

/** Published, not withdrawn, of the same line (I8); another release of the same image replaces the first until the job is released. */
function bindFirmware({ release, by }: Of<JobCommand, 'BindFirmware'>, state: CreatedJob): readonly JobEvent[] {
  const { line, status, ...firmware } = release;
  if (state[firmware.image]?.releaseId === firmware.releaseId) return [];
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

function evolve(state: JobState, event: JobEvent): JobState {
  if (event.type === 'JobCreated') {
    return { ...event.data, status: 'DRAFT', contributors: [event.data.createdBy], allotments: [], discrepancies: [] };
  }
  if (state.status === 'NONE') return state;
  const after = withFacts(state, event);
  const isBound = { bl2: after.bl2 !== undefined, app: after.app !== undefined };
  const standing = { status: after.status, isBound, isAllotted: after.allotments.length > 0 };
  return { ...after, status: jobStatusAfter(standing, event) };
}

function withFacts(state: CreatedJob, event: JobEvent): CreatedJob {
  switch (event.type) {
    case 'FirmwareBoundToJob': {
      const { by, ...firmware } = event.data;
      return { ...state, [firmware.image]: firmware, contributors: withContributor(state.contributors, by) };
    }
    case 'UidListAttached': {
      const { by, ...uidList } = event.data;
      return { ...state, uidList, contributors: withContributor(state.contributors, by) };
    }
    case 'JobReleased':
      return { ...state, releasedBy: event.data.by };
    case 'JobSuspended':
      return { ...state, suspendedBy: event.data.by };
    case 'AllotmentMade':
      return withAllotment(state, { ...event.data, settled: false });
    case 'AllotmentSettled': {
      const { programmer, committed, scrapped } = event.data;
      return withAllotment(state, { programmer, count: committed, scrapAllowance: scrapped, settled: true });
    }
    case 'JobReconciled':
      return { ...state, verdict: event.data.verdict, reportSha256: event.data.reportSha256 };
    case 'JobDiscrepancyFound':
      return { ...state, discrepancies: [...state.discrepancies, event.data] };
    default:
      return state;
  }
}

function withAllotment(state: CreatedJob, allotment: JobAllotment): CreatedJob {
  const others = state.allotments.filter(candidate => candidate.programmer !== allotment.programmer);
  return { ...state, allotments: [...others, allotment] };
}

export const job: Decider<JobCommand, JobState, JobEvent> = { initialState: { status: 'NONE' }, decide, evolve };
