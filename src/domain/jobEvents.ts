import type { Actor } from './actor.ts';
import type { Reconciliation } from './reconciliation.ts';

/** Events of a production job (stream `job-{id}`, see job.ts), and what they are about. */

export const jobStatuses = ['DRAFT', 'DEFINED', 'RELEASED', 'RUNNING', 'SUSPENDED', 'CLOSED', 'RECONCILED', 'CANCELLED'] as const;
export type JobStatus = (typeof jobStatuses)[number];

/** What a job may choose of its package's policy; the rest is the same for all. Events of older jobs name the rest too. */
export type JobPolicy = { readonly requireUidList: boolean };

/** A value that each unit gets from a series: `name` as the target and the report have it. `destination` as in production/unitData.ts. */
export type UnitDataField = { readonly name: string; readonly series: string; readonly destination: 'plain' | 'sealed' | 'report' };

/** What is to be built. */
export type JobPlan = {
  readonly jobId: string;
  readonly line: string;
  readonly plannedCount: number;
  readonly scrapAllowance: number;
  readonly policy: JobPolicy;
  /** Of the manufacturer that builds it, as programmers are shipped to it; a job without one is built anywhere. */
  readonly site?: string;
  readonly unitData?: readonly UnitDataField[];
  /** CONFIG0 to CONFIG3 of the chips, see production/configWords.ts. */
  readonly configWords?: readonly number[];
};

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
  /** The image of each unit names its UID: `imageHash` is that of the part that all share, and a unit proves the hash of its own image. */
  readonly uidBound?: boolean;
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
  | { readonly type: 'JobCreated'; readonly data: JobPlan & { readonly createdBy: string } }
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
