/** The counter: how many units of a job one programmer may still build (RULE-4, T1).
 *  Stream `allotment-{job}-{programmer}`. Reserve first, commit or void after.
 *  OPEN → READY (package imported) ⇄ EXHAUSTED | FROZEN → CLOSED;  CLOSED with a receipt → OPEN (raised)
 *  Ledger: one hash-linked chain of records per allotment, numbered from 1; `counter` counts its reserve records. */

import { type BucketMap, emptyBucketMap, entriesOf, getEntry, withEntry, withoutEntry } from './bucketMap.ts';
import { type Decider, requireStatus } from './decider.ts';
import { isPast, refuse, requireCount, timeAfter } from './rules.ts';

/** Life of a grant (I12). */
const grantLifetimeMs = 15 * 60_000;

/** Reservations one programmer may hold at a time: a gang programmer has 16 sockets, the rest is room for retries (T24). */
export const maxOpenReservations = 64;

/** Previous hash of the first ledger record. */
export const ledgerGenesisHex = '00'.repeat(32);

export type Unit = {
  readonly uid: string;
  readonly objId: string;
  readonly grantId: string;
  /** 1, 2, 3 … per allotment: the n of the grant. */
  readonly number: number;
  readonly expiresAt: string;
  /** Ledger record the request quoted. */
  readonly ledgerNumber: number;
  readonly ledgerHead: string;
};

export type ExportedPackage = {
  readonly packageId: string;
  readonly sequence: number;
  /** Epoch of AES_NuLink3 it is encrypted under. */
  readonly epoch: number;
  readonly count: number;
  /** SHA-256 of the file, hex; the file is a blob, so a lost package is exported again byte for byte. */
  readonly sha256: string;
  readonly expiresAt: string;
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
  | { readonly type: 'AllotmentFrozen'; readonly data: { readonly reason: string; readonly by: string } }
  | { readonly type: 'AllotmentThawed'; readonly data: { readonly reason: string; readonly by: string } }
  | {
      readonly type: 'AllotmentClosed';
      readonly data: { readonly by: string; readonly zeroiseReceiptSha256?: string; readonly withoutReceipt?: string };
    };

export type LedgerGap = {
  readonly acceptedNumber: number;
  readonly acceptedHead: string;
  readonly quotedNumber: number;
  readonly quotedHead: string;
};

export type AllotmentCommand =
  | {
      readonly type: 'OpenAllotment';
      readonly jobId: string;
      readonly programmer: string;
      readonly quota: number;
      readonly scrapAllowance: number;
    }
  | { readonly type: 'RaiseAllotment'; readonly quota: number; readonly scrapAllowance: number }
  | ({ readonly type: 'ExportPackage' } & ExportedPackage)
  | { readonly type: 'ImportPackage'; readonly packageId: string; readonly now: string }
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
      readonly now: string;
    }
  | { readonly type: 'CommitUnit'; readonly grantId: string; readonly uid: string; readonly receiptSha256: string; readonly now: string }
  | { readonly type: 'VoidUnit'; readonly grantId: string; readonly reason: string; readonly otpTouched: boolean }
  | ({ readonly type: 'AcceptLedgerSegment'; readonly previousHash: string } & LedgerSegment)
  | { readonly type: 'FreezeAllotment'; readonly reason: string; readonly by: string }
  | { readonly type: 'ThawAllotment'; readonly reason: string; readonly by: string }
  /** Either a receipt (with the number of the ledger's last record) or, for a frozen allotment, why there is none. */
  | {
      readonly type: 'CloseAllotment';
      readonly by: string;
      readonly zeroise: { readonly receiptSha256: string; readonly ledgerNumber: number } | { readonly missing: string };
    };

export type OpenedAllotment = {
  readonly status: 'OPEN' | 'READY' | 'EXHAUSTED' | 'FROZEN' | 'CLOSED';
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
  readonly open: BucketMap<Unit>;
  readonly grantByUid: BucketMap<string>;
  /** What became of every used grant. */
  readonly used: BucketMap<'committed' | 'voided'>;
  readonly packages: readonly ExportedPackage[];
  readonly importedPackageId?: string;
  /** Newest ledger record the server knows of, from a segment or a quote. */
  readonly ledger: { readonly number: number; readonly head: string };
  readonly segments: readonly LedgerSegment[];
  readonly ledgerGap: boolean;
  readonly zeroised: boolean;
};

export type AllotmentState = { readonly status: 'NONE' } | OpenedAllotment;

export const allotmentStream = (jobId: string, programmer: string): string => `allotment-${jobId}-${programmer}`;

/** The live reservation of a UID; after `ReserveUnit` (also when it returned `[]`) this is the grant to sign. */
export function liveReservation(state: AllotmentState, uid: string): Unit | undefined {
  if (state.status === 'NONE') return undefined;
  const grantId = getEntry(state.grantByUid, uid);
  return grantId === undefined ? undefined : getEntry(state.open, grantId);
}

/** Reservations whose grant has expired at `now`: to be voided by the sweep. */
export function expiredReservations(state: AllotmentState, now: string): readonly Unit[] {
  if (state.status === 'NONE') return [];
  return entriesOf(state.open).flatMap(([, unit]) => (isPast(unit.expiresAt, now) ? [unit] : []));
}

/** The live, unexpired grant a request quotes (RULE-5, I12).
 *  @throws NusecError GRANT_USED, GRANT_EXPIRED, NOT_FOUND, ALLOTMENT_FROZEN */
export function requireLiveGrant(state: AllotmentState, grantId: string, uid: string, now: string): Unit {
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
  if (state.status === 'NONE') return 0;
  const taken = state.open.size + state.committed;
  return Math.max(0, Math.min(state.quota - taken, state.quota + state.scrapAllowance - taken - state.scrapped));
}

function decide(command: AllotmentCommand, state: AllotmentState): readonly AllotmentEvent[] {
  if (command.type === 'OpenAllotment') return open(command, state);
  if (state.status === 'NONE') refuse('NOT_FOUND', 'there is no such allotment');
  switch (command.type) {
    case 'RaiseAllotment':
      return raise(command, state);
    case 'ExportPackage':
      return exportPackage(command, state);
    case 'ImportPackage':
      return importPackage(command, state);
    case 'ReserveUnit':
      return reserve(command, state);
    case 'CommitUnit':
      return commit(command, state);
    case 'VoidUnit':
      return voidUnit(command, state);
    case 'AcceptLedgerSegment':
      return acceptSegment(command, state);
    case 'FreezeAllotment':
      if (state.status === 'FROZEN') return [];
      requireStatus(state, ['OPEN', 'READY', 'EXHAUSTED'], 'freezing');
      return [{ type: 'AllotmentFrozen', data: { reason: command.reason, by: command.by } }];
    case 'ThawAllotment':
      if (state.status !== 'FROZEN' && state.status !== 'CLOSED') return [];
      requireStatus(state, ['FROZEN'], 'thawing');
      return [{ type: 'AllotmentThawed', data: { reason: command.reason, by: command.by } }];
    case 'CloseAllotment':
      return close(command, state);
  }
}

type Of<Type extends AllotmentCommand['type']> = Extract<AllotmentCommand, { readonly type: Type }>;

function open({ type: _, ...data }: Of<'OpenAllotment'>, state: AllotmentState): readonly AllotmentEvent[] {
  if (state.status !== 'NONE') {
    return state.quota === data.quota && state.scrapAllowance === data.scrapAllowance ? [] : refuse('CONFLICT', 'this allotment is open');
  }
  requireCount(data.quota, 1, 'the quota');
  requireCount(data.scrapAllowance, 0, 'the scrap allowance');
  return [{ type: 'AllotmentOpened', data }];
}

function raise({ quota, scrapAllowance }: Of<'RaiseAllotment'>, state: OpenedAllotment): readonly AllotmentEvent[] {
  if (state.quota === quota && state.scrapAllowance === scrapAllowance) return [];
  requireNotFrozen(state);
  if (state.status === 'CLOSED') requireReopening(quota, scrapAllowance, state);
  else {
    requireCount(quota, state.quota, 'the quota');
    requireCount(scrapAllowance, state.scrapAllowance, 'the scrap allowance');
  }
  return [{ type: 'AllotmentRaised', data: { quota, scrapAllowance } }];
}

/** More units for a programmer that has given up the rest: what was built counts, and only a new package opens it (silence 7). */
function requireReopening(quota: number, scrapAllowance: number, state: OpenedAllotment): void {
  if (!state.zeroised) refuse('STATE', 'the allotment was closed without a zeroise receipt');
  requireCount(quota, state.committed + 1, 'the quota');
  requireCount(scrapAllowance, state.scrapped, 'the scrap allowance');
}

/** I13: a new package has a higher sequence and supersedes the one before. */
function exportPackage({ type: _, ...data }: Of<'ExportPackage'>, state: OpenedAllotment): readonly AllotmentEvent[] {
  const newest = state.packages.at(-1);
  if (newest?.packageId === data.packageId && newest.sha256 === data.sha256) return [];
  requireNotFrozen(state);
  requireStatus(state, ['OPEN', 'READY', 'EXHAUSTED'], 'exporting a package');
  if (data.sequence <= (newest?.sequence ?? 0)) refuse('PACKAGE_REPLAYED', 'the sequence of a package must rise');
  if (data.count > state.quota) refuse('COUNT_OVER_PLAN', `the package counts ${data.count} units, the allotment ${state.quota}`);
  const exported: AllotmentEvent = { type: 'PackageExported', data };
  if (newest === undefined) return [exported];
  return [exported, { type: 'PackageSuperseded', data: { packageId: newest.packageId, supersededBy: data.packageId } }];
}

/** The programmer's signed acknowledgement, already verified. Only the newest package is accepted (R62, T3). */
function importPackage({ packageId, now }: Of<'ImportPackage'>, state: OpenedAllotment): readonly AllotmentEvent[] {
  if (state.importedPackageId === packageId) return [];
  requireNotFrozen(state);
  requireStatus(state, ['OPEN', 'READY', 'EXHAUSTED'], 'importing a package');
  const exported = state.packages.find(candidate => candidate.packageId === packageId);
  if (exported === undefined) refuse('PACKAGE_REFUSED', 'this package was not exported for this allotment');
  if (exported.sequence !== state.packages.at(-1)?.sequence) refuse('PACKAGE_REPLAYED', 'a newer package supersedes this one');
  if (isPast(exported.expiresAt, now)) refuse('PACKAGE_EXPIRED', `the package expired at ${exported.expiresAt}`);
  return [{ type: 'PackageImported', data: { packageId, sequence: exported.sequence } }];
}

/** One grant per live UID: the same request gives the same grant. A request that quotes an older ledger than the server has seen
 *  comes from restored flash (T2): the gap is recorded and the allotment frozen; the caller answers LEDGER_GAP. */
function reserve(command: Of<'ReserveUnit'>, state: OpenedAllotment): readonly AllotmentEvent[] {
  if (!command.programmerActive) refuse('PROGRAMMER_NOT_ACTIVE', 'only an active programmer reserves');
  if (!command.jobRunning) refuse('JOB_NOT_RUNNING', 'the job is not running');
  requireNotFrozen(state);
  const live = liveReservation(state, command.uid);
  if (live !== undefined && live.ledgerNumber === command.ledgerNumber && live.ledgerHead === command.ledgerHead) {
    return sameGrant(live, command.now);
  }
  const gap = ledgerGap(command.ledgerNumber, command.ledgerHead, state);
  if (gap !== undefined) return gap;
  if (live !== undefined) return sameGrant(live, command.now);
  return newGrant(command, state);
}

function sameGrant(live: Unit, now: string): readonly AllotmentEvent[] {
  if (isPast(live.expiresAt, now)) refuse('GRANT_EXPIRED', 'the grant of this UID has expired and waits to be voided');
  return [];
}

function newGrant(command: Of<'ReserveUnit'>, state: OpenedAllotment): readonly AllotmentEvent[] {
  if (!command.uidListed) refuse('UID_NOT_LISTED', 'this UID is not on the list of the job');
  if (state.status === 'EXHAUSTED') refuse('COUNT_EXHAUSTED', 'the count of this allotment is used up');
  requireStatus(state, ['READY'], 'reserving');
  if (state.open.size >= maxOpenReservations) refuse('RATE_LIMITED', `at most ${maxOpenReservations} reservations may be open`);
  if (remainingUnits(state) === 0) refuse('COUNT_EXHAUSTED', 'the count of this allotment is used up');
  const { uid, objId, grantId, ledgerNumber, ledgerHead, now } = command;
  if (getEntry(state.used, grantId) !== undefined || getEntry(state.open, grantId) !== undefined) {
    refuse('GRANT_USED', 'this grant id has been used');
  }
  const expiresAt = timeAfter(now, grantLifetimeMs);
  return [{ type: 'UnitReserved', data: { uid, objId, grantId, number: state.reserved + 1, expiresAt, ledgerHead, ledgerNumber } }];
}

function ledgerGap(quotedNumber: number, quotedHead: string, state: OpenedAllotment): readonly AllotmentEvent[] | undefined {
  const { number: acceptedNumber, head: acceptedHead } = state.ledger;
  if (quotedNumber > acceptedNumber || (quotedNumber === acceptedNumber && quotedHead === acceptedHead)) return undefined;
  return [
    { type: 'LedgerGapDetected', data: { acceptedNumber, acceptedHead, quotedNumber, quotedHead } },
    { type: 'AllotmentFrozen', data: { reason: 'ledger-gap', by: 'system:allotment' } },
  ];
}

function commit({ grantId, uid, receiptSha256, now }: Of<'CommitUnit'>, state: OpenedAllotment): readonly AllotmentEvent[] {
  if (getEntry(state.used, grantId) === 'committed') return [];
  const unit = requireLiveGrant(state, grantId, uid, now);
  return withExhaustion(state, { type: 'UnitCommitted', data: { grantId, uid, objId: unit.objId, receiptSha256 } });
}

/** The count comes back unless OTP was touched; a scrapped unit counts against the scrap allowance. */
function voidUnit({ grantId, reason, otpTouched }: Of<'VoidUnit'>, state: OpenedAllotment): readonly AllotmentEvent[] {
  const outcome = getEntry(state.used, grantId);
  if (outcome === 'voided') return [];
  if (outcome === 'committed') refuse('GRANT_USED', 'this unit is committed');
  const unit = getEntry(state.open, grantId);
  if (unit === undefined) refuse('NOT_FOUND', 'there is no such grant');
  const { uid, objId } = unit;
  return withExhaustion(state, { type: 'UnitVoided', data: { grantId, uid, objId, reason, scrapped: otpTouched } });
}

function withExhaustion(state: OpenedAllotment, event: AllotmentEvent): readonly AllotmentEvent[] {
  const next = evolve(state, event);
  if (next.status !== 'READY' || next.open.size > 0 || remainingUnits(next) > 0) return [event];
  return [event, { type: 'AllotmentExhausted', data: { committed: next.committed, scrapped: next.scrapped } }];
}

/** I14: contiguous and hash-linked (the signatures were checked by the caller). A missing segment is asked for again (LEDGER_GAP);
 *  another history at a known place is tampering and freezes; more reserve records than grants is overbuild and freezes (T1). */
function acceptSegment(command: Of<'AcceptLedgerSegment'>, state: OpenedAllotment): readonly AllotmentEvent[] {
  const { from, to, headHash, counter, previousHash } = command;
  if (state.segments.some(segment => segment.to === to && segment.headHash === headHash)) return [];
  const newest = state.segments.at(-1) ?? { to: 0, headHash: ledgerGenesisHex };
  if (from > newest.to + 1) refuse('LEDGER_GAP', `the next ledger record is ${newest.to + 1}`);
  if (to < from) refuse('BAD_REQUEST', 'a segment ends before it begins');
  const fork = from <= newest.to || previousHash !== newest.headHash || contradictsQuote(to, headHash, state);
  if (fork) return recordGap(to, headHash, state);
  const accepted: AllotmentEvent = { type: 'LedgerSegmentAccepted', data: { from, to, headHash, counter } };
  if (counter <= state.reserved || state.status === 'FROZEN' || state.status === 'CLOSED') return [accepted];
  return [accepted, { type: 'AllotmentFrozen', data: { reason: 'overbuild-attempt', by: 'system:allotment' } }];
}

function contradictsQuote(to: number, headHash: string, state: OpenedAllotment): boolean {
  return to === state.ledger.number && headHash !== state.ledger.head;
}

function recordGap(quotedNumber: number, quotedHead: string, state: OpenedAllotment): readonly AllotmentEvent[] {
  if (state.ledgerGap && state.status === 'FROZEN') refuse('ALLOTMENT_FROZEN', 'the ledger of this allotment contradicts itself');
  const { number: acceptedNumber, head: acceptedHead } = state.ledger;
  const gap: AllotmentEvent = { type: 'LedgerGapDetected', data: { acceptedNumber, acceptedHead, quotedNumber, quotedHead } };
  if (state.status === 'FROZEN' || state.status === 'CLOSED') return [gap];
  return [gap, { type: 'AllotmentFrozen', data: { reason: 'ledger-fork', by: 'system:allotment' } }];
}

function close({ by, zeroise }: Of<'CloseAllotment'>, state: OpenedAllotment): readonly AllotmentEvent[] {
  if (state.status === 'CLOSED') return [];
  if (state.open.size > 0) refuse('STATE', `${state.open.size} units are neither committed nor voided`);
  if ('missing' in zeroise) {
    requireStatus(state, ['FROZEN'], 'closing without a zeroise receipt');
    return [{ type: 'AllotmentClosed', data: { by, withoutReceipt: zeroise.missing } }];
  }
  if ((state.segments.at(-1)?.to ?? 0) < zeroise.ledgerNumber) refuse('LEDGER_GAP', 'the last ledger segment is missing');
  return [{ type: 'AllotmentClosed', data: { by, zeroiseReceiptSha256: zeroise.receiptSha256 } }];
}

function requireNotFrozen(state: OpenedAllotment): void {
  if (state.status === 'FROZEN') refuse('ALLOTMENT_FROZEN', 'the allotment is frozen');
}

function evolve(state: AllotmentState, event: AllotmentEvent): AllotmentState {
  if (event.type === 'AllotmentOpened') return opened(event.data);
  if (state.status === 'NONE') return state;
  switch (event.type) {
    case 'AllotmentRaised':
      return withStatus({
        ...reopened(state),
        quota: event.data.quota,
        scrapAllowance: event.data.scrapAllowance,
        raisedSincePackage: true,
      });
    case 'PackageExported':
      return { ...state, packages: [...state.packages, event.data], raisedSincePackage: false };
    case 'PackageImported':
      return withStatus({ ...state, importedPackageId: event.data.packageId });
    case 'UnitReserved':
      return withReservation(state, event.data);
    case 'UnitCommitted':
      return withOutcome({ ...state, committed: state.committed + 1 }, event.data, 'committed');
    case 'UnitVoided': {
      const scrapped = state.scrapped + (event.data.scrapped ? 1 : 0);
      return withOutcome({ ...state, voided: state.voided + 1, scrapped }, event.data, 'voided');
    }
    case 'LedgerSegmentAccepted':
      return withSegment(state, event.data);
    case 'LedgerGapDetected':
      return { ...state, ledgerGap: true };
    case 'AllotmentExhausted':
      return { ...state, status: 'EXHAUSTED' };
    case 'AllotmentFrozen':
      return { ...state, status: 'FROZEN' };
    case 'AllotmentThawed':
      return withStatus({ ...state, status: 'OPEN' });
    case 'AllotmentClosed':
      return { ...state, status: 'CLOSED', zeroised: event.data.zeroiseReceiptSha256 !== undefined };
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
  };
}

/** A closed allotment that is raised waits for a new package; the ledger goes on where it ended. */
function reopened(state: OpenedAllotment): OpenedAllotment {
  if (state.status !== 'CLOSED') return state;
  const { importedPackageId: _, ...rest } = state;
  return { ...rest, status: 'OPEN', zeroised: false };
}

/** OPEN, READY or EXHAUSTED, from the counts; a frozen or closed allotment stays so. */
function withStatus(state: OpenedAllotment): OpenedAllotment {
  if (state.status === 'FROZEN' || state.status === 'CLOSED') return state;
  if (state.importedPackageId === undefined) return { ...state, status: 'OPEN' };
  return { ...state, status: state.open.size === 0 && remainingUnits(state) === 0 ? 'EXHAUSTED' : 'READY' };
}

function withReservation(state: OpenedAllotment, unit: Unit): OpenedAllotment {
  return {
    ...state,
    reserved: state.reserved + 1,
    open: withEntry(state.open, unit.grantId, unit),
    grantByUid: withEntry(state.grantByUid, unit.uid, unit.grantId),
    ledger: newer(state.ledger, unit.ledgerNumber, unit.ledgerHead),
  };
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
  return { ...state, segments: [...state.segments, segment], ledger: newer(state.ledger, segment.to, segment.headHash) };
}

function newer(ledger: OpenedAllotment['ledger'], number: number, head: string): OpenedAllotment['ledger'] {
  return number > ledger.number ? { number, head } : ledger;
}

export const allotment: Decider<AllotmentCommand, AllotmentState, AllotmentEvent> = { initialState: { status: 'NONE' }, decide, evolve };
