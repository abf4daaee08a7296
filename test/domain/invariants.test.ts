import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { allotment } from '../../src/domain/allotment.ts';
import type { AllotmentCommand } from '../../src/domain/allotmentCommands.ts';
import { fold } from '../../src/domain/decider.ts';
import { device } from '../../src/domain/device.ts';
import type { DeviceCommand } from '../../src/domain/deviceCommands.ts';
import type { DeviceEvent } from '../../src/domain/deviceEvents.ts';
import { type JobCommand, job } from '../../src/domain/job.ts';
import { type PublicKeyCommand, publicKey } from '../../src/domain/publicKey.ts';
import { covers } from '../support/covers.ts';
import * as w from './deviceWalk.ts';
import { codeOf, play } from './scenario.ts';

/** Random command sequences against the invariants: small pools of ids, so that commands meet each other. */

const pick = fc.constantFrom;
/** Sequences need `size: 'max'` too: by default arrays stay near ten commands, too short to reach the field. */
const runs = { numRuns: 400 };
const at = (minutes: number) => new Date(Date.UTC(2026, 10, 20) + minutes * 60_000).toISOString();

describe('the allotment under random commands', () => {
  const name = fc.nat(7).map(String);
  const grant = fc.tuple(name, pick('', 'b')).map(([id, suffix]) => id + suffix);
  const now = fc.nat(16).map(at);
  const request = fc.record({
    type: pick('ReserveUnit' as const),
    objId: name,
    ledgerNumber: pick(5, 5, 5, 5, 5, 5, 5, 4),
    ledgerHead: pick('h'),
    programmerActive: pick(true, true, true, false),
    jobRunning: pick(true, true, true, false),
    uidListed: pick(true, true, true, false),
    now,
  });
  const reserve = fc
    .tuple(name, fc.boolean(), request)
    .map(([id, fresh, data]) => ({ ...data, uid: id, grantId: fresh ? `${id}b` : id }) as const);
  const commit = fc
    .tuple(name, pick('', 'b'), now)
    .map(([uid, suffix, at]) => ({ type: 'CommitUnit', grantId: uid + suffix, uid, receiptSha256: 'r', now: at }) as const);
  const exported = { epoch: 1, count: 1, expiresAt: at(10_000) };
  const exportPackage = fc
    .record({ packageId: name, sha256: name, sequence: fc.nat(5) })
    .map(data => ({ type: 'ExportPackage', after: Math.max(0, data.sequence - 1), ...exported, ...data }) as const);
  const command: fc.Arbitrary<AllotmentCommand> = fc.oneof(
    { weight: 6, arbitrary: reserve },
    { weight: 4, arbitrary: commit },
    { weight: 5, arbitrary: fc.record({ type: pick('VoidUnit' as const), grantId: grant, reason: name, otpTouched: fc.boolean() }) },
    fc.record({ type: pick('RenewGrant' as const), grantId: grant, programmerActive: fc.boolean(), jobRunning: fc.boolean(), now }),
    exportPackage,
    fc.record({ type: pick('ImportPackage' as const), packageId: name, now }),
    fc.record({ type: pick('RaiseAllotment' as const), quota: pick(1, 3, 4), scrapAllowance: pick(1, 1, 2) }),
    fc.record({ type: pick('FreezeAllotment' as const), reason: name, by: name }),
    {
      weight: 2,
      arbitrary: fc.record({ type: pick('ThawAllotment' as const), lifts: pick('cloned-key' as const), reason: name, by: name }),
    },
  );
  const start: readonly AllotmentCommand[] = [
    { type: 'OpenAllotment', jobId: 'j', programmer: 'p', quota: 3, scrapAllowance: 1 },
    { type: 'ExportPackage', after: 0, ...exported, packageId: 'first', sha256: 'first', sequence: 1 },
    { type: 'ImportPackage', packageId: 'first', now: at(0) },
  ];
  const histories = fc
    .array(command, { minLength: 20, maxLength: 60, size: 'max' })
    .map(commands => play(allotment, [...start, ...commands]).events);

  it('stays within quota and scrap allowance at every point, except for scrap itself (I1, RULE-4)', () => {
    covers('I1', 'RULE-4');
    fc.assert(
      fc.property(histories, events => {
        let state = allotment.initialState;
        for (const event of events) {
          const before = state;
          state = allotment.evolve(state, event);
          if (state.status === 'NONE' || before.status === 'NONE') continue;
          expect(state.committed + state.open.size).toBeLessThanOrEqual(state.quota);
          expect(state.reserved).toBe(state.open.size + state.committed + state.voided);
          if (event.type !== 'UnitReserved') continue;
          expect(state.open.size + state.committed + state.scrapped).toBeLessThanOrEqual(state.quota + state.scrapAllowance);
        }
      }),
      runs,
    );
  });

  it('uses each grant once, in time, and numbers units without gaps (I12)', () => {
    covers('I12');
    fc.assert(
      fc.property(histories, events => {
        const grants = events.flatMap(event => (event.type === 'UnitReserved' ? [event.data] : []));
        expect(grants.map(grant => grant.number)).toEqual(grants.map((_, i) => i + 1));
        const ended = events.flatMap(event => (event.type === 'UnitCommitted' || event.type === 'UnitVoided' ? [event.data.grantId] : []));
        expect(new Set(ended).size).toBe(ended.length);
        expect(new Set(grants.map(grant => grant.grantId)).size).toBe(grants.length);
      }),
      runs,
    );
  });

  it('exports packages with strictly rising sequences (I13)', () => {
    covers('I13');
    fc.assert(
      fc.property(histories, events => {
        const sequences = events.flatMap(event => (event.type === 'PackageExported' ? [event.data.sequence] : []));
        expect(sequences.every((sequence, i) => i === 0 || sequence > (sequences[i - 1] ?? 0))).toBe(true);
        const imported = events.flatMap(event => (event.type === 'PackageImported' ? [event.data.sequence] : []));
        expect(imported.every((sequence, i) => i === 0 || sequence > (imported[i - 1] ?? 0))).toBe(true);
      }),
      runs,
    );
  });
});

describe('the job under random commands', () => {
  const base = { jobId: 'j', line: 'meter', plannedCount: 20, scrapAllowance: 5, by: 'ann' };
  const policy = { requireUidList: false };
  const release = fc.record({
    releaseId: pick('r1', 'r2'),
    image: pick('bl2' as const, 'app' as const),
    line: pick('meter', 'pump'),
    status: pick('PUBLISHED', 'WITHDRAWN'),
  });
  const facts = { version: '1.0.0', securityCounter: 1, imageHash: 'h', bodySha256: 'b', size: 1 };
  const programmer = pick('p1', 'p2', 'p3');
  const by = pick('ann', 'bob');
  const command: fc.Arbitrary<JobCommand> = fc.oneof(
    fc.tuple(release, by).map(([data, who]) => ({ type: 'BindFirmware', release: { ...facts, ...data }, by: who }) as const),
    fc.record({ type: pick('ReleaseJob' as const), by }),
    { weight: 4, arbitrary: fc.record({ type: pick('MakeAllotment' as const), programmer, count: fc.nat(15), scrapAllowance: fc.nat(3) }) },
    fc.record({ type: pick('SettleAllotment' as const), programmer, committed: fc.nat(15), scrapped: fc.nat(3) }),
    fc.record({ type: pick('SuspendJob' as const), reason: by, by }),
    fc.record({ type: pick('ResumeJob' as const), by }),
  );
  const defined = (['bl2', 'app'] as const).map(
    image =>
      ({ type: 'BindFirmware', release: { ...facts, releaseId: 'r1', image, line: 'meter', status: 'PUBLISHED' }, by: 'ann' }) as const,
  );
  const start: readonly JobCommand[] = [{ type: 'CreateJob', ...base, policy }];
  const histories = fc
    .tuple(fc.boolean(), fc.array(command, { maxLength: 40, size: 'max' }))
    .map(([ready, commands]) =>
      play(job, [...start, ...(ready ? [...defined, { type: 'ReleaseJob', by: 'bob' } as const] : []), ...commands]),
    );

  it('never allots more than the plan (I2)', () => {
    covers('I2');
    fc.assert(
      fc.property(histories, ({ state }) => {
        if (state.status === 'NONE') return;
        expect(state.allotments.reduce((sum, allotted) => sum + allotted.count, 0)).toBeLessThanOrEqual(20);
        expect(state.contributors).not.toContain(state.releasedBy);
      }),
      runs,
    );
  });

  it('binds only what its line published, and never after its release (I8)', () => {
    covers('I8');
    fc.assert(
      fc.property(fc.array(release, { maxLength: 10 }), releases => {
        for (const bound of releases) {
          const commands = [...start, { type: 'BindFirmware', release: { ...facts, ...bound }, by: 'ann' } as const];
          const accepted = play(job, commands).events.length === 2;
          expect(accepted).toBe(bound.line === 'meter' && bound.status === 'PUBLISHED');
        }
      }),
    );
    fc.assert(
      fc.property(histories, ({ events }) => {
        const released = events.findIndex(event => event.type === 'JobReleased');
        const bound = events.findLastIndex(event => event.type === 'FirmwareBoundToJob');
        expect(released === -1 || bound < released).toBe(true);
      }),
      runs,
    );
  });
});

describe('the device under random commands', () => {
  const ids = pick('1', '2');
  const mint = fc.tuple(ids, ids).map(([objId, grantId]) => ({ ...w.steps.mint, objId, grantId }) as const);
  const csr = fc.record({ signatureVerified: pick(true, true, false), uid: pick(w.uid, w.uid, 'ff'), objId: pick(w.objId, '1', '2') });
  const request = csr.map(checked => ({ ...w.steps.request, csr: checked }) as const);
  const grants = pick(w.grantId, '1', '2');
  const offer = fc
    .record({ offerId: pick('o1', 'o2', 'o3'), version: pick('1.9.0', '2.0.0', '2.1.0', '3.0.0'), securityCounter: fc.nat(9) })
    .map(({ offerId, ...release }) => ({ ...w.offer, offerId, release: { ...w.offer.release, ...release } }) as const);
  const other: fc.Arbitrary<DeviceCommand> = fc.oneof(
    mint,
    request,
    offer,
    grants.map(grantId => ({ ...w.steps.session, grantId })),
    grants.map(grantId => ({ ...w.steps.install, grantId })),
    grants.map(grantId => ({ ...w.steps.complete, grantId })),
    fc.boolean().map(otpTouched => ({ ...fail, otpTouched }) as const),
    pick('o1', 'o2', 'o3').map(offerId => ({ type: 'StartUpgrade', offerId }) as const),
    fc.tuple(pick('o1', 'o2', 'o3'), pick('f2', 'f3')).map(([offerId, imageHash]) => ({ ...w.upgraded, offerId, imageHash }) as const),
    pick<DeviceCommand>(w.connect, w.passed, w.revoke, w.repair, w.orderEnd, w.end),
    pick<DeviceCommand>(
      { type: 'QuarantineDevice', reason: 'x', by: 'o' },
      { type: 'ReleaseDevice', reason: 'x', by: 'o' },
      { type: 'SuspendDevice', reason: 'x', by: 'o' },
      { type: 'ResumeDevice', by: 'o' },
      { type: 'FailUpgrade', offerId: 'o1', reason: 'x' },
      { type: 'SuspectClone', reason: 'x', evidence: 'y', by: 'o' },
      { type: 'CertifyDevice', ...w.certificate, publicKeySha256: 'key-x' },
    ),
    pick<DeviceCommand>(w.repair, w.requestUnlock, w.approveUnlock, w.orderUnlock, {
      ...w.orderUnlock,
      orderSha256: 'u2',
    } as DeviceCommand),
    pick<DeviceCommand>(w.orderReturn, w.requestNext, w.certifyNext, w.back, { ...w.requestNext, publicKeySha256: 'key-1' }),
  );
  const production = pick<DeviceCommand>(...Object.values(w.steps));
  /** The production steps up to some point, now and then one or two left out. */
  const prefix = fc
    .tuple(fc.nat(w.until().length), fc.array(fc.nat(w.until().length - 1), { maxLength: 2 }), pick(0, 1, 2))
    .map(([length, left, drop]) => w.until().filter((_, i) => i < length && !left.slice(0, drop).includes(i)));
  const fail = { type: 'FailUnit', reason: 'x', otpTouched: false, by: 's' } as const;
  const inField = pick<readonly DeviceCommand[]>(
    [...w.until(), w.connect],
    [...w.until(), w.connect, w.offer, w.startUpgrade],
    [...w.until(), w.connect, w.repair, w.requestUnlock, w.approveUnlock, w.orderReturn],
    [...w.until(), w.connect, w.repair, w.requestUnlock, w.approveUnlock, w.orderUnlock, w.orderReturn, w.requestNext, w.certifyNext],
  );
  /** A first generation that failed early, so that the second meets what it left behind. */
  const failedBefore = fc
    .nat(6)
    .map((length): readonly DeviceCommand[] => [
      ...w.until().slice(0, length),
      fail,
      { ...w.steps.mint, objId: '1', grantId: '1' },
      { ...w.steps.request, csr: { ...w.csr, objId: '1' } },
      w.steps.certify,
      { ...w.steps.assignBl2, keyId: 'second' },
    ]);
  const histories = fc
    .tuple(
      fc.oneof({ weight: 3, arbitrary: prefix }, failedBefore, inField),
      fc.array(fc.oneof({ weight: 2, arbitrary: production }, { weight: 3, arbitrary: other }), { maxLength: 40, size: 'max' }),
    )
    .map(([built, commands]) => play(device, [...built, ...commands]).events);
  const types = (events: readonly DeviceEvent[]) => events.map(event => event.type);

  it('has generations that strictly rise, one at a time (I3)', () => {
    covers('I3');
    fc.assert(
      fc.property(histories, events => {
        const born = events.flatMap(event =>
          event.type === 'DeviceMinted' || event.type === 'DeviceReturnedToService' ? [event.data.generation] : [],
        );
        expect(born).toEqual(born.map((_, i) => i + 1));
        for (const [i, event] of events.entries()) {
          if (event.type === 'DeviceMinted' && i > 0) expect(fold(device, events.slice(0, i)).status).toBe('FAILED');
        }
      }),
      runs,
    );
  });

  it('discloses its unlock password at most once in a repair, with two different approvers (I16)', () => {
    covers('I16');
    fc.assert(
      fc.property(histories, events => {
        let disclosed = 0;
        for (const event of events) {
          if (event.type === 'DeviceReturnedToService') disclosed = 0;
          if (event.type !== 'DebugUnlockOrdered') continue;
          disclosed += 1;
          expect(disclosed).toBe(1);
          expect(new Set(event.data.approvers).size).toBe(2);
        }
      }),
      runs,
    );
  });

  it('returns to service with a certificate of a key that it never had (I4)', () => {
    covers('I4');
    fc.assert(
      fc.property(histories, events => {
        const keys = events.flatMap(event =>
          event.type === 'DeviceCertified' || event.type === 'NextGenerationCertified' ? [event.data.publicKeySha256] : [],
        );
        const next = events.flatMap(event => (event.type === 'NextGenerationCertified' ? [event.data.publicKeySha256] : []));
        expect(next.filter(key => keys.filter(known => known === key).length !== 1)).toEqual([]);
      }),
      runs,
    );
  });

  it('burns each slot at most once and assigns it one key (I5)', () => {
    covers('I5');
    fc.assert(
      fc.property(histories, events => {
        for (const slot of ['bl2', 'app']) {
          for (const type of ['BootKeyBurned', 'BootKeyAssigned']) {
            expect(events.filter(event => event.type === type && 'slot' in event.data && event.data.slot === slot).length).toBeLessThan(2);
          }
        }
      }),
      runs,
    );
  });

  it('is certified only for the minted subject and the requested key (I6)', () => {
    covers('I6');
    fc.assert(
      fc.property(histories, events => {
        for (const [i, event] of events.entries()) {
          if (event.type !== 'DeviceCertified') continue;
          const before = fold(device, events.slice(0, i));
          if (before.status === 'NONE') throw new Error('certified without a mint');
          expect([event.data.uid, event.data.objId]).toEqual([before.uid, before.objId]);
          expect(event.data.publicKeySha256).toBe(before.certification?.publicKeySha256);
        }
      }),
      runs,
    );
  });

  it('accepts only a proven request of the minted subject (I6, RULE-10)', () => {
    covers('I6', 'RULE-10');
    fc.assert(
      fc.property(prefix, request, (built, command) => {
        const { state } = play(device, built);
        if (state.status === 'NONE' || codeOf(() => device.decide(command, state)) !== undefined) return;
        expect(command.csr).toEqual({ signatureVerified: true, uid: state.uid, objId: state.objId });
      }),
      runs,
    );
  });

  it('gets its application only after session and lock of the same generation (I7, R69, RULE-14)', () => {
    covers('I7', 'R69', 'RULE-14');
    fc.assert(
      fc.property(histories, events => {
        for (const [i, event] of events.entries()) {
          if (event.type !== 'FirmwareInstalled') continue;
          const since = types(events.slice(types(events.slice(0, i)).lastIndexOf('DeviceMinted'), i));
          expect(since).toContain('ProgrammingSessionAuthenticated');
          expect(since).toContain('DebugLocked');
        }
      }),
      runs,
    );
  });

  it('never falls in counter or version without a permit, and changes firmware only by evidence (I9, I18)', () => {
    covers('I9', 'I18');
    fc.assert(
      fc.property(histories, events => {
        let state = device.initialState;
        for (const event of events) {
          const before = state.status === 'NONE' ? undefined : state.firmware;
          state = device.evolve(state, event);
          const after = state.status === 'NONE' ? undefined : state.firmware;
          if (before === undefined || event.type === 'DeviceMinted') continue;
          if (event.type !== 'FirmwareUpgraded') expect(after).toEqual(before);
          expect(after?.securityCounter).toBeGreaterThanOrEqual(before.securityCounter);
          const offered = events.filter(other => other.type === 'FirmwareOffered').flatMap(other => other.data.imageHashes);
          if (event.type === 'FirmwareUpgraded') expect(offered).toContain(event.data.imageHash);
        }
      }),
      runs,
    );
  });

  it('gets nothing once revoked or decommissioned, nor while suspended (I11)', () => {
    covers('I11');
    const useful = [
      'DeviceMinted',
      'FirmwareOffered',
      'UpgradeStarted',
      'FirmwareUpgraded',
      'DevicePutInService',
      'OperationalCertificateIssued',
    ];
    fc.assert(
      fc.property(histories, events => {
        for (const [i, event] of events.entries()) {
          const { status } = fold(device, events.slice(0, i));
          if (status === 'REVOKED' || status === 'DECOMMISSIONED' || status === 'SUSPENDED') expect(useful).not.toContain(event.type);
        }
      }),
      runs,
    );
  });

  it('answers every accepted command the second time with nothing (T33)', () => {
    covers('T33');
    fc.assert(
      fc.property(histories, fc.oneof(production, other), (events, command) => {
        const state = fold(device, events);
        const refused = codeOf(() => device.decide(command, state)) !== undefined;
        if (refused || command.type === 'ReleaseDevice') return;
        const decided = device.decide(command, state);
        expect(device.decide(command, fold(device, decided, state))).toEqual([]);
      }),
      runs,
    );
  });
});

describe('public keys under random commands', () => {
  it('never change their holder (I4)', () => {
    covers('I4');
    const command: fc.Arbitrary<PublicKeyCommand> = fc.record({
      type: pick('ReservePublicKey' as const),
      kind: pick('device' as const, 'programmer' as const, 'gateway' as const),
      uid: pick('u1', 'u2'),
    });
    fc.assert(
      fc.property(fc.array(command, { minLength: 1 }), commands => {
        const { state, events } = play(publicKey, commands);
        expect(events).toHaveLength(1);
        for (const command of commands) {
          const same = state.status === 'RESERVED' && state.holder.kind === command.kind && state.holder.uid === command.uid;
          expect(codeOf(() => publicKey.decide(command, state))).toBe(same ? undefined : 'WEAK_OR_CLONED_KEY');
        }
      }),
      runs,
    );
  });
});
