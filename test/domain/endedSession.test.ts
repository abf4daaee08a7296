import { it } from 'vitest';
import { endedSession } from '../../src/domain/endedSession.ts';
import { scenario } from './scenario.ts';

const until = '2026-07-01T08:00:00.000Z';

it('a session ends before its time once', () => {
  scenario(endedSession).given().when({ type: 'EndSession', until }).givesOnce({ type: 'SessionEnded', data: { until } });
});
