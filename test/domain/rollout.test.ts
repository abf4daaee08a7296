import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { contentText } from '../../src/domain/contentText.ts';
import { type PlannedRollout, type RolloutCommand, rollout } from '../../src/domain/rollout.ts';
import { maxGroups, rolloutContent } from '../../src/domain/rolloutPlan.ts';
import { covers } from '../support/covers.ts';
import { play, scenario } from './scenario.ts';

const planData = {
  rolloutId: 'ro',
  releaseId: 'r1',
  line: 'meter',
  groups: [
    { name: 'pilot', devices: ['u1', 'u2'] },
    { name: 'rest', percent: 100 },
  ],
  thresholds: { successPercent: 90, failurePercent: 10 },
};
const plan = { type: 'PlanRollout', ...planData, by: 'operator:ann' } as const satisfies RolloutCommand;
const approve: RolloutCommand = { type: 'ApproveRollout', by: 'operator:bob' };
const start: RolloutCommand = { type: 'StartRollout', by: 'operator:bob' };
const group = (index: number, deviceCount = 10): RolloutCommand => ({
  type: 'StartGroup',
  group: index,
  deviceCount,
  devicesSha256: `l${index}`,
});
const health = (index: number, succeeded: number, failed: number): RolloutCommand => ({
  type: 'RecordGroupHealth',
  group: index,
  succeeded,
  failed,
});
const pause: RolloutCommand = { type: 'PauseRollout', reason: 'night', by: 'o' };
const resume: RolloutCommand = { type: 'ResumeRollout', by: 'o' };
const abort: RolloutCommand = { type: 'AbortRollout', reason: 'recall', by: 'o' };
const running = [plan, approve, start];
const pilot = [...running, group(0)];

const on = (...commands: readonly RolloutCommand[]) => scenario(rollout).given(...play(rollout, commands).events);
const status = (...commands: readonly RolloutCommand[]) => play(rollout, commands).state.status;

describe('devices that come later', () => {
  const deadline = '2026-12-24T12:00:00Z';
  const late = [{ ...plan, lateJoiners: true, deadline }, approve, start, group(0)] as const;
  const last = [...late, health(0, 10, 0), group(1)] as const;
  const join = { type: 'JoinDevices', group: 1, deviceCount: 12, devicesSha256: 'l2' } as const;

  it('join the last group of a rollout that lets them', () => {
    const { type: _, ...data } = join;
    on(...last)
      .when(join)
      .givesOnce({ type: 'DevicesJoined', data });
    on(...late)
      .when({ ...join, group: 0 })
      .refused('STATE');
    on(...last)
      .when({ ...join, deviceCount: 10 })
      .refused('CONFLICT');
    on(...pilot, health(0, 10, 0), group(1))
      .when(join)
      .refused('STATE');
    on()
      .when({ ...plan, lateJoiners: true })
      .refused('BAD_REQUEST');
  });

  it('are waited for where nobody is there yet, and empty groups before the last one are passed over', () => {
    const empty = [{ ...plan, lateJoiners: true, deadline }, approve, start] as const;
    const skip = { type: 'SkipGroup', group: 0, devicesSha256: 'none' } as const;
    on(...empty)
      .when(skip)
      .givesOnce(
        { type: 'GroupStarted', data: { group: 0, deviceCount: 0, devicesSha256: 'none' } },
        { type: 'GroupPassed', data: { group: 0, succeeded: 0, failed: 0 } },
      );
    on(...empty, skip)
      .when({ ...skip, group: 1 })
      .refused('STATE');
    const end = { type: 'ReachDeadline', now: '2026-12-25T12:00:00Z', by: 'o', group: 1, succeeded: 0, failed: 0 } as const;
    expect(status(...empty, skip, end)).toBe('HALTED');
    expect(status(...late, health(0, 10, 0), end)).toBe('COMPLETED');
    on(...running)
      .when(skip)
      .refused('STATE');
  });

  it('keep it open until its deadline', () => {
    expect(status(...last, health(1, 10, 0))).toBe('RUNNING');
    const end = { type: 'ReachDeadline', now: deadline, by: 'system', group: 1, succeeded: 10, failed: 0 } as const;
    expect(status(...last, health(1, 10, 0), end)).toBe('COMPLETED');
    expect(status(...last, end)).toBe('COMPLETED');
    expect(status(...last, { ...end, succeeded: 5 })).toBe('HALTED');
  });
});

it('what an approval approves contains selectors, windows, pace and late joiners, and is as before for a plan without them', () => {
  const contentOf = (change: object): string => rolloutContent(play(rollout, [{ ...plan, ...change }]).state as PlannedRollout);
  const window = { from: '22:00', to: '04:00', timeZone: 'Europe/Berlin' };
  const changes = [
    {},
    { selector: { tags: ['pilot'] } },
    { windows: [window] },
    { windows: [{ ...window, to: '05:00' }] },
    { ramp: { firstPerMinute: 1, doublesEveryMinutes: 1 } },
    { retries: { count: 1, afterMinutes: 1 } },
    { lateJoiners: true, deadline: '2026-12-24T12:00:00Z' },
  ];
  expect(new Set(changes.map(contentOf)).size).toBe(changes.length);
  expect(JSON.parse(contentOf({}))).toHaveLength(9);
  expect(JSON.parse(contentOf({ permitDowngrade: true }))).toHaveLength(11);
  expect(JSON.parse(contentOf({ lateJoiners: true, deadline: '2026-12-24T12:00:00Z' }))).toHaveLength(16);
});

describe('a rollout', () => {
  it('is planned with sensible groups and thresholds', () => {
    on()
      .when(plan)
      .givesOnce({ type: 'RolloutPlanned', data: { ...planData, plannedBy: 'operator:ann' } });
    on(plan)
      .when({ ...plan, releaseId: 'r2' })
      .refused('CONFLICT');
    on()
      .when({ ...plan, groups: [] })
      .refused('BAD_REQUEST');
    on()
      .when({ ...plan, groups: Array.from({ length: maxGroups + 1 }, () => ({ name: 'g', percent: 1 })) })
      .refused('BAD_REQUEST');
    on()
      .when({ ...plan, groups: [{ name: 'g', percent: 0 }] })
      .refused('BAD_REQUEST');
    on()
      .when({ ...plan, groups: [{ name: 'g', devices: [] }] })
      .refused('BAD_REQUEST');
    on()
      .when({ ...plan, thresholds: { successPercent: 101, failurePercent: 1 } })
      .refused('BAD_REQUEST');
    on().when(start).refused('NOT_FOUND');
  });

  it('is approved by another person than its planner (I16)', () => {
    covers('I16');
    on(plan)
      .when(approve)
      .givesOnce({ type: 'RolloutApproved', data: { by: 'operator:bob' } });
    on(plan)
      .when({ ...approve, by: 'operator:ann' })
      .refused('FOUR_EYES_REQUIRED');
    on(plan, abort).when(approve).refused('STATE');
    on(plan).when(start).refused('STATE');
    on(plan, approve)
      .when(start)
      .givesOnce({ type: 'RolloutStarted', data: { by: 'operator:bob' } });
  });

  it('starts its groups in order, each after the one before has passed', () => {
    on(...running)
      .when(group(0))
      .givesOnce({ type: 'GroupStarted', data: { group: 0, deviceCount: 10, devicesSha256: 'l0' } });
    on(...running)
      .when(group(1))
      .refused('CONFLICT');
    on(...pilot)
      .when(group(1))
      .refused('STATE');
    on(...pilot, health(0, 9, 0))
      .when(group(1))
      .gives({ type: 'GroupStarted', data: { group: 1, deviceCount: 10, devicesSha256: 'l1' } });
    on(...pilot, health(0, 9, 0), group(1), health(1, 8, 0))
      .when(group(2))
      .refused('CONFLICT');
    on(...running)
      .when(group(0, 0))
      .refused('BAD_REQUEST');
    on(...running, pause)
      .when(group(0))
      .refused('STATE');
  });

  it('passes a group at the success threshold and completes after the last', () => {
    on(...pilot)
      .when(health(0, 8, 0))
      .gives();
    on(...pilot)
      .when(health(0, 9, 1))
      .givesOnce({ type: 'GroupPassed', data: { group: 0, succeeded: 9, failed: 1 } });
    on(...pilot, health(0, 9, 0), group(1))
      .when(health(1, 10, 0))
      .givesOnce({ type: 'GroupPassed', data: { group: 1, succeeded: 10, failed: 0 } }, { type: 'RolloutCompleted', data: { groups: 2 } });
    on(...running)
      .when(health(0, 1, 0))
      .refused('STATE');
    on(...pilot, abort)
      .when(health(0, 10, 0))
      .refused('STATE');
  });

  it('halts when failures exceed the threshold', () => {
    on(...pilot)
      .when(health(0, 8, 2))
      .givesOnce({ type: 'RolloutHalted', data: { group: 0, succeeded: 8, failed: 2, reason: 'more than 10 % of the group failed' } });
    expect(status(...pilot, health(0, 0, 2))).toBe('HALTED');
    on(...pilot, health(0, 0, 2))
      .when(resume)
      .refused('STATE');
    expect(status(...pilot, health(0, 0, 2), abort)).toBe('ABORTED');
  });

  it('is paused, resumed and aborted', () => {
    on(...running)
      .when(pause)
      .givesOnce({ type: 'RolloutPaused', data: { reason: 'night', by: 'o' } });
    on(...running, pause)
      .when(resume)
      .givesOnce({ type: 'RolloutResumed', data: { by: 'o' } });
    on(...running)
      .when(abort)
      .givesOnce({ type: 'RolloutAborted', data: { reason: 'recall', by: 'o' } });
    on(plan).when(pause).refused('STATE');
    on(...running, abort)
      .when(resume)
      .refused('STATE');
  });

  it('has a verdict as soon as every device has its end, or no outcome can change it', () => {
    const halted = (data: { succeeded: number; failed: number; out?: number }, reason: string) =>
      ({ type: 'RolloutHalted', data: { group: 0, ...data, reason } }) as const;
    const judge = (change: object) => ({ type: 'RecordGroupHealth', group: 0, succeeded: 0, failed: 0, ...change }) as RolloutCommand;
    on(...pilot)
      .when(judge({ succeeded: 8, failed: 1, out: 1 }))
      .gives(halted({ succeeded: 8, failed: 1, out: 1 }, 'more than 10 % of the group failed'));
    on(...pilot)
      .when(judge({ succeeded: 8, out: 2 }))
      .gives({ type: 'GroupPassed', data: { group: 0, succeeded: 8, failed: 0, out: 2 } });
    on(...pilot)
      .when(judge({ out: 10 }))
      .gives(halted({ succeeded: 0, failed: 0, out: 10 }, 'no device of the group counts any more'));
    const patient = { ...plan, thresholds: { successPercent: 90, failurePercent: 100 } } as const;
    on(patient, approve, start, group(0))
      .when(judge({ succeeded: 1, failed: 2 }))
      .gives(halted({ succeeded: 1, failed: 2 }, 'the group can no longer reach 90 %'));
  });

  it('is complete only when no device is under way any more', () => {
    const both = [...pilot, health(0, 10, 0), group(1)];
    const last = (underway: number, failed = 0) =>
      ({ type: 'RecordGroupHealth', group: 1, succeeded: 9, failed, underway }) as const satisfies RolloutCommand;
    on(...both)
      .when(last(1))
      .gives({ type: 'GroupPassed', data: { group: 1, succeeded: 9, failed: 0 } });
    on(...both, last(1))
      .when(last(1))
      .gives();
    on(...both, last(1))
      .when(last(0, 1))
      .gives({ type: 'RolloutCompleted', data: { groups: 2 } });
  });

  it('ends by its deadline from any state, whatever became of the devices', () => {
    const deadline = '2026-12-01T00:00:00.000Z';
    const now = '2026-12-01T00:00:01.000Z';
    const counts = fc.record({ succeeded: fc.nat(10), failed: fc.nat(10), out: fc.nat(10), underway: fc.nat(3), group: fc.nat(1) });
    const command: fc.Arbitrary<RolloutCommand> = fc.oneof(
      fc.constantFrom(approve, start, group(0), group(1), pause, resume),
      counts.map(each => ({ type: 'RecordGroupHealth', ...each }) as const),
    );
    const ends = ['HALTED', 'COMPLETED', 'ABORTED'];
    fc.assert(
      fc.property(fc.array(command, { maxLength: 30, size: 'max' }), counts, (commands, { underway: _, ...left }) => {
        const before = play(rollout, [{ ...plan, deadline }, ...commands]);
        const reach = { type: 'ReachDeadline', now, by: 'system:rollouts', ...left } as const;
        const { state } = play(rollout, [{ ...plan, deadline }, ...commands, reach]);
        expect(ends, before.state.status).toContain(state.status);
      }),
    );
  });

  it('ends without a deadline once every device of every group has its end', () => {
    const mixture = fc
      .tuple(fc.nat(10), fc.nat(10))
      .map(([a, b]) => ({ succeeded: Math.min(a, b), failed: Math.abs(a - b), out: 10 - Math.max(a, b) }));
    const percents = fc.record({ successPercent: fc.nat(100), failurePercent: fc.nat(100) });
    fc.assert(
      fc.property(mixture, mixture, percents, (first, second, thresholds) => {
        const ended = (index: number, counts: object) =>
          ({ type: 'RecordGroupHealth', group: index, underway: 0, ...counts }) as RolloutCommand;
        const { state } = play(rollout, [{ ...plan, thresholds }, approve, start, group(0), ended(0, first), group(1), ended(1, second)]);
        expect(['HALTED', 'COMPLETED']).toContain(state.status);
      }),
    );
  });

  it('is halted from outside, and ends when no device is left for its next group', () => {
    const halt = { type: 'HaltRollout', reason: 'the release is withdrawn', group: 0, succeeded: 1, failed: 0 } as const;
    const { type: _, ...data } = halt;
    for (const before of [[plan], [plan, approve], running, [...pilot, pause]])
      on(...before)
        .when(halt)
        .givesOnce({ type: 'RolloutHalted', data });
    const nobody = (index: number) => ({ type: 'EndWithoutGroup', group: index, reason: 'nobody' }) as const;
    on(...running)
      .when(nobody(0))
      .givesOnce({ type: 'RolloutHalted', data: { group: 0, succeeded: 0, failed: 0, reason: 'nobody' } });
    on(...pilot, health(0, 10, 0))
      .when(nobody(1))
      .givesOnce({ type: 'RolloutCompleted', data: { groups: 2 } });
    on(...pilot)
      .when(nobody(1))
      .refused('STATE');
  });
});

describe('the content of an approval', () => {
  const contentOf = (more: Partial<RolloutCommand & { type: 'PlanRollout' }>) =>
    rolloutContent(play(rollout, [{ ...plan, ...more }]).state as PlannedRollout);

  it('names everything that the plan may say, a permitted downgrade and the recalled release too (I16)', () => {
    covers('I16');
    const contents = [{}, { permitDowngrade: true }, { permitCounterJump: true }, { fromRelease: 'r0' }, { securityUpdate: true }].map(
      contentOf,
    );
    expect(new Set(contents).size).toBe(contents.length);
  });

  it('of a plan without these is the text that was approved before there were any', () => {
    expect(contentOf({})).toBe(contentText(['ro', 'r1', 'meter', planData.groups, planData.thresholds, null, null, null, null]));
  });
});
