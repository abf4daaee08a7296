import { afterEach, describe, expect, it } from 'vitest';
import type { Alarm } from '../../../src/services/base/alarms.ts';
import { createPresence, type Presence, type PresenceNote, refusalsPerMinute } from '../../../src/services/field/presence.ts';

const opened: Presence[] = [];
afterEach(() => {
  for (const presence of opened.splice(0)) presence.close();
});

function open() {
  const alarms: Alarm[] = [];
  const told: unknown[] = [];
  let hear: ((value: never) => void) | undefined;
  const notices = {
    notify: (_topic: string, value: unknown) => void told.push(value),
    onNotice: (_topic: string, listener: (value: never) => void) => {
      hear = listener;
    },
  };
  const presence = createPresence({ raise: async alarm => void alarms.push(alarm), ended() {} }, notices);
  opened.push(presence);
  return { presence, alarms, told, hear: (value: unknown) => hear?.(value as never) };
}

const refusal = (change: Partial<PresenceNote> = {}): PresenceNote => ({
  atMs: 1,
  state: 'refused',
  clientId: null,
  address: '192.0.2.7',
  reason: 'AUTH_ERROR',
  detail: 'no client certificate',
  ...change,
});

describe('presence', () => {
  it('shows of a client what happened to it, the newest first, and not all of it', () => {
    const { presence } = open();
    for (let atMs = 0; atMs < 20; atMs += 2) {
      presence.note({ atMs, state: 'connected', clientId: 'a', address: '192.0.2.7' });
      presence.note({ atMs: atMs + 1, state: 'disconnected', clientId: 'a', address: '192.0.2.7', reason: 'CONNECTION_LOST' });
    }
    const known = presence.ofClient('a');
    expect(known).toMatchObject({ connects: 10, refusals: 0 });
    expect(known?.recent.map(({ atMs }) => atMs)).toEqual([19, 18, 17, 16, 15, 14, 13, 12]);
    expect(presence.ofClient('b')).toBeUndefined();
  });

  it('finds refusals by address and reason, and counts by address', () => {
    const { presence } = open();
    presence.note(refusal({ atMs: 1 }));
    presence.note(refusal({ atMs: 2, address: '198.51.100.1', reason: 'REVOKED', clientId: 'a' }));
    presence.note(refusal({ atMs: 3 }));
    expect(presence.refusals(10).map(({ atMs }) => atMs)).toEqual([3, 2, 1]);
    expect(presence.refusals(1, { address: '192.0.2.7' }).map(({ atMs }) => atMs)).toEqual([3]);
    expect(presence.refusals(10, { reason: 'REVOKED' })).toMatchObject([{ clientId: 'a' }]);
    expect(presence.addresses(1)).toEqual([{ address: '192.0.2.7', connects: 0, refusals: 2, lastMs: 3, lastReason: 'AUTH_ERROR' }]);
    expect(presence.counts()).toContainEqual({ state: 'refused', reason: 'AUTH_ERROR', count: 2 });
  });

  it('stays small in a flood, and raises an alarm', () => {
    const { presence, alarms, told } = open();
    for (let i = 0; i < 20_000; i += 1)
      presence.note(refusal({ address: `10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`, detail: 'x'.repeat(5_000) }));
    expect(presence.refusals(1e9).length).toBeLessThanOrEqual(2_000);
    expect(presence.addresses(1e9).length).toBeLessThanOrEqual(10_000);
    expect(presence.refusals(1)[0]?.detail).toHaveLength(200);
    // One for each so many.
    expect(alarms.length).toBe(Math.floor((20_000 - 1) / refusalsPerMinute));
    expect(alarms[0]).toMatchObject({ code: 'MANY_REFUSALS', subject: 'mqtt' });
    presence.close();
    expect((told.flat() as unknown[]).length).toBe(1_000);
  });

  it('is the same at every process', () => {
    const [one, other] = [open(), open()];
    one.presence.note(refusal({ clientId: 'a' }));
    one.presence.close();
    for (const value of one.told) other.hear(structuredClone(value));
    expect(other.presence.ofClient('a')).toEqual(one.presence.ofClient('a'));
    expect(other.presence.refusals(10)).toEqual(one.presence.refusals(10));
    other.presence.close();
    expect(other.told).toEqual([]);
  });
});
