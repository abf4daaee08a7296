import type { Actor, IsoTime } from './actor.ts';
import type { ExportedPackage, LedgerSegment, UnitData } from './allotmentEvents.ts';
import type { ApprovedContent } from './approval.ts';

/** Commands to an allotment (stream `allotment-{job}-{programmer}`, see allotment.ts). */

export type AllotmentCommand =
  | {
      readonly type: 'OpenAllotment';
      readonly jobId: string;
      readonly programmer: string;
      readonly quota: number;
      readonly scrapAllowance: number;
    }
  | { readonly type: 'RaiseAllotment'; readonly quota: number; readonly scrapAllowance: number }
  /** `after`: sequence of the newest package when it was made, 0 when there was none. */
  | ({ readonly type: 'ExportPackage'; readonly after: number } & ExportedPackage)
  | { readonly type: 'ImportPackage'; readonly packageId: string; readonly now: IsoTime }
  | {
      readonly type: 'ReserveUnit';
      readonly uid: string;
      readonly objId: string;
      readonly grantId: string;
      readonly ledgerNumber: number;
      readonly ledgerHead: string;
      /** Facts of other streams, read by the caller. */
      readonly programmerActive: boolean;
      readonly jobRunning: boolean;
      /** `true` also when the job has no UID list. */
      readonly uidListed: boolean;
      /** What the stream of the chip says; default: free. */
      readonly uidUse?: UidUse;
      /** Of the next reservation; `exhausted`: the package has none for it. Absent when the job has none. */
      readonly unitData?: UnitData | 'exhausted';
      readonly now: IsoTime;
    }
  | {
      readonly type: 'RenewGrant';
      readonly grantId: string;
      readonly programmerActive: boolean;
      readonly jobRunning: boolean;
      readonly now: IsoTime;
    }
  | { readonly type: 'CommitUnit'; readonly grantId: string; readonly uid: string; readonly receiptSha256: string; readonly now: IsoTime }
  | { readonly type: 'VoidUnit'; readonly grantId: string; readonly reason: string; readonly otpTouched: boolean }
  | ({ readonly type: 'AcceptLedgerSegment'; readonly previousHash: string } & LedgerSegment)
  | { readonly type: 'FreezeAllotment'; readonly reason: string; readonly by: Actor }
  /** `lifts`: the reason of the freeze that has gone; a share that is frozen for another one by now stays so. */
  | { readonly type: 'ThawAllotment'; readonly lifts: LiftableReason; readonly reason: string; readonly by: Actor }
  /** What one person alone may not thaw. */
  | { readonly type: 'ProposeThaw'; readonly id: string; readonly reason: string; readonly by: Actor; readonly now: IsoTime }
  | {
      readonly type: 'ApproveThaw';
      readonly id: string;
      readonly by: Actor;
      readonly now: IsoTime;
      readonly content?: ApprovedContent;
    }
  /** Either a receipt (with the number of the ledger's last record) or, for a frozen allotment, why there is none. */
  | {
      readonly type: 'CloseAllotment';
      readonly by: Actor;
      readonly zeroise: { readonly receiptSha256: string; readonly ledgerNumber: number } | { readonly missing: string };
    };

/** free: no device, or one that failed before it was built · inUse: another device lives under this UID · ended: its life is over. */
export type UidUse = 'free' | 'inUse' | 'ended';

/** Why a share is frozen for a while. Every other reason is there to stay, and takes the place of these. */
export const liftableReasons = ['cloned-key', 'programmer-suspended'] as const;
export type LiftableReason = (typeof liftableReasons)[number];
