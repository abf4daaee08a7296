import { minuteMs } from '../times.ts';
import type { IsoTime } from './actor.ts';
import type { AllotmentCommand, UidUse } from './allotmentCommands.ts';
import type { AllotmentEvent, Unit } from './allotmentEvents.ts';
import { acceptSegment, frozen, ledgerGap } from './allotmentLedger.ts';
import {
  type AllotmentState,
  countIn,
  evolveAllotment,
  grantLifetimeMs,
  liveReservation,
  type OpenedAllotment,
  refusalWindowMs,
  remainingUnits,
  requireLiveGrant,
  type ThawProposal,
  unitLifetimeMs,
} from './allotmentState.ts';
import { contentOfApproval } from './approval.ts';
import { getEntry } from './bucketMap.ts';
import { contentText } from './contentText.ts';
import { type Decider, type Of, requireStatus } from './decider.ts';
import { requireWaiting } from './proposals.ts';
import { isPast, refuse, requireCount, timeAfter } from './rules.ts';

/** The counter: how many units of a job one programmer may still build (RULE-4, T1).
 *  Stream `allotment-{job}-{programmer}`. Reserve first, commit or void after.
 *  OPEN → READY (package imported) ⇄ EXHAUSTED | FROZEN → CLOSED;  CLOSED with a receipt → OPEN (raised)
 *  Ledger: one hash-linked chain of records per allotment, numbered from 1; `counter` counts its reserve records. */

/** Reservations one programmer may hold at a time: a gang programmer has 16 sockets, the rest is room for retries (T24). */
export const maxOpenReservations = 64;

/** Grants within one minute: 16 sockets with units of four seconds, and some room (T24). */
export const maxReservationsPerMinute = 300;

/** Recorded refusals of chips that have a life already, within ten minutes: an operator's mistakes, not a search through all UIDs. */
export const maxRefusalsPerWindow = 20;

export const allotmentStream = (jobId: string, programmer: string): string => `allotment-${jobId}-${programmer}`;

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
    case 'RenewGrant':
      return renewGrant(command, state);
    case 'CommitUnit':
      return commit(command, state);
    case 'VoidUnit':
      return voidUnit(command, state);
    case 'AcceptLedgerSegment':
      return acceptSegment(command, state);
    case 'FreezeAllotment':
      if (state.status !== 'FROZEN') requireStatus(state, ['OPEN', 'READY', 'EXHAUSTED'], 'freezing');
      return frozen(command.reason, command.by, state);
    case 'ThawAllotment':
      if (state.status !== 'FROZEN' && state.status !== 'CLOSED') return [];
      requireStatus(state, ['FROZEN'], 'thawing');
      if (state.frozenReason !== command.lifts) refuse('STATE', `this share is frozen for another reason: ${state.frozenReason}`);
      return [{ type: 'AllotmentThawed', data: { reason: command.reason, by: command.by } }];
    case 'ProposeThaw':
      return proposeThaw(command, state);
    case 'ApproveThaw':
      return approveThaw(command, state);
    case 'CloseAllotment':
      return close(command, state);
  }
}

function open({ type: _, ...data }: Of<AllotmentCommand, 'OpenAllotment'>, state: AllotmentState): readonly AllotmentEvent[] {
  if (state.status !== 'NONE') {
    return state.quota === data.quota && state.scrapAllowance === data.scrapAllowance ? [] : refuse('CONFLICT', 'this allotment is open');
  }
  requireCount(data.quota, 1, 'the quota');
  requireCount(data.scrapAllowance, 0, 'the scrap allowance');
  return [{ type: 'AllotmentOpened', data }];
}

function raise({ quota, scrapAllowance }: Of<AllotmentCommand, 'RaiseAllotment'>, state: OpenedAllotment): readonly AllotmentEvent[] {
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
function exportPackage(
  { type: _, after, ...data }: Of<AllotmentCommand, 'ExportPackage'>,
  state: OpenedAllotment,
): readonly AllotmentEvent[] {
  const newest = state.packages.at(-1);
  if (newest?.packageId === data.packageId && newest.sha256 === data.sha256) return [];
  requireNotFrozen(state);
  requireStatus(state, ['OPEN', 'READY', 'EXHAUSTED'], 'exporting a package');
  const newestSequence = newest?.sequence ?? 0;
  if (data.sequence <= newestSequence || after !== newestSequence)
    refuse('PACKAGE_REPLAYED', `the newest package has sequence ${newestSequence}`);
  if (data.count > state.quota) refuse('COUNT_OVER_PLAN', `the package counts ${data.count} units, the allotment ${state.quota}`);
  const exported: AllotmentEvent = { type: 'PackageExported', data };
  if (newest === undefined) return [exported];
  return [exported, { type: 'PackageSuperseded', data: { packageId: newest.packageId, supersededBy: data.packageId } }];
}

/** The programmer's signed acknowledgement, already verified. Only the newest package is accepted (R62, T3). */
function importPackage({ packageId, now }: Of<AllotmentCommand, 'ImportPackage'>, state: OpenedAllotment): readonly AllotmentEvent[] {
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
function reserve(command: Of<AllotmentCommand, 'ReserveUnit'>, state: OpenedAllotment): readonly AllotmentEvent[] {
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

/** More time for a unit whose work was held up: the same grant, and the same place in the count (I12). */
function renewGrant({ grantId, programmerActive, jobRunning, now }: Of<AllotmentCommand, 'RenewGrant'>, state: OpenedAllotment) {
  if (!programmerActive) refuse('PROGRAMMER_NOT_ACTIVE', 'only an active programmer renews a grant');
  if (!jobRunning) refuse('JOB_NOT_RUNNING', 'the job is not running');
  requireNotFrozen(state);
  if (getEntry(state.used, grantId) !== undefined) refuse('GRANT_USED', 'this grant has been used');
  const unit = getEntry(state.open, grantId);
  if (unit === undefined) refuse('NOT_FOUND', 'there is no such grant');
  if (!isPast(unit.expiresAt, now)) return [];
  if (isPast(timeAfter(unit.firstExpiresAt ?? unit.expiresAt, unitLifetimeMs), now))
    refuse('GRANT_EXPIRED', 'this unit has waited too long');
  return [{ type: 'GrantRenewed', data: { grantId, uid: unit.uid, expiresAt: timeAfter(now, grantLifetimeMs) } }] as const;
}

function sameGrant(live: Unit, now: IsoTime): readonly AllotmentEvent[] {
  if (isPast(live.expiresAt, now)) refuse('GRANT_EXPIRED', 'the grant of this UID has expired and waits to be voided');
  return [];
}

function newGrant(command: Of<AllotmentCommand, 'ReserveUnit'>, state: OpenedAllotment): readonly AllotmentEvent[] {
  if (!command.uidListed) refuse('UID_NOT_LISTED', 'this UID is not on the list of the job');
  if (state.status === 'EXHAUSTED') refuse('COUNT_EXHAUSTED', 'the count of this allotment is used up');
  requireStatus(state, ['READY'], 'reserving');
  if (state.open.size >= maxOpenReservations) refuse('RATE_LIMITED', `at most ${maxOpenReservations} reservations may be open`);
  if (remainingUnits(state) === 0) refuse('COUNT_EXHAUSTED', 'the count of this allotment is used up');
  const { uid, objId, grantId, ledgerNumber, ledgerHead, unitData, now } = command;
  if (countIn(state.grantsInMinute, now, minuteMs) >= maxReservationsPerMinute) {
    refuse('RATE_LIMITED', `at most ${maxReservationsPerMinute} reservations a minute`);
  }
  if (getEntry(state.used, grantId) !== undefined || getEntry(state.open, grantId) !== undefined) {
    refuse('GRANT_USED', 'this grant id has been used');
  }
  if (command.uidUse !== undefined && command.uidUse !== 'free') return refusedUid(command, command.uidUse, state);
  if (unitData === 'exhausted') refuse('VALUES_EXHAUSTED', 'the package has no unit data for another unit: export a new one');
  const expiresAt = timeAfter(now, grantLifetimeMs);
  const number = state.reserved + 1;
  const own = unitData === undefined ? {} : { unitData };
  return [{ type: 'UnitReserved', data: { uid, objId, grantId, number, expiresAt, ledgerHead, ledgerNumber, ...own } }];
}

/** Judged last, and about this allotment alone: the device of that UID learns nothing of it (T25). The caller answers UID_CONFLICT or
 *  DEVICE_STATE; the same record again adds nothing. */
function refusedUid(
  { uid, ledgerNumber, now }: Of<AllotmentCommand, 'ReserveUnit'>,
  uidUse: Exclude<UidUse, 'free'>,
  state: OpenedAllotment,
): readonly AllotmentEvent[] {
  if (state.lastRefusal?.uid === uid && state.lastRefusal.ledgerNumber === ledgerNumber) return [];
  if (countIn(state.refusalsInWindow, now, refusalWindowMs) >= maxRefusalsPerWindow) {
    refuse('RATE_LIMITED', 'too many chips were offered that have a life already');
  }
  return [{ type: 'ReservationRefused', data: { uid, uidUse, ledgerNumber, at: now } }];
}

function commit(
  { grantId, uid, receiptSha256, now }: Of<AllotmentCommand, 'CommitUnit'>,
  state: OpenedAllotment,
): readonly AllotmentEvent[] {
  if (getEntry(state.used, grantId) === 'committed') return [];
  const unit = requireLiveGrant(state, grantId, uid, now);
  return withExhaustion(state, { type: 'UnitCommitted', data: { grantId, uid, objId: unit.objId, receiptSha256 } });
}

/** The count comes back unless OTP was touched; a scrapped unit counts against the scrap allowance. */
function voidUnit({ grantId, reason, otpTouched }: Of<AllotmentCommand, 'VoidUnit'>, state: OpenedAllotment): readonly AllotmentEvent[] {
  const outcome = getEntry(state.used, grantId);
  if (outcome === 'voided') return [];
  if (outcome === 'committed') refuse('GRANT_USED', 'this unit is committed');
  const unit = getEntry(state.open, grantId);
  if (unit === undefined) refuse('NOT_FOUND', 'there is no such grant');
  const { uid, objId } = unit;
  return withExhaustion(state, { type: 'UnitVoided', data: { grantId, uid, objId, reason, scrapped: otpTouched } });
}

function withExhaustion(state: OpenedAllotment, event: AllotmentEvent): readonly AllotmentEvent[] {
  const next = evolveAllotment(state, event);
  if (next.status !== 'READY' || next.open.size > 0 || remainingUnits(next) > 0) return [event];
  return [event, { type: 'AllotmentExhausted', data: { committed: next.committed, scrapped: next.scrapped } }];
}

/** Two people may thaw a share, for whatever reason it is frozen: the programmer that was stolen is back, the fork is explained. What is wrong
 *  still freezes it again with its next request. */
function proposeThaw({ id, reason, by, now: at }: Of<AllotmentCommand, 'ProposeThaw'>, state: OpenedAllotment): readonly AllotmentEvent[] {
  if (state.thawProposal?.id === id) return [];
  requireStatus(state, ['FROZEN'], 'proposing a thaw');
  return [{ type: 'ThawProposed', data: { id, frozenReason: state.frozenReason ?? 'frozen', reason, by, at } }];
}

/** @throws NusecError NOT_FOUND */
export function thawProposalOf(state: AllotmentState, id: string): ThawProposal {
  const proposal = state.status === 'NONE' ? undefined : state.thawProposal;
  return proposal?.id === id ? proposal : refuse('NOT_FOUND', 'there is no such proposal, or a newer one has taken its place');
}

/** What an approval approves, as one text. Equal texts are equal content. */
export const thawContent = ({ id, frozenReason, reason, by }: ThawProposal): string => contentText([id, frozenReason, reason, by]);

/** By another person, and of what it is frozen for now. */
function approveThaw({ id, by, now, content }: Of<AllotmentCommand, 'ApproveThaw'>, state: OpenedAllotment): readonly AllotmentEvent[] {
  const proposal = thawProposalOf(state, id);
  if (proposal.by === by) refuse('FOUR_EYES_REQUIRED', 'another person than the one who proposed it approves a thaw');
  const approved = contentOfApproval(content, thawContent(proposal));
  if (state.status !== 'FROZEN' && state.status !== 'CLOSED') return [];
  requireStatus(state, ['FROZEN'], 'thawing');
  if (proposal.isOver) refuse('STATE', 'the share was thawed since this was proposed: propose it again');
  requireWaiting(proposal.at, now, 'the thaw');
  if (state.frozenReason !== proposal.frozenReason) refuse('CONFLICT', `it is frozen for another reason by now: ${state.frozenReason}`);
  return [{ type: 'AllotmentThawed', data: { reason: proposal.reason, by, proposedBy: proposal.by, ...approved } }];
}

function close({ by, zeroise }: Of<AllotmentCommand, 'CloseAllotment'>, state: OpenedAllotment): readonly AllotmentEvent[] {
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

export const allotment: Decider<AllotmentCommand, AllotmentState, AllotmentEvent> = {
  initialState: { status: 'NONE' },
  decide,
  evolve: evolveAllotment,
};
