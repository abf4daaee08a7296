import { describe, it } from 'vitest';
import { type AlarmCommand, type AlarmEvent, alarm, maxSilentDays } from '../../src/domain/alarm.ts';
import { covers } from '../support/covers.ts';
import { scenario } from './scenario.ts';

const now = '2026-01-01T00:00:00.000Z';
const about = { code: 'CLONE', subject: 'device-1', by: 'operator:alice' } as const;
const raised: AlarmEvent = { type: 'AlarmRaised', data: { code: 'CLONE', subject: 'device-1', detail: 'again' } };
const acknowledge = (upTo: number): AlarmCommand => ({ type: 'AcknowledgeAlarm', ...about, now, upTo, note: 'looked at', lastAt: now });
const silence = (until: string): AlarmCommand => ({ type: 'SilenceAlarm', ...about, now, until, reason: 'known' });
const { given } = scenario(alarm);

describe('an alarm', () => {
  it('is acknowledged up to what the person has seen, once', () => {
    const data = { ...about, at: now, upTo: 7, note: 'looked at' };
    given(raised).when(acknowledge(7)).givesOnce({ type: 'AlarmAcknowledged', data });
    given(raised, { type: 'AlarmAcknowledged', data }, raised).when(acknowledge(5)).gives();
    given(raised, { type: 'AlarmAcknowledged', data })
      .when(acknowledge(8))
      .gives({ type: 'AlarmAcknowledged', data: { ...data, upTo: 8 } });
  });

  it('is assigned to one person, until it is assigned to another', () => {
    const assign = (to: string): AlarmCommand => ({ type: 'AssignAlarm', ...about, now, to });
    const assigned = (to: string): AlarmEvent => ({ type: 'AlarmAssigned', data: { ...about, at: now, to } });
    given(raised).when(assign('bob')).givesOnce(assigned('bob'));
    given(raised, assigned('bob')).when(assign('carol')).gives(assigned('carol'));
  });

  it('is silent for a while that is still to come, and never for ever', () => {
    const until = '2026-01-02T00:00:00.000Z';
    given(raised)
      .when(silence(until))
      .givesOnce({ type: 'AlarmSilenced', data: { ...about, at: now, until, reason: 'known' } });
    for (const wrong of [
      now,
      '2025-12-31T00:00:00.000Z',
      'never',
      new Date(Date.parse(now) + (maxSilentDays * 86_400 + 1) * 1000).toISOString(),
    ])
      given(raised).when(silence(wrong)).refused('BAD_REQUEST');
  });

  it('about people stays open for as long as a recovery waits: who did it does not close it before the others look (T17, I16)', () => {
    covers('T17', 'I16');
    const people = { ...about, code: 'PEOPLE_CHANGED' };
    const close = (at: string): AlarmCommand => ({ type: 'AcknowledgeAlarm', ...people, now: at, upTo: 7, note: 'all well', lastAt: now });
    given(raised).when(close('2026-01-03T23:59:59.000Z')).refused('STATE');
    given(raised)
      .when(close('2026-01-04T00:00:00.000Z'))
      .gives({ type: 'AlarmAcknowledged', data: { ...people, at: '2026-01-04T00:00:00.000Z', upTo: 7, note: 'all well' } });
    given(raised)
      .when({ ...silence('2026-01-02T00:00:00.000Z'), code: 'PEOPLE_CHANGED' })
      .refused('STATE');
  });
});
