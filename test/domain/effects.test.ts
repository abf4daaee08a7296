import { describe, expect, it } from 'vitest';
import { type EffectCommand, effectsOfPerson, maxAllowed } from '../../src/domain/effects.ts';
import { proposalLifetimeMs } from '../../src/domain/proposals.ts';
import { timeAfter } from '../../src/domain/rules.ts';
import { covers } from '../support/covers.ts';
import { play, scenario } from './scenario.ts';

const now = '2026-07-01T08:00:00.000Z';
const tomorrow = '2026-07-02T08:00:00.000Z';
const use = (subject: string, more: Partial<Extract<EffectCommand, { type: 'UseEffect' }>> = {}): EffectCommand => ({
  type: 'UseEffect',
  effect: 'revoke',
  subject,
  limit: 2,
  now,
  ...more,
});
const propose: EffectCommand = {
  type: 'ProposeEffectAllowance',
  id: 'a',
  effect: 'revoke',
  count: 1,
  note: 'batch 7',
  by: 'operator:olga',
  now,
};
const approve: EffectCommand = { type: 'ApproveEffectAllowance', id: 'a', by: 'operator:otto', now };
const on = (...commands: readonly EffectCommand[]) => scenario(effectsOfPerson).given(...play(effectsOfPerson, commands).events);

describe('what one person does to devices', () => {
  it('is limited by the day and the kind, and the same device counts once (I16)', () => {
    covers('I16');
    on(use('u1'))
      .when(use('u2'))
      .givesOnce({ type: 'EffectUsed', data: { effect: 'revoke', subject: 'u2', at: now } });
    on(use('u1'), use('u2')).when(use('u3')).refused('FOUR_EYES_REQUIRED');
    on(use('u1'), use('u2')).when(use('u1')).gives();
    on(use('u1'), use('u2'))
      .when(use('u3', { effect: 'quarantine' }))
      .gives({ type: 'EffectUsed', data: { effect: 'quarantine', subject: 'u3', at: now } });
    on(use('u1'), use('u2'))
      .when(use('u3', { now: tomorrow }))
      .gives({ type: 'EffectUsed', data: { effect: 'revoke', subject: 'u3', at: tomorrow } });
    on()
      .when(use('u1', { limit: 0 }))
      .refused('FOUR_EYES_REQUIRED');
  });

  it('counts what was done, and nothing that came to nothing', () => {
    const returned = { type: 'ReturnEffect', effect: 'revoke', subject: 'u1', at: now } as const;
    on(use('u1'), use('u2'))
      .when(returned)
      .givesOnce({ type: 'EffectReturned', data: { effect: 'revoke', subject: 'u1', at: now } });
    on(use('u1'), use('u2'), returned)
      .when(use('u3'))
      .gives({ type: 'EffectUsed', data: { effect: 'revoke', subject: 'u3', at: now } });
    on(use('u1'), use('u2'))
      .when({ ...returned, at: tomorrow })
      .gives();
    on(use('u1'), use('u2'), propose, approve, use('u3'), { ...returned, subject: 'u3' })
      .when(use('u4'))
      .gives({ type: 'EffectUsed', data: { effect: 'revoke', subject: 'u4', at: now, allowanceId: 'a' } });
    // Done by another request, whose count was returned by the one that found nothing to do.
    on(use('u1'), use('u2'))
      .when(use('u3', { isDone: true }))
      .gives({ type: 'EffectUsed', data: { effect: 'revoke', subject: 'u3', at: now } });
  });

  it('goes further when another person allows it: so many, of this kind, within a day', () => {
    const spent = [use('u1'), use('u2')];
    on(...spent, propose)
      .when(use('u3'))
      .refused('FOUR_EYES_REQUIRED');
    on(...spent, propose)
      .when({ ...approve, by: 'operator:olga' })
      .refused('FOUR_EYES_REQUIRED');
    on(...spent, propose)
      .when({ ...approve, now: timeAfter(now, proposalLifetimeMs) })
      .refused('PROPOSAL_EXPIRED');
    on(...spent, propose, approve)
      .when(use('u3'))
      .givesOnce({ type: 'EffectUsed', data: { effect: 'revoke', subject: 'u3', at: now, allowanceId: 'a' } });
    on(...spent, propose, approve, use('u3'))
      .when(use('u4'))
      .refused('FOUR_EYES_REQUIRED');
    on(...spent, propose, approve)
      .when(use('u3', { effect: 'release', limit: 0 }))
      .refused('FOUR_EYES_REQUIRED');
    on(use('u1', { now: tomorrow }), use('u2', { now: tomorrow }), propose, approve)
      .when(use('u3', { now: tomorrow }))
      .refused('FOUR_EYES_REQUIRED');
    on()
      .when({ ...propose, count: maxAllowed + 1 } as EffectCommand)
      .refused('BAD_REQUEST');
    expect(play(effectsOfPerson, [...spent, propose, approve, use('u3')]).state.allowances.get('a')?.used).toBe(1);
  });
});
