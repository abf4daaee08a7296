import { describe, it } from 'vitest';
import { type ParkedEventsCommand, parkedEvents } from '../../src/domain/parkedEvents.ts';
import { covers } from '../support/covers.ts';
import { play, scenario } from './scenario.ts';

const at = '2026-01-01T00:00:00.000Z';
const [alice, bob, carol] = ['operator:alice', 'operator:bob', 'operator:carol'];
const park = (by: string, position = 7, follower = 'OCSP'): ParkedEventsCommand => ({
  type: 'ParkEvent',
  follower,
  position,
  reason: 'test',
  by,
  now: at,
});
const on = (...commands: readonly ParkedEventsCommand[]) => scenario(parkedEvents).given(...play(parkedEvents, commands).events);

describe('an event that a follower goes on without', () => {
  it('is proposed by one person and parked when another says the same (I16)', () => {
    covers('I16');
    const wish = { id: '7 OCSP', follower: 'OCSP', position: 7, reason: 'test', at };
    on()
      .when(park(alice))
      .givesOnce({ type: 'EventParkingProposed', data: { ...wish, by: alice } });
    on(park(alice)).when(park(alice)).gives();
    on(park(alice))
      .when(park(bob))
      .givesOnce({ type: 'EventParked', data: { ...wish, by: bob } });
    on(park(alice), park(bob)).when(park(carol)).gives();
  });

  it('is one event for one follower', () => {
    for (const other of [park(bob, 8), park(bob, 7, 'revocations')]) {
      const { follower, position } = other;
      const data = { id: `${position} ${follower}`, follower, position, reason: 'test', by: bob, at };
      on(park(alice)).when(other).gives({ type: 'EventParkingProposed', data });
    }
    on().when(park(alice, 0)).refused('BAD_REQUEST');
  });
});
