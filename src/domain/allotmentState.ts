import { areWithin, minuteMs } from '../times.ts';
import type { IsoTime } from './actor.ts';
import { type AllotmentEvent, type ExportedPackage, type LedgerSegment, ledgerGenesisHex, type Unit } from './allotmentEvents.ts';
import { type BucketMap, emptyBucketMap, getEntry, withEntry, withoutEntry } from './bucketMap.ts';
import { isPast, refuse } from './rules.ts';

/** The fold of an allotment's events, and what is asked of it. */

/** Life of a grant (I12). */
export const grantLifetimeMs = 15 * 60_000;
/** So long after its first expiry a grant can be renewed: a server or a network may be away over a week-end, and the chip cannot help it. */
export const unitLifetimeMs = 7 * 24 * 3_600_000;

/** Kept in the state; a large job has tens of thousands. */
const maxKeptSegments = 32;

/** How many of something since when: a window that begins with the first after the one before has ended. */
type Window = { readonly sinceMs: number; readonly count: number };
const noWindow: Window = { sinceMs: 0, count: 0 };
/** Refusals are counted over this time. */
export const refusalWindowMs = 10 * minuteMs;

export type AllotmentStatus = 'OPEN' | 'READY' | 'EXHAUSTED' | 'FROZEN' | 'CLOSED';

/** What the status of an allotment follows from; the read model keeps the same. */
export type AllotmentStanding = {
  readonly status: AllotmentStatus;
  /** The newest package is in the programmer. */
  readonly isImported: boolean;
  readonly quota: number;
  readonly scrapAllowance: number;
  /** Live reservations. */
  readonly open: number;
  readonly committed: number;
  readonly scrapped: number;
};

/** What an event makes of the status. A closed allotment that is raised waits for a new package.
 *  @param standing the rest of it already is as after the event */
export function allotmentAfter(
  standing: AllotmentStanding,
  { type }: Pick<AllotmentEvent, 'type'>,
): Pick<AllotmentStanding, 'status' | 'isImported'> {
  const isReopened = type === 'AllotmentRaised' && standing.status === 'CLOSED';
  const isImported = type === 'PackageImported' || (standing.isImported && !isReopened);
  return { isImported, status: statusAfter({ ...standing, isImported }, type) };
}

function statusAfter(standing: AllotmentStanding, type: AllotmentEvent['type']): AllotmentStatus {
  const { status } = standing;
  switch (type) {
    case 'AllotmentRaised':
      return status === 'FROZEN' ? status : fromCounts(standing);
    case 'PackageImported':
      return status === 'FROZEN' || status === 'CLOSED' ? status : fromCounts(standing);
    case 'AllotmentThawed':
      return fromCounts(standing);
    case 'AllotmentExhausted':
      return 'EXHAUSTED';
    case 'AllotmentFrozen':
      return 'FROZEN';
    case 'AllotmentClosed':
      return 'CLOSED';
    default:
      return status;
  }
}

function fromCounts(standing: AllotmentStanding): AllotmentStatus {
  if (!standing.isImported) return 'OPEN';
  return standing.open === 0 && remainingOf(standing) === 0 ? 'EXHAUSTED' : 'READY';
}

type Counts = Pick<AllotmentStanding, 'quota' | 'scrapAllowance' | 'open' | 'committed' | 'scrapped'>;

function remainingOf({ quota, scrapAllowance, open, committed, scrapped }: Counts): number {
  const taken = open + committed;
  return Math.max(0, Math.min(quota - taken, quota + scrapAllowance - taken - scrapped));
}

export type OpenedAllotment = {
  readonly status: AllotmentStatus;
  /** The quota rose after the newest package: that package no longer says what may be built. */
  readonly raisedSincePackage: boolean;
  readonly jobId: string;
  readonly programmer: string;
  readonly quota: number;
  readonly scrapAllowance: number;
  /** Grants ever given (R), committed (C), voided (V), of them scrapped (S). */
  readonly reserved: number;
  readonly committed: number;
  readonly voided: number;
  readonly scrapped: number;
  /** Live reservations by grant, and the grant by UID. */
  readonly open: BucketMap<OpenUnit>;
  readonly grantByUid: BucketMap<string>;
  /** What became of every used grant. */
  readonly used: BucketMap<'committed' | 'voided'>;
  readonly packages: readonly (ExportedPackage & { readonly supersededBy?: string })[];
  readonly importedPackageId?: string;
  /** Newest ledger record the server knows of, from a segment or a quote. */
  readonly ledger: { readonly number: number; readonly head: string };
  /** The newest ones that were taken, oldest first: what is before them is found by the hashes of the records. */
  readonly segments: readonly LedgerSegment[];
  readonly ledgerGap: boolean;
  /** Of the last time it was frozen. */
  readonly frozenReason?: string;
  /** The newest one. */
  readonly thawProposal?: ThawProposal;
  readonly zeroised: boolean;
  /** For the limits of rate. */
  readonly grantsInMinute: Window;
  readonly refusalsInWindow: Window;
  readonly lastRefusal?: { readonly uid: string; readonly ledgerNumber: number };
};

/** @property isOver the share has gone on since: what freezes it again is another matter */
export type ThawProposal = Extract<AllotmentEvent, { readonly type: 'ThawProposed' }>['data'] & { readonly isOver?: true };

/** `firstExpiresAt` of a grant that was renewed. */
export type OpenUnit = Unit & { readonly firstExpiresAt?: string };

export type AllotmentState = { readonly status: 'NONE' } | OpenedAllotment;

/** The live reservation of a UID; after `ReserveUnit` (also when it returned `[]`) this is the grant to sign. */
export function liveReservation(state: AllotmentState, uid: string): OpenUnit | undefined {
  if (state.status === 'NONE') return undefined;
  const grantId = getEntry(state.grantByUid, uid);
  return grantId === undefined ? undefined : getEntry(state.open, grantId);
}

/** The live, unexpired grant a request quotes (RULE-5, I12).
 *  @throws NusecError GRANT_USED, GRANT_EXPIRED, NOT_FOUND, ALLOTMENT_FROZEN */
export function requireLiveGrant(state: AllotmentState, grantId: string, uid: string, now: IsoTime): Unit {
  if (state.status === 'NONE') refuse('NOT_FOUND', 'there is no such allotment');
  if (state.status === 'FROZEN') refuse('ALLOTMENT_FROZEN', 'the allotment is frozen');
  if (getEntry(state.used, grantId) !== undefined) refuse('GRANT_USED', 'this grant has been used');
  const unit = getEntry(state.open, grantId);
  if (unit === undefined || unit.uid !== uid) refuse('NOT_FOUND', 'there is no such grant for this UID');
  if (isPast(unit.expiresAt, now)) refuse('GRANT_EXPIRED', `the grant expired at ${unit.expiresAt}`);
  return unit;
}

/** Units that may still be reserved: commits stay within the quota, everything within quota + scrap allowance (I1). */
export function remainingUnits(state: AllotmentState): number {
  return state.status === 'NONE' ? 0 : remainingOf({ ...state, open: state.open.size });
}

/** What has been counted in the window that is open at `now`. */
export const countIn = ({ sinceMs, count }: Window, now: IsoTime, windowMs: number): number =>
  areWithin(windowMs, Date.parse(now), sinceMs) ? count : 0;

const counted = (window: Window, atMs: number, windowMs: number): Window =>
  areWithin(windowMs, atMs, window.sinceMs) ? { ...window, count: window.count + 1 } : { sinceMs: atMs, count: 1 };

export function evolveAllotment(state: AllotmentState, event: AllotmentEvent): AllotmentState {
  if (event.type === 'AllotmentOpened') return opened(event.data);
  if (state.status === 'NONE') return state;
  const { importedPackageId, ...rest } = withFacts(state, event);
  const { status, isImported } = allotmentAfter({ ...rest, open: rest.open.size, isImported: importedPackageId !== undefined }, event);
  return { ...rest, status, ...(isImported && importedPackageId !== undefined && { importedPackageId }) };
}

function withFacts(state: OpenedAllotment, event: AllotmentEvent): OpenedAllotment {
  switch (event.type) {
    case 'AllotmentRaised': {
      const { quota, scrapAllowance } = event.data;
      const zeroised = state.zeroised && state.status !== 'CLOSED';
      return { ...state, quota, scrapAllowance, raisedSincePackage: true, zeroised };
    }
    case 'PackageExported':
      return { ...state, packages: [...state.packages, event.data], raisedSincePackage: false };
    case 'PackageImported':
      return { ...state, importedPackageId: event.data.packageId };
    case 'UnitReserved':
      return withReservation(state, event.data);
    case 'GrantRenewed':
      return withRenewal(state, event.data.grantId, event.data.expiresAt);
    case 'UnitCommitted':
      return withOutcome({ ...state, committed: state.committed + 1 }, event.data, 'committed');
    case 'UnitVoided': {
      const scrapped = state.scrapped + (event.data.scrapped ? 1 : 0);
      return withOutcome({ ...state, voided: state.voided + 1, scrapped }, event.data, 'voided');
    }
    case 'ReservationRefused': {
      const { uid, ledgerNumber, at } = event.data;
      const refusalsInWindow = counted(state.refusalsInWindow, Date.parse(at), refusalWindowMs);
      return { ...state, refusalsInWindow, lastRefusal: { uid, ledgerNumber } };
    }
    case 'LedgerSegmentAccepted':
      return withSegment(state, event.data);
    case 'LedgerGapDetected':
      return { ...state, ledgerGap: true };
    case 'AllotmentFrozen':
      return { ...state, frozenReason: event.data.reason };
    case 'ThawProposed':
      return { ...state, thawProposal: event.data };
    case 'AllotmentThawed': {
      const { thawProposal } = state;
      return { ...state, ledgerGap: false, ...(thawProposal && { thawProposal: { ...thawProposal, isOver: true } }) };
    }
    case 'PackageSuperseded':
      return {
        ...state,
        packages: state.packages.map(each => (each.packageId === event.data.packageId ? { ...each, ...event.data } : each)),
      };
    case 'AllotmentClosed':
      return { ...state, zeroised: event.data.zeroiseReceiptSha256 !== undefined };
    default:
      return state;
  }
}

function opened(data: Extract<AllotmentEvent, { readonly type: 'AllotmentOpened' }>['data']): OpenedAllotment {
  return {
    ...data,
    status: 'OPEN',
    raisedSincePackage: false,
    reserved: 0,
    committed: 0,
    voided: 0,
    scrapped: 0,
    open: emptyBucketMap,
    grantByUid: emptyBucketMap,
    used: emptyBucketMap,
    packages: [],
    ledger: { number: 0, head: ledgerGenesisHex },
    segments: [],
    ledgerGap: false,
    zeroised: false,
    grantsInMinute: noWindow,
    refusalsInWindow: noWindow,
  };
}

function withReservation(state: OpenedAllotment, unit: Unit): OpenedAllotment {
  return {
    ...state,
    reserved: state.reserved + 1,
    open: withEntry(state.open, unit.grantId, unit),
    grantByUid: withEntry(state.grantByUid, unit.uid, unit.grantId),
    ledger: newer(state.ledger, unit.ledgerNumber, unit.ledgerHead),
    grantsInMinute: counted(state.grantsInMinute, Date.parse(unit.expiresAt) - grantLifetimeMs, minuteMs),
  };
}

function withRenewal(state: OpenedAllotment, grantId: string, expiresAt: IsoTime): OpenedAllotment {
  const unit = getEntry(state.open, grantId);
  if (unit === undefined) return state;
  return { ...state, open: withEntry(state.open, grantId, { ...unit, expiresAt, firstExpiresAt: unit.firstExpiresAt ?? unit.expiresAt }) };
}

function withOutcome(
  state: OpenedAllotment,
  unit: { readonly grantId: string; readonly uid: string },
  outcome: 'committed' | 'voided',
): OpenedAllotment {
  return {
    ...state,
    open: withoutEntry(state.open, unit.grantId),
    grantByUid: withoutEntry(state.grantByUid, unit.uid),
    used: withEntry(state.used, unit.grantId, outcome),
  };
}

function withSegment(state: OpenedAllotment, segment: LedgerSegment): OpenedAllotment {
  const segments = [...state.segments.slice(1 - maxKeptSegments), segment];
  return { ...state, segments, ledger: newer(state.ledger, segment.to, segment.headHash) };
}

function newer(ledger: OpenedAllotment['ledger'], number: number, head: string): OpenedAllotment['ledger'] {
  return number > ledger.number ? { number, head } : ledger;
}
