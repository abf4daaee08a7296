import { describe, expect, it } from 'vitest';
import { fold } from '../../src/domain/decider.ts';
import { maxSessions, type Session, sessions } from '../../src/domain/sessions.ts';
import { scenario } from './scenario.ts';

const at = '2026-07-01T08:00:00.000Z';
const until = '2026-07-01T16:00:00.000Z';
const session = (number: number): Session => ({
  ...{ id: number.toString(16).padStart(32, '0'), use: 'console', at, until },
  ...{ tokenSha256: 'ab'.repeat(32), address: '192.0.2.7', agent: 'a browser' },
});
const begun = (number: number) => ({ type: 'SessionBegun', data: session(number) }) as const;
const ended = (number: number) => ({ type: 'SessionEnded', data: { id: session(number).id } }) as const;

describe('sessions of one person', () => {
  it('begin and end once', () => {
    scenario(sessions)
      .given()
      .when({ type: 'BeginSession', ...session(1) })
      .givesOnce(begun(1));
    scenario(sessions)
      .given(begun(1), begun(2))
      .when({ type: 'EndSession', id: session(1).id })
      .givesOnce(ended(1));
  });

  it('are not more than their limit: the first ends when one more begins', () => {
    const full = Array.from({ length: maxSessions }, (_, number) => begun(number));
    scenario(sessions)
      .given(...full)
      .when({ type: 'BeginSession', ...session(maxSessions) })
      .givesOnce(ended(0), begun(maxSessions));
  });

  it('that are over make room and are forgotten', () => {
    const full = Array.from({ length: maxSessions }, (_, number) => begun(number));
    const next = { ...session(99), at: until, until: '2026-07-02T00:00:00.000Z' };
    scenario(sessions)
      .given(...full)
      .when({ type: 'BeginSession', ...next })
      .givesOnce({ type: 'SessionBegun', data: next });
    expect(fold(sessions, [...full, { type: 'SessionBegun', data: next }]).open).toEqual([next]);
  });
});
