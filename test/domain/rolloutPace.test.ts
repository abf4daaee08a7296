import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  isWindowOpen,
  type OffersMade,
  offersAllowed,
  offersLately,
  type RolloutWindow,
  rateAt,
  requirePace,
  requireWindows,
  retryPauseMs,
} from '../../src/domain/rolloutPace.ts';
import { codeOf } from './scenario.ts';

const night: RolloutWindow = { from: '22:00', to: '04:00', timeZone: 'Europe/Berlin' };
const saturday: RolloutWindow = { ...night, days: ['sat'] };
const day: RolloutWindow = { from: '08:00', to: '18:00', timeZone: 'Asia/Taipei' };

describe('a window', () => {
  it.each([
    // Berlin is one hour ahead of UTC in winter, two in summer.
    ['2026-01-10T20:59:00Z', night, false],
    ['2026-01-10T21:00:00Z', night, true],
    ['2026-07-10T20:00:00Z', night, true],
    ['2026-01-11T02:59:00Z', night, true],
    ['2026-01-11T03:00:00Z', night, false],
    // 10 January 2026 is a Saturday: its night ends on Sunday.
    ['2026-01-11T01:00:00Z', saturday, true],
    ['2026-01-10T01:00:00Z', saturday, false],
    ['2026-01-11T22:00:00Z', saturday, false],
    ['2026-01-10T00:00:00Z', day, true],
    ['2026-01-10T10:00:00Z', day, false],
  ])('%s', (now, window, isOpen) => {
    expect(isWindowOpen([window], now)).toBe(isOpen);
  });

  it('is open when any of them is, and always where there is none', () => {
    expect(isWindowOpen([night, day], '2026-01-10T00:00:00Z')).toBe(true);
    expect(isWindowOpen([night, day], '2026-01-10T12:00:00Z')).toBe(false);
    expect(isWindowOpen(undefined, '2026-01-10T12:00:00Z')).toBe(true);
  });

  it('has a time zone by name, two times, and days of the week', () => {
    const refused = (change: object) => codeOf(() => requireWindows([{ ...night, ...change }]));
    expect(refused({})).toBeUndefined();
    for (const change of [
      { timeZone: 'Mars/Olympus' },
      { timeZone: '+02:00' },
      { from: '24:00' },
      { from: '4:00' },
      { to: '22:00' },
      { days: [] },
    ])
      expect(refused(change), JSON.stringify(change)).toBe('BAD_REQUEST');
    expect(codeOf(() => requireWindows(Array.from({ length: 21 }, () => night)))).toBe('BAD_REQUEST');
  });

  it('and the rest of the day are never open together', () => {
    const time = fc
      .integer({ min: 0, max: 1439 })
      .map(m => `${String(Math.floor(m / 60)).padStart(2, '0')}:${String(m % 60).padStart(2, '0')}`);
    const at = fc.date({ min: new Date('2026-01-01'), max: new Date('2027-01-01'), noInvalidDate: true }).map(date => date.toISOString());
    fc.assert(
      fc.property(time, time, at, (from, to, now) => {
        fc.pre(from !== to);
        const timeZone = 'America/New_York';
        expect(isWindowOpen([{ from, to, timeZone }], now)).toBe(!isWindowOpen([{ from: to, to: from, timeZone }], now));
      }),
    );
  });
});

describe('the pace', () => {
  it('doubles up to the rate', () => {
    const plan = { ratePerMinute: 100, ramp: { firstPerMinute: 10, doublesEveryMinutes: 5 } };
    expect([0, 4, 5, 10, 20, 10_000].map(minute => rateAt(plan, minute * 60_000))).toEqual([10, 10, 20, 40, 100, 100]);
    expect(rateAt({ ratePerMinute: 7 }, 0)).toBe(7);
    expect(rateAt({}, 0)).toBeUndefined();
  });

  it('allows in no minute more offers than the rate is at its end, whenever and however many are wanted', () => {
    const ramp = { firstPerMinute: 3, doublesEveryMinutes: 1 };
    const wish = fc.record({ afterMs: fc.integer({ min: 0, max: 70_000 }), wanted: fc.integer({ min: 0, max: 30 }) });
    fc.assert(
      fc.property(fc.array(wish, { minLength: 1, maxLength: 40 }), wishes => {
        const plan = { ratePerMinute: 20, ramp };
        let [nowMs, all, lately]: [number, OffersMade[], readonly OffersMade[]] = [Date.parse('2026-01-10T20:59:00Z'), [], []];
        for (const { afterMs, wanted } of wishes) {
          nowMs += afterMs;
          const at = new Date(nowMs).toISOString();
          const firstOfferAt = all[0]?.at;
          const count = Math.min(wanted, offersAllowed({ ...plan, ...(firstOfferAt && { firstOfferAt }), lately }, at));
          if (count === 0) continue;
          [all, lately] = [[...all, { count, at }], offersLately(lately, { count, at })];
          const minute = all.filter(made => Date.parse(made.at) >= nowMs - 60_000).reduce((sum, made) => sum + made.count, 0);
          expect(minute).toBeLessThanOrEqual(rateAt(plan, nowMs - Date.parse(all[0]?.at ?? at)) ?? 0);
          expect(minute).toBe(lately.reduce((sum, made) => sum + made.count, 0));
        }
        const later = new Date(nowMs + 60_001).toISOString();
        expect(offersAllowed({ ...plan, lately }, later)).toBe(3);
      }),
    );
  });

  it('of retries doubles its pauses', () => {
    expect([0, 1, 2].map(attempt => retryPauseMs({ count: 3, afterMinutes: 10 }, attempt) / 60_000)).toEqual([10, 20, 40]);
    expect(codeOf(() => requirePace(undefined, { count: 11, afterMinutes: 1 }))).toBe('BAD_REQUEST');
    expect(codeOf(() => requirePace({ firstPerMinute: 0, doublesEveryMinutes: 1 }, undefined))).toBe('BAD_REQUEST');
  });
});
