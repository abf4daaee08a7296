import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { contentText } from '../../src/domain/contentText.ts';
import { fold } from '../../src/domain/decider.ts';
import { type PlannedRollout, type RolloutCommand, rollout } from '../../src/domain/rollout.ts';
import { rolloutContent } from '../../src/domain/rolloutPlan.ts';
import { canonicalJson } from '../../src/eventstore/canonical.ts';
import type { Json } from '../../src/eventstore/port.ts';
import { covers } from '../support/covers.ts';
import { play } from './scenario.ts';

const asLogged = <Value>(value: Value): Value => JSON.parse(canonicalJson(value as Json)) as Value;

describe('the text of a content', () => {
  it('is the same before and after the log', () => {
    fc.assert(
      fc.property(fc.jsonValue(), value => {
        expect(contentText(asLogged(value))).toBe(contentText(value));
      }),
    );
  });

  it('differs where the content differs', () => {
    expect(contentText({ a: [{ b: 1, c: 2 }] })).toBe('{"a":[{"b":1,"c":2}]}');
    expect(contentText([1, 2])).not.toBe(contentText([2, 1]));
  });

  it('lets a rollout start in a process that has read the plan and not made it (I16)', () => {
    covers('I16');
    const plan: RolloutCommand = {
      type: 'PlanRollout',
      rolloutId: 'ro',
      releaseId: 'r1',
      line: 'meter',
      groups: [{ name: 'pilot', devices: ['u1'] }],
      thresholds: { successPercent: 90, failurePercent: 10 },
      by: 'operator:ann',
    };
    const made = play(rollout, [plan]);
    const read = fold(rollout, made.events.map(asLogged), rollout.initialState);
    expect(rolloutContent(read as PlannedRollout)).toBe(rolloutContent(made.state as PlannedRollout));
  });
});
