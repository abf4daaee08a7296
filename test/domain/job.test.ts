import { describe, expect, it } from 'vitest';
import { type JobCommand, job, type ReleaseFacts } from '../../src/domain/job.ts';
import { jobContent, requireBoundFirmware, requireRunningJob, requireSameSite } from '../../src/domain/jobState.ts';
import { covers } from '../support/covers.ts';
import { codeOf, play, scenario } from './scenario.ts';

const policy = { requireUidList: false };
const job1 = { jobId: 'j', line: 'meter', plannedCount: 10, scrapAllowance: 2, policy };
const create = { type: 'CreateJob', ...job1, by: 'operator:ann' } as const satisfies JobCommand;
const firmware = {
  releaseId: 'b',
  image: 'bl2',
  version: '1.0.0',
  securityCounter: 1,
  imageHash: 'b1',
  bodySha256: 'b2',
  size: 9,
} as const;
const bl2: ReleaseFacts = { ...firmware, line: 'meter', status: 'PUBLISHED' };
const app: ReleaseFacts = { ...bl2, releaseId: 'a', image: 'app' };
const bind = (release: ReleaseFacts): JobCommand => ({ type: 'BindFirmware', release, by: 'operator:ann' });
const releaseJob: JobCommand = { type: 'ReleaseJob', by: 'operator:bob' };
const allot = (programmer: string, count: number, scrapAllowance = 0): JobCommand => ({
  type: 'MakeAllotment',
  programmer,
  count,
  scrapAllowance,
});
const settle = (programmer: string, committed: number): JobCommand => ({ type: 'SettleAllotment', programmer, committed, scrapped: 0 });
const close: JobCommand = { type: 'CloseJob', by: 'system:closer' };
const suspend: JobCommand = { type: 'SuspendJob', reason: 'cloned key', by: 'system:keys' };
const resume: JobCommand = { type: 'ResumeJob', by: 'operator:bob' };
const cancel: JobCommand = { type: 'CancelJob', reason: 'plan changed', by: 'operator:ann' };
const defined = [create, bind(bl2), bind(app)];
const released = [...defined, releaseJob];
const running = [...released, allot('p1', 6, 1)];
const reconciled: JobCommand = { type: 'ReconcileJob', reconciliation: { verdict: 'clean', findings: [] }, reportSha256: 'rp' };

const on = (...commands: readonly JobCommand[]) => scenario(job).given(...play(job, commands).events);
const state = (...commands: readonly JobCommand[]) => play(job, commands).state;
const contentOf = (...commands: readonly JobCommand[]) => {
  const draft = state(...commands);
  const text = draft.status === 'NONE' ? '' : jobContent(draft);
  return { text, sha256: `hash of ${text}` };
};

describe('defining a job', () => {
  it('is created once with its plan', () => {
    on()
      .when(create)
      .givesOnce({ type: 'JobCreated', data: { ...job1, createdBy: 'operator:ann' } });
    on(create)
      .when({ ...create, plannedCount: 11 })
      .refused('CONFLICT');
    on(create)
      .when({ ...create, by: 'operator:bob' })
      .refused('CONFLICT');
    on()
      .when({ ...create, plannedCount: 0 })
      .refused('BAD_REQUEST');
    on()
      .when({ ...create, plannedCount: 1.5 })
      .refused('BAD_REQUEST');
    on()
      .when({ ...create, scrapAllowance: -1 })
      .refused('BAD_REQUEST');
    on().when(releaseJob).refused('NOT_FOUND');
  });

  it('may name the site that builds it, which is part of what is approved (I16)', () => {
    covers('I16');
    const sited = { ...create, site: 'Example CM' };
    on(sited).when(create).refused('CONFLICT');
    expect(contentOf(sited).text).not.toBe(contentOf(create).text);
    for (const [where, code] of [
      ['Example CM', undefined],
      ['Other CM', 'WRONG_SITE'],
      [undefined, 'WRONG_SITE'],
    ] as const)
      expect(codeOf(() => requireSameSite(state(sited), where))).toBe(code);
    expect(codeOf(() => requireSameSite(state(create), 'Other CM'))).toBeUndefined();
  });

  it('is defined when bootloader and application are bound (R60, RULE-8)', () => {
    covers('R60', 'RULE-8');
    on(create)
      .when(bind(bl2))
      .givesOnce({ type: 'FirmwareBoundToJob', data: { ...firmware, by: 'operator:ann' } });
    expect([state(create, bind(bl2)).status, state(...defined).status]).toEqual(['DRAFT', 'DEFINED']);
    expect(requireBoundFirmware(state(...defined), 'app').releaseId).toBe('a');
    expect(codeOf(() => requireBoundFirmware(state(create), 'app'))).toBe('FIRMWARE_NOT_BOUND');
    expect(codeOf(() => requireBoundFirmware(state(), 'app'))).toBe('FIRMWARE_NOT_BOUND');
    expect(requireBoundFirmware(state(...defined, bind({ ...app, releaseId: 'a2' })), 'app').releaseId).toBe('a2');
  });

  it('binds only published releases of its line (I8, T13)', () => {
    covers('I8', 'T13');
    on(create)
      .when(bind({ ...bl2, line: 'pump' }))
      .refused('WRONG_PRODUCT');
    for (const status of ['UPLOADED', 'APPROVED', 'WITHDRAWN'])
      on(create)
        .when(bind({ ...bl2, status }))
        .refused('RELEASE_STATE');
    on(...released)
      .when(bind({ ...app, releaseId: 'a2' }))
      .refused('STATE');
  });

  it('takes a UID list before its release (RULE-7)', () => {
    covers('RULE-7');
    const attach: JobCommand = { type: 'AttachUidList', sha256: 'ul', count: 10, by: 'operator:ann' };
    on(create)
      .when(attach)
      .givesOnce({ type: 'UidListAttached', data: { sha256: 'ul', count: 10, by: 'operator:ann' } });
    on(create)
      .when({ ...attach, count: 0 })
      .refused('BAD_REQUEST');
    on(...released)
      .when(attach)
      .refused('STATE');
    const strict = [{ ...create, policy: { ...policy, requireUidList: true } }, bind(bl2), bind(app)];
    on(...strict)
      .when(releaseJob)
      .refused('STATE');
    on(...strict, attach)
      .when(releaseJob)
      .gives({ type: 'JobReleased', data: { by: 'operator:bob' } });
  });

  it('is released by another person than its creator (I16)', () => {
    covers('I16');
    on(...defined)
      .when(releaseJob)
      .givesOnce({ type: 'JobReleased', data: { by: 'operator:bob' } });
    on(...defined)
      .when({ type: 'ReleaseJob', by: 'operator:ann' })
      .refused('FOUR_EYES_REQUIRED');
    on(create, bind(app)).when(releaseJob).refused('FIRMWARE_NOT_BOUND');
    on(...defined, cancel)
      .when(releaseJob)
      .refused('STATE');
  });

  it('is released by nobody who bound firmware or named the chips (I16)', () => {
    covers('I16');
    const byBob = [
      [{ ...bind(bl2), by: 'operator:bob' }, bind(app)],
      [bind(bl2), { ...bind(app), by: 'operator:bob' }],
      [bind(bl2), bind(app), { type: 'AttachUidList', sha256: 'ul', count: 10, by: 'operator:bob' }],
      [{ ...bind({ ...bl2, releaseId: 'b0' }), by: 'operator:bob' }, bind(bl2), bind(app)],
    ] as readonly (readonly JobCommand[])[];
    for (const draft of byBob) {
      on(create, ...draft)
        .when(releaseJob)
        .refused('FOUR_EYES_REQUIRED');
      on(create, ...draft)
        .when({ ...releaseJob, by: 'operator:cat' })
        .givesOnce({ type: 'JobReleased', data: { by: 'operator:cat' } });
    }
  });

  it('binds its release to the content that was seen (I16)', () => {
    covers('I16');
    const seen = contentOf(...defined);
    const release = { ...releaseJob, content: seen } as const;
    on(...defined)
      .when(release)
      .givesOnce({ type: 'JobReleased', data: { by: 'operator:bob', contentSha256: seen.sha256 } });
    for (const change of [
      bind({ ...app, releaseId: 'a2' }),
      { type: 'AttachUidList', sha256: 'ul', count: 3, by: 'operator:ann' },
    ] as const) {
      on(...defined, change)
        .when(release)
        .refused('CONFLICT');
      on(...defined, change)
        .when({ ...release, content: contentOf(...defined, change) })
        .givesOnce({ type: 'JobReleased', data: { by: 'operator:bob', contentSha256: contentOf(...defined, change).sha256 } });
    }
    on(...defined)
      .when({ ...release, content: { ...seen, seenSha256: 'of an older look' } })
      .refused('CONFLICT');
    on(...released)
      .when({ ...release, content: { ...seen, seenSha256: 'of an older look' } })
      .refused('CONFLICT');
  });

  it('folds drafts of older logs, which do not name who bound (R60)', () => {
    covers('R60');
    const { events } = play(job, [create]);
    const older = [
      ...events,
      { type: 'FirmwareBoundToJob', data: firmware },
      { type: 'FirmwareBoundToJob', data: { ...firmware, releaseId: 'a', image: 'app' } },
      { type: 'UidListAttached', data: { sha256: 'ul', count: 10 } },
    ] as const;
    scenario(job)
      .given(...older)
      .when(releaseJob)
      .givesOnce({ type: 'JobReleased', data: { by: 'operator:bob' } });
  });

  it('is cancelled only before its release', () => {
    on(create)
      .when(cancel)
      .givesOnce({ type: 'JobCancelled', data: { by: 'operator:ann', reason: 'plan changed' } });
    on(...released)
      .when(cancel)
      .refused('STATE');
  });
});

describe('allotments', () => {
  it('stay within the plan in sum (I2)', () => {
    covers('I2');
    on(...released)
      .when(allot('p1', 6, 1))
      .givesOnce({ type: 'AllotmentMade', data: { programmer: 'p1', count: 6, scrapAllowance: 1 } });
    on(...running)
      .when(allot('p2', 5))
      .refused('COUNT_OVER_PLAN');
    on(...running)
      .when(allot('p2', 4, 2))
      .refused('COUNT_OVER_PLAN');
    on(...running)
      .when(allot('p2', 4, 1))
      .gives({ type: 'AllotmentMade', data: { programmer: 'p2', count: 4, scrapAllowance: 1 } });
    on(...defined)
      .when(allot('p1', 6))
      .refused('STATE');
    on(...released)
      .when(allot('p1', 0))
      .refused('BAD_REQUEST');
    on(...released)
      .when(allot('p1', 1, -1))
      .refused('BAD_REQUEST');
  });

  it('are raised, never lowered', () => {
    on(...running)
      .when(allot('p1', 10, 1))
      .gives({ type: 'AllotmentMade', data: { programmer: 'p1', count: 10, scrapAllowance: 1 } });
    on(...running)
      .when(allot('p1', 5, 1))
      .refused('STATE');
    on(...running)
      .when(allot('p1', 6, 0))
      .refused('STATE');
  });

  it('free what they did not build once settled', () => {
    on(...running)
      .when(settle('p1', 2))
      .givesOnce({ type: 'AllotmentSettled', data: { programmer: 'p1', committed: 2, scrapped: 0 } });
    on(...running, settle('p1', 2))
      .when(allot('p2', 8))
      .gives({ type: 'AllotmentMade', data: { programmer: 'p2', count: 8, scrapAllowance: 0 } });
    on(...running, settle('p1', 2))
      .when(allot('p1', 2))
      .refused('STATE');
    on(...running, settle('p1', 2))
      .when(allot('p1', 8))
      .gives({ type: 'AllotmentMade', data: { programmer: 'p1', count: 8, scrapAllowance: 0 } });
    on(...running)
      .when(settle('p1', 7))
      .refused('COUNT_OVER_PLAN');
    on(...running)
      .when(settle('p9', 1))
      .refused('NOT_FOUND');
  });
});

describe('running and closing', () => {
  it('builds units only while it runs', () => {
    expect(codeOf(() => requireRunningJob(state(...running)))).toBeUndefined();
    for (const history of [[], released, [...running, suspend]]) {
      expect(codeOf(() => requireRunningJob(state(...history)))).toBe('JOB_NOT_RUNNING');
    }
  });

  it('is suspended and resumed to where it was', () => {
    on(...running)
      .when(suspend)
      .givesOnce({ type: 'JobSuspended', data: { reason: 'cloned key', by: 'system:keys' } });
    on(...running, suspend)
      .when(resume)
      .givesOnce({ type: 'JobResumed', data: { by: 'operator:bob' } });
    expect(state(...released, suspend, resume).status).toBe('RELEASED');
    expect(state(...running, suspend, resume).status).toBe('RUNNING');
    const own: JobCommand = { ...resume, ownOnly: true };
    on(...running, suspend)
      .when(own)
      .refused('FORBIDDEN');
    on(...running, { ...suspend, by: 'operator:bob' })
      .when(own)
      .givesOnce({ type: 'JobResumed', data: { by: 'operator:bob' } });
    on(create).when(suspend).refused('STATE');
    on(create).when(resume).refused('STATE');
  });

  it('closes when every allotment is settled, then is reconciled', () => {
    on(...running)
      .when(close)
      .refused('STATE');
    on(...running, settle('p1', 6))
      .when(close)
      .givesOnce({ type: 'JobClosed', data: { by: 'system:closer' } });
    on(create).when(close).refused('STATE');
    on(...running)
      .when(reconciled)
      .refused('STATE');
    on(...running, settle('p1', 6), close)
      .when(reconciled)
      .givesOnce({ type: 'JobReconciled', data: { verdict: 'clean', findings: [], reportSha256: 'rp' } });
    expect(state(...running, settle('p1', 6), close, reconciled)).toMatchObject({ status: 'RECONCILED', verdict: 'clean' });
    on(...running, settle('p1', 6), close, reconciled)
      .when(close)
      .gives();
  });

  it('records each discrepancy once (T1)', () => {
    covers('T1');
    const discrepancy = { kind: 'overbuild-attempt', programmer: 'p1', detail: 'ledger 7, server 6' } as const;
    on(...running)
      .when({ type: 'RecordDiscrepancy', discrepancy })
      .givesOnce({ type: 'JobDiscrepancyFound', data: discrepancy });
    on(create).when({ type: 'RecordDiscrepancy', discrepancy }).refused('STATE');
  });
});
