import { describe, expect, it } from 'vitest';
import { allotment, maxOpenReservations, maxRefusalsPerWindow, maxReservationsPerMinute } from '../../src/domain/allotment.ts';
import type { AllotmentCommand } from '../../src/domain/allotmentCommands.ts';
import { type AllotmentEvent, ledgerGenesisHex } from '../../src/domain/allotmentEvents.ts';
import { liveReservation, remainingUnits, requireLiveGrant } from '../../src/domain/allotmentState.ts';
import { proposalLifetimeMs } from '../../src/domain/proposals.ts';
import { timeAfter } from '../../src/domain/rules.ts';
import { covers } from '../support/covers.ts';
import { codeOf, play, scenario } from './scenario.ts';

type Of<Type extends AllotmentCommand['type']> = Extract<AllotmentCommand, { readonly type: Type }>;

const now = '2026-11-20T08:00:00.000Z';
const soon = '2026-11-20T08:14:59.999Z';
const late = '2026-11-20T08:15:00.000Z';
const open: AllotmentCommand = { type: 'OpenAllotment', jobId: 'j', programmer: 'p', quota: 2, scrapAllowance: 1 };
const exported = { packageId: 'pk1', sequence: 1, epoch: 1, count: 2, sha256: 'aa', expiresAt: '2026-12-01T00:00:00.000Z' };
const exportPackage = { type: 'ExportPackage', after: 0, ...exported } as const;
const importPackage: AllotmentCommand = { type: 'ImportPackage', packageId: 'pk1', now };
const ready = [open, exportPackage, importPackage];
const facts = { programmerActive: true, jobRunning: true, uidListed: true, now };
const reserve = (n: number, ledger = n): Of<'ReserveUnit'> => ({
  type: 'ReserveUnit',
  uid: `uid${n}`,
  objId: `obj${n}`,
  grantId: `g${n}`,
  ledgerNumber: ledger,
  ledgerHead: `h${ledger}`,
  ...facts,
});
const commit = (n: number): Of<'CommitUnit'> => ({ type: 'CommitUnit', grantId: `g${n}`, uid: `uid${n}`, receiptSha256: 'r', now });
const voided = (n: number, otpTouched: boolean): AllotmentCommand => ({ type: 'VoidUnit', grantId: `g${n}`, reason: 'flash', otpTouched });
const reserved = (n: number): AllotmentEvent => ({
  type: 'UnitReserved',
  data: { uid: `uid${n}`, objId: `obj${n}`, grantId: `g${n}`, number: n, expiresAt: late, ledgerHead: `h${n}`, ledgerNumber: n },
});
const freeze: AllotmentCommand = { type: 'FreezeAllotment', reason: 'stolen', by: 'operator:sam' };
const hold: AllotmentCommand = { ...freeze, reason: 'programmer-suspended' };

const on = (...commands: readonly AllotmentCommand[]) => scenario(allotment).given(...play(allotment, commands).events);
const state = (...commands: readonly AllotmentCommand[]) => play(allotment, commands).state;

describe('packages', () => {
  it('are opened for a quota and exported with a rising sequence (I13)', () => {
    covers('I13');
    on()
      .when(open)
      .givesOnce({ type: 'AllotmentOpened', data: { jobId: 'j', programmer: 'p', quota: 2, scrapAllowance: 1 } });
    on(open)
      .when({ ...open, quota: 3 })
      .refused('CONFLICT');
    on()
      .when({ ...open, quota: 0 })
      .refused('BAD_REQUEST');
    on().when(exportPackage).refused('NOT_FOUND');
    on(open).when(exportPackage).givesOnce({ type: 'PackageExported', data: exported });
    on(open, exportPackage)
      .when({ ...exportPackage, packageId: 'pk2' })
      .refused('PACKAGE_REPLAYED');
    on(open)
      .when({ ...exportPackage, count: 3 })
      .refused('COUNT_OVER_PLAN');
    on(open, exportPackage)
      .when({ ...exportPackage, after: 1, packageId: 'pk2', sequence: 2 })
      .givesOnce(
        { type: 'PackageExported', data: { ...exported, packageId: 'pk2', sequence: 2 } },
        { type: 'PackageSuperseded', data: { packageId: 'pk1', supersededBy: 'pk2' } },
      );
  });

  it('are imported once, newest only, unexpired (T3)', () => {
    covers('T3');
    on(open, exportPackage)
      .when(importPackage)
      .givesOnce({ type: 'PackageImported', data: { packageId: 'pk1', sequence: 1 } });
    on(open).when(importPackage).refused('PACKAGE_REFUSED');
    on(open, exportPackage)
      .when({ ...importPackage, now: '2026-12-01T00:00:00.000Z' })
      .refused('PACKAGE_EXPIRED');
    on(open, exportPackage, { ...exportPackage, after: 1, packageId: 'pk2', sequence: 2 })
      .when(importPackage)
      .refused('PACKAGE_REPLAYED');
  });

  it('give more units only by raising the quota', () => {
    on(open)
      .when({ type: 'RaiseAllotment', quota: 4, scrapAllowance: 1 })
      .givesOnce({ type: 'AllotmentRaised', data: { quota: 4, scrapAllowance: 1 } });
    on(open).when({ type: 'RaiseAllotment', quota: 1, scrapAllowance: 1 }).refused('BAD_REQUEST');
    on(open).when({ type: 'RaiseAllotment', quota: 2, scrapAllowance: 0 }).refused('BAD_REQUEST');
    on(...ready, reserve(1), commit(1), reserve(2), commit(2), { type: 'RaiseAllotment', quota: 3, scrapAllowance: 1 })
      .when(reserve(3))
      .gives(reserved(3));
  });
});

describe('reserving', () => {
  it('gives one grant per UID, the same one again', () => {
    on(...ready)
      .when(reserve(1))
      .givesOnce(reserved(1));
    const again = state(...ready, reserve(1), { ...reserve(1), grantId: 'other', objId: 'other' });
    expect(liveReservation(again, 'uid1')?.grantId).toBe('g1');
    expect(liveReservation(again, 'uid2')).toBeUndefined();
    on(...ready, reserve(1), reserve(2))
      .when(reserve(1))
      .gives();
  });

  it('refuses unit Q+1 (I1, T1, RULE-4)', () => {
    covers('I1', 'T1', 'RULE-4');
    on(...ready, reserve(1), reserve(2))
      .when(reserve(3))
      .refused('COUNT_EXHAUSTED');
    on(...ready, reserve(1), commit(1), reserve(2), commit(2))
      .when(reserve(3))
      .refused('COUNT_EXHAUSTED');
  });

  it('needs an active programmer, a running job, a listed UID and an imported package (I17, RULE-7, T7)', () => {
    covers('I17', 'RULE-7', 'T7');
    on(...ready)
      .when({ ...reserve(1), programmerActive: false })
      .refused('PROGRAMMER_NOT_ACTIVE');
    on(...ready)
      .when({ ...reserve(1), jobRunning: false })
      .refused('JOB_NOT_RUNNING');
    on(...ready)
      .when({ ...reserve(1), uidListed: false })
      .refused('UID_NOT_LISTED');
    on(open, exportPackage).when(reserve(1)).refused('STATE');
    on(...ready, freeze)
      .when(reserve(1))
      .refused('ALLOTMENT_FROZEN');
  });

  it('caps open reservations (T24)', () => {
    covers('T24');
    const large = [{ ...open, quota: 1000 }, exportPackage, importPackage];
    const many = Array.from({ length: maxOpenReservations }, (_, i) => reserve(i + 1));
    on(...large, ...many)
      .when(reserve(maxOpenReservations + 1))
      .refused('RATE_LIMITED');
    on(...large, ...many, commit(1))
      .when(reserve(maxOpenReservations + 1))
      .gives(reserved(maxOpenReservations + 1));
  });

  it('limits grants by the minute, however fast they are given back (T24)', () => {
    covers('T24');
    const cycle = (n: number) => [reserve(n), voided(n, false)];
    const minute = Array.from({ length: maxReservationsPerMinute }, (_, i) => cycle(i + 1)).flat();
    const next = maxReservationsPerMinute + 1;
    on(...ready, ...minute)
      .when(reserve(next))
      .refused('RATE_LIMITED');
    on(...ready, ...minute)
      .when({ ...reserve(next), now: '2026-11-20T08:01:00.000Z' })
      .gives({ type: 'UnitReserved', data: { ...reserved(next).data, expiresAt: '2026-11-20T08:16:00.000Z' } } as AllotmentEvent);
  });

  it('judges a chip that has a life already last of all, and records the claim here, not there (T25, I3)', () => {
    covers('T25', 'I3');
    const claim = (n: number): Of<'ReserveUnit'> => ({ ...reserve(n), uidUse: 'inUse' });
    const refused = { type: 'ReservationRefused', data: { uid: 'uid1', uidUse: 'inUse', ledgerNumber: 1, at: now } } as const;
    on(...ready)
      .when(claim(1))
      .givesOnce(refused);
    on(...ready)
      .when({ ...claim(1), jobRunning: false })
      .refused('JOB_NOT_RUNNING');
    on(...ready)
      .when({ ...claim(1), uidListed: false })
      .refused('UID_NOT_LISTED');
    on(...ready, reserve(1), reserve(2))
      .when(claim(3))
      .refused('COUNT_EXHAUSTED');
    const many = Array.from({ length: maxRefusalsPerWindow }, (_, i) => claim(i + 1));
    on(...ready, ...many)
      .when(claim(maxRefusalsPerWindow + 1))
      .refused('RATE_LIMITED');
    const later = { ...claim(maxRefusalsPerWindow + 1), now: '2026-11-20T08:10:00.000Z' };
    expect(play(allotment, [...ready, ...many, later]).events.at(-1)).toMatchObject({ type: 'ReservationRefused' });
  });

  it('freezes on an older ledger than the server has seen (T2)', () => {
    covers('T2');
    const gap = { acceptedNumber: 5, acceptedHead: 'h5', quotedNumber: 4, quotedHead: 'h4' };
    on(...ready, reserve(1, 5))
      .when(reserve(2, 4))
      .gives({ type: 'LedgerGapDetected', data: gap }, { type: 'AllotmentFrozen', data: { reason: 'ledger-gap', by: 'system:allotment' } });
    expect(state(...ready, reserve(1, 5), { ...reserve(2, 5), ledgerHead: 'forged' }).status).toBe('FROZEN');
    on(...ready, reserve(1, 5), reserve(2, 4))
      .when(reserve(2, 6))
      .refused('ALLOTMENT_FROZEN');
  });

  it('never gives a grant id twice', () => {
    on(...ready, reserve(1), commit(1))
      .when({ ...reserve(2), grantId: 'g1' })
      .refused('GRANT_USED');
  });
});

describe('a grant', () => {
  it('is used once and expires after 15 minutes (I12)', () => {
    covers('I12');
    const committed = { type: 'UnitCommitted', data: { grantId: 'g1', uid: 'uid1', objId: 'obj1', receiptSha256: 'r' } } as const;
    on(...ready, reserve(1))
      .when({ ...commit(1), now: soon })
      .givesOnce(committed);
    on(...ready, reserve(1))
      .when({ ...commit(1), now: late })
      .refused('GRANT_EXPIRED');
    on(...ready, reserve(1))
      .when({ ...reserve(1), now: late })
      .refused('GRANT_EXPIRED');
    on(...ready, reserve(1), voided(1, false))
      .when(commit(1))
      .refused('GRANT_USED');
    on(...ready, reserve(1))
      .when({ ...commit(1), uid: 'uid2' })
      .refused('NOT_FOUND');
    on(...ready, reserve(1), freeze)
      .when(commit(1))
      .refused('ALLOTMENT_FROZEN');
    on(...ready)
      .when(commit(1))
      .refused('NOT_FOUND');
  });

  it('that has expired is renewed for its unit as long as the unit waits, and never beside its place in the count (I12, I1)', () => {
    covers('I12', 'I1');
    const renew = (at: string): Of<'RenewGrant'> => ({
      type: 'RenewGrant',
      grantId: 'g1',
      programmerActive: true,
      jobRunning: true,
      now: at,
    });
    const renewed = { type: 'GrantRenewed', data: { grantId: 'g1', uid: 'uid1', expiresAt: '2026-11-20T08:30:00.000Z' } } as const;
    on(...ready, reserve(1))
      .when(renew(soon))
      .gives();
    on(...ready, reserve(1))
      .when(renew(late))
      .givesOnce(renewed);
    on(...ready, reserve(1), renew(late))
      .when({ ...commit(1), now: '2026-11-20T08:29:59.999Z' })
      .gives({ type: 'UnitCommitted', data: { grantId: 'g1', uid: 'uid1', objId: 'obj1', receiptSha256: 'r' } });
    on(...ready, reserve(1), renew(late))
      .when({ ...commit(1), now: '2026-11-20T08:30:00.000Z' })
      .refused('GRANT_EXPIRED');
    expect(remainingUnits(state(...ready, reserve(1), renew(late)))).toBe(1);
    const week = '2026-11-27T08:15:00.000Z';
    on(...ready, reserve(1), renew('2026-11-27T08:14:59.999Z'))
      .when(renew('2026-11-27T08:30:00.000Z'))
      .refused('GRANT_EXPIRED');
    on(...ready, reserve(1))
      .when(renew(week))
      .refused('GRANT_EXPIRED');
    on(...ready, reserve(1), commit(1))
      .when(renew(late))
      .refused('GRANT_USED');
    on(...ready, reserve(1), voided(1, false))
      .when(renew(late))
      .refused('GRANT_USED');
    on(...ready)
      .when(renew(late))
      .refused('NOT_FOUND');
    on(...ready, reserve(1), freeze)
      .when(renew(late))
      .refused('ALLOTMENT_FROZEN');
    on(...ready, reserve(1))
      .when({ ...renew(late), jobRunning: false })
      .refused('JOB_NOT_RUNNING');
    on(...ready, reserve(1))
      .when({ ...renew(late), programmerActive: false })
      .refused('PROGRAMMER_NOT_ACTIVE');
  });

  it('opens the way to keys and firmware only while it lives (RULE-5, I12)', () => {
    covers('RULE-5', 'I12');
    expect(requireLiveGrant(state(...ready, reserve(1)), 'g1', 'uid1', soon).objId).toBe('obj1');
    expect(codeOf(() => requireLiveGrant(state(...ready, reserve(1), commit(1)), 'g1', 'uid1', now))).toBe('GRANT_USED');
    expect(codeOf(() => requireLiveGrant(state(), 'g1', 'uid1', now))).toBe('NOT_FOUND');
  });
});

describe('voiding', () => {
  const data = { grantId: 'g1', uid: 'uid1', objId: 'obj1', reason: 'flash' };

  it('returns the count when no OTP was touched', () => {
    on(...ready, reserve(1))
      .when(voided(1, false))
      .givesOnce({ type: 'UnitVoided', data: { ...data, scrapped: false } });
    expect(remainingUnits(state(...ready, reserve(1), voided(1, false)))).toBe(2);
    on(...ready, reserve(1), commit(1))
      .when(voided(1, false))
      .refused('GRANT_USED');
    on(...ready)
      .when(voided(1, false))
      .refused('NOT_FOUND');
    expect(state(...ready, reserve(1), freeze, voided(1, false))).toMatchObject({ status: 'FROZEN', voided: 1 });
  });

  it('counts a scrapped unit against the allowance, then against the quota (I1)', () => {
    covers('I1');
    const one = [...ready, reserve(1), voided(1, true)];
    expect(remainingUnits(state(...one))).toBe(2);
    expect(remainingUnits(state(...one, reserve(2), voided(2, true)))).toBe(1);
  });

  it('exhausts the allotment when nothing is left', () => {
    on(...ready, reserve(1), commit(1), reserve(2))
      .when(commit(2))
      .givesOnce(
        { type: 'UnitCommitted', data: { grantId: 'g2', uid: 'uid2', objId: 'obj2', receiptSha256: 'r' } },
        { type: 'AllotmentExhausted', data: { committed: 2, scrapped: 0 } },
      );
    const tight = [{ ...open, scrapAllowance: 0, quota: 1 }, { ...exportPackage, count: 1 }, importPackage];
    on(...tight, reserve(1))
      .when(voided(1, true))
      .gives(
        { type: 'UnitVoided', data: { ...data, scrapped: true } },
        { type: 'AllotmentExhausted', data: { committed: 0, scrapped: 1 } },
      );
  });
});

describe('the ledger', () => {
  const segment = { from: 1, to: 3, headHash: 'h3', counter: 1 };
  const accept: Of<'AcceptLedgerSegment'> = { type: 'AcceptLedgerSegment', previousHash: ledgerGenesisHex, ...segment };

  it('is contiguous and hash-linked (I14)', () => {
    covers('I14');
    on(...ready, reserve(1))
      .when(accept)
      .givesOnce({ type: 'LedgerSegmentAccepted', data: segment });
    on(...ready, reserve(1))
      .when({ ...accept, from: 2 })
      .refused('LEDGER_GAP');
    on(...ready, reserve(1))
      .when({ ...accept, to: 0 })
      .refused('BAD_REQUEST');
    const next = { type: 'AcceptLedgerSegment', from: 4, to: 5, previousHash: 'h3', headHash: 'h5', counter: 1 } as const;
    on(...ready, reserve(1), accept)
      .when(next)
      .givesOnce({ type: 'LedgerSegmentAccepted', data: { from: 4, to: 5, headHash: 'h5', counter: 1 } });
    on(...ready, reserve(1), accept, next)
      .when(accept)
      .gives();
  });

  it('freezes on another history (I14)', () => {
    covers('I14');
    const gap = { acceptedNumber: 3, acceptedHead: 'h3', quotedNumber: 5, quotedHead: 'h5' };
    on(...ready, reserve(1), accept)
      .when({ type: 'AcceptLedgerSegment', from: 4, to: 5, previousHash: 'forged', headHash: 'h5', counter: 1 })
      .gives(
        { type: 'LedgerGapDetected', data: gap },
        { type: 'AllotmentFrozen', data: { reason: 'ledger-fork', by: 'system:allotment' } },
      );
    const forked = [...ready, reserve(1), accept, { ...accept, headHash: 'other' }];
    expect(state(...forked)).toMatchObject({ status: 'FROZEN', ledgerGap: true });
    on(...forked)
      .when({ ...accept, headHash: 'third' })
      .refused('ALLOTMENT_FROZEN');
    expect(state(...ready, reserve(1, 3), { ...accept, headHash: 'not-what-was-quoted' }).status).toBe('FROZEN');
    const stolen = [...ready, reserve(1), accept, freeze, { ...accept, headHash: 'other' }];
    expect(state(...stolen)).toMatchObject({ status: 'FROZEN', ledgerGap: true });
  });

  it('freezes when the programmer counts more reservations than the server gave (T1)', () => {
    covers('T1');
    on(...ready, reserve(1))
      .when({ ...accept, counter: 2 })
      .gives(
        { type: 'LedgerSegmentAccepted', data: { ...segment, counter: 2 } },
        { type: 'AllotmentFrozen', data: { reason: 'overbuild-attempt', by: 'system:allotment' } },
      );
  });

  it('is still taken from a frozen allotment', () => {
    on(...ready, reserve(1), freeze)
      .when({ ...accept, counter: 9 })
      .gives({ type: 'LedgerSegmentAccepted', data: { ...segment, counter: 9 } });
  });
});

describe('freezing and closing', () => {
  const thaw: AllotmentCommand = { type: 'ThawAllotment', lifts: 'programmer-suspended', reason: 'found', by: 'operator:sam' };
  const close: Of<'CloseAllotment'> = { type: 'CloseAllotment', by: 'system:closer', zeroise: { receiptSha256: 'z', ledgerNumber: 0 } };
  const lost: AllotmentCommand = { type: 'CloseAllotment', by: 'operator:sam', zeroise: { missing: 'stolen' } };

  it('freezes with a reason and thaws to where the counts are (T15)', () => {
    covers('T15');
    on(...ready)
      .when(freeze)
      .givesOnce({ type: 'AllotmentFrozen', data: { reason: 'stolen', by: 'operator:sam' } });
    on(...ready, hold)
      .when(thaw)
      .givesOnce({ type: 'AllotmentThawed', data: { reason: 'found', by: 'operator:sam' } });
    expect(state(...ready, hold, thaw).status).toBe('READY');
    expect(state(open, hold, thaw).status).toBe('OPEN');
    expect(state(...ready, reserve(1), commit(1), reserve(2), commit(2), hold, thaw).status).toBe('EXHAUSTED');
    on(...ready, close)
      .when(thaw)
      .refused('STATE');
    on(...ready, close)
      .when(freeze)
      .refused('STATE');
    for (const command of [exportPackage, importPackage, { type: 'RaiseAllotment', quota: 9, scrapAllowance: 1 } as const]) {
      on(open, freeze).when(command).refused('ALLOTMENT_FROZEN');
    }
  });

  it('goes on after two people have said so, with the reason on record (T2, T15)', () => {
    covers('T2', 'T15');
    const propose = { type: 'ProposeThaw', id: 'p1', reason: 'found in the store room', by: 'operator:pia', now } as const;
    const approve = { type: 'ApproveThaw', id: 'p1', by: 'operator:olga', now } as const;
    on(...ready)
      .when(propose)
      .refused('STATE');
    on(...ready, freeze)
      .when(propose)
      .givesOnce({ type: 'ThawProposed', data: { id: 'p1', frozenReason: 'stolen', reason: propose.reason, by: 'operator:pia', at: now } });
    on(...ready, freeze, propose)
      .when({ ...approve, by: 'operator:pia' })
      .refused('FOUR_EYES_REQUIRED');
    on(...ready, freeze, propose)
      .when({ ...approve, id: 'p2' })
      .refused('NOT_FOUND');
    on(...ready, freeze, propose)
      .when(approve)
      .givesOnce({ type: 'AllotmentThawed', data: { reason: propose.reason, by: 'operator:olga', proposedBy: 'operator:pia' } });
    expect(state(...ready, freeze, propose, approve).status).toBe('READY');
    on(...ready, freeze, propose)
      .when({ ...approve, now: timeAfter(now, proposalLifetimeMs) })
      .refused('PROPOSAL_EXPIRED');
    on(...ready, hold, propose, freeze)
      .when(approve)
      .refused('CONFLICT');
  });

  it('is frozen for good by what comes while it is frozen for a while (T1, T2, T15)', () => {
    covers('T1', 'T2', 'T15');
    on(...ready, hold)
      .when(freeze)
      .givesOnce({ type: 'AllotmentFrozen', data: { reason: 'stolen', by: 'operator:sam' } });
    on(...ready, hold)
      .when({ ...hold, reason: 'cloned-key' })
      .gives();
    const segment = { type: 'AcceptLedgerSegment', from: 1, to: 3, headHash: 'h3', previousHash: ledgerGenesisHex, counter: 9 } as const;
    for (const command of [freeze, segment, { ...segment, previousHash: 'forged' }]) {
      on(...ready, reserve(1), hold, command)
        .when(thaw)
        .refused('STATE');
      expect(state(...ready, reserve(1), hold, command)).toMatchObject({ status: 'FROZEN' });
    }
    on(...ready, freeze)
      .when(hold)
      .gives();
  });

  it('closes when every unit is terminal, the ledger complete and the rest zeroised', () => {
    on(...ready)
      .when(close)
      .givesOnce({ type: 'AllotmentClosed', data: { by: 'system:closer', zeroiseReceiptSha256: 'z' } });
    on(...ready, reserve(1))
      .when(close)
      .refused('STATE');
    on(...ready)
      .when({ ...close, zeroise: { receiptSha256: 'z', ledgerNumber: 7 } })
      .refused('LEDGER_GAP');
    on(...ready, close)
      .when(reserve(1))
      .refused('STATE');
  });

  it('opens again for more units once the rest was zeroised: only by a new package, the ledger going on (RULE-4)', () => {
    covers('RULE-4');
    const more: AllotmentCommand = { type: 'RaiseAllotment', quota: 4, scrapAllowance: 1 };
    const built = [...ready, reserve(1), commit(1), reserve(2), commit(2), close] as const;
    on(...built)
      .when(more)
      .givesOnce({ type: 'AllotmentRaised', data: { quota: 4, scrapAllowance: 1 } });
    expect(state(...built, more)).toMatchObject({ status: 'OPEN', committed: 2, reserved: 2 });
    on(...built, more)
      .when(reserve(3))
      .refused('STATE');
    on(...built)
      .when({ type: 'RaiseAllotment', quota: 2, scrapAllowance: 0 })
      .refused('BAD_REQUEST');
    on(open, freeze, lost).when(more).refused('STATE');
  });

  it('closes without a receipt only when frozen', () => {
    on(...ready)
      .when(lost)
      .refused('STATE');
    on(...ready, freeze)
      .when(lost)
      .givesOnce({ type: 'AllotmentClosed', data: { by: 'operator:sam', withoutReceipt: 'stolen' } });
    expect(state(...ready, freeze, lost)).toMatchObject({ status: 'CLOSED', zeroised: false });
  });
});
