import type { Actor, IsoTime } from './actor.ts';

/** What happens to an allotment, and the facts in it. */

/** Previous hash of the first ledger record. */
export const ledgerGenesisHex = '00'.repeat(32);

export type Unit = {
  readonly uid: string;
  readonly objId: string;
  readonly grantId: string;
  /** 1, 2, 3 … per allotment: the n of the grant. */
  readonly number: number;
  readonly expiresAt: IsoTime;
  /** Ledger record the request quoted. */
  readonly ledgerNumber: number;
  readonly ledgerHead: string;
  readonly unitData?: UnitData;
};

/** The values that a unit got for itself, as reports show them. `sha256` of the object that the target keeps; absent when nothing is written to it. */
export type UnitData = { readonly values: readonly { readonly name: string; readonly value: string }[]; readonly sha256?: string };

export type ExportedPackage = {
  readonly packageId: string;
  readonly sequence: number;
  /** Epoch of AES_NuLink3 it is encrypted under. */
  readonly epoch: number;
  readonly count: number;
  /** SHA-256 of the file, hex; the file is a blob, so a lost package is exported again byte for byte. */
  readonly sha256: string;
  readonly expiresAt: IsoTime;
  /** Last reservation of the share that the package has unit data for; absent when its job has none. */
  readonly valuesUntil?: number;
};

export type LedgerSegment = {
  /** First and last record number. */
  readonly from: number;
  readonly to: number;
  readonly headHash: string;
  /** Reserve records in the chain up to `to`. */
  readonly counter: number;
};

export type AllotmentEvent =
  | {
      readonly type: 'AllotmentOpened';
      readonly data: { readonly jobId: string; readonly programmer: string; readonly quota: number; readonly scrapAllowance: number };
    }
  | { readonly type: 'AllotmentRaised'; readonly data: { readonly quota: number; readonly scrapAllowance: number } }
  | { readonly type: 'PackageExported'; readonly data: ExportedPackage }
  | { readonly type: 'PackageSuperseded'; readonly data: { readonly packageId: string; readonly supersededBy: string } }
  | { readonly type: 'PackageImported'; readonly data: { readonly packageId: string; readonly sequence: number } }
  | { readonly type: 'UnitReserved'; readonly data: Unit }
  | { readonly type: 'GrantRenewed'; readonly data: { readonly grantId: string; readonly uid: string; readonly expiresAt: IsoTime } }
  /** The chip has a life already; `ledgerNumber` of the signed record that claims it. */
  | {
      readonly type: 'ReservationRefused';
      readonly data: {
        readonly uid: string;
        readonly uidUse: 'inUse' | 'ended';
        readonly ledgerNumber: number;
        readonly at: IsoTime;
      };
    }
  | {
      readonly type: 'UnitCommitted';
      readonly data: { readonly grantId: string; readonly uid: string; readonly objId: string; readonly receiptSha256: string };
    }
  | {
      readonly type: 'UnitVoided';
      readonly data: {
        readonly grantId: string;
        readonly uid: string;
        readonly objId: string;
        readonly reason: string;
        readonly scrapped: boolean;
      };
    }
  | { readonly type: 'LedgerSegmentAccepted'; readonly data: LedgerSegment }
  | { readonly type: 'LedgerGapDetected'; readonly data: LedgerGap }
  | { readonly type: 'AllotmentExhausted'; readonly data: { readonly committed: number; readonly scrapped: number } }
  | { readonly type: 'AllotmentFrozen'; readonly data: { readonly reason: string; readonly by: Actor } }
  /** A share that one person alone cannot thaw: why it should continue, and why it is frozen. */
  | {
      readonly type: 'ThawProposed';
      readonly data: {
        readonly id: string;
        readonly frozenReason: string;
        readonly reason: string;
        readonly by: Actor;
        readonly at?: IsoTime;
      };
    }
  /** `proposedBy` where it took two people. */
  /** `contentSha256`: of the proposal (`thawContent`) that was approved. */
  | {
      readonly type: 'AllotmentThawed';
      readonly data: { readonly reason: string; readonly by: Actor; readonly proposedBy?: Actor; readonly contentSha256?: string };
    }
  | {
      readonly type: 'AllotmentClosed';
      readonly data: { readonly by: Actor; readonly zeroiseReceiptSha256?: string; readonly withoutReceipt?: string };
    };

export type LedgerGap = {
  readonly acceptedNumber: number;
  readonly acceptedHead: string;
  readonly quotedNumber: number;
  readonly quotedHead: string;
};
