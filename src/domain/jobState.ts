import { withContributor } from './approval.ts';
import { contentText } from './contentText.ts';
import { requireStatus } from './decider.ts';
import type { BoundFirmware, Discrepancy, ImageKind, JobAllotment, JobEvent, JobPlan, JobStatus, UidList } from './jobEvents.ts';
import type { Reconciliation } from './reconciliation.ts';
import { refuse } from './rules.ts';
import { statusAfter, type Walk } from './walk.ts';

/** State of a production job: the fold of its events, its status, its content, and what others require of it. */

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

export type CreatedJob = JobPlan & {
  readonly status: JobStatus;
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

/** What the release of a job approves, as one text: the plan, the firmware, the list of chips and the unit data. Equal texts are equal content. */
export function jobContent({
  jobId,
  line,
  plannedCount,
  scrapAllowance,
  policy,
  site,
  bl2,
  app,
  uidList,
  unitData,
  configWords,
}: CreatedJob): string {
  const plan = [jobId, line, plannedCount, scrapAllowance, policy.requireUidList];
  return contentText([
    ...plan,
    firmwareContent(bl2),
    firmwareContent(app),
    uidList === undefined ? null : [uidList.sha256, uidList.count],
    ...(site === undefined ? [] : [site]),
    ...(configWords === undefined ? [] : [['configuration', ...configWords]]),
    ...(unitData === undefined ? [] : [unitData.map(({ name, series, destination }) => [name, series, destination])]),
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

export function evolveJob(state: JobState, event: JobEvent): JobState {
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
