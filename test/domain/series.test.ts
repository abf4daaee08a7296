import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type SeriesCommand, type SeriesEvent, series } from '../../src/domain/series.ts';
import { flawOf, isInRange, overlap, type SeriesKind, valueAt } from '../../src/domain/seriesValues.ts';
import { play, scenario } from './scenario.ts';

const { given } = scenario(series);
const by = 'operator:pia';
const jobId = 'a0'.repeat(16);
const programmer = 'b0'.repeat(16);
const defined = (name: string, kind: SeriesKind = 'serial'): SeriesEvent => ({ type: 'SeriesDefined', data: { name, kind, by } });
const range = (from: string, count: number) => ({ from, count });
const extended = (name: string, from: string, count: number): SeriesEvent => ({
  type: 'SeriesExtended',
  data: { name, segment: range(from, count), by },
});
const add = (name: string, from: string, count: number): SeriesCommand => ({ type: 'ExtendSeries', name, segment: range(from, count), by });
const take = (name: string, firstNumber: number, wanted: number, required = wanted, job = jobId): SeriesCommand => ({
  ...{ type: 'TakeBlock', name, jobId: job, programmer, firstNumber, wanted, required },
});
const taken = (name: string, firstNumber: number, from: number, count: number, job = jobId): SeriesEvent => ({
  type: 'SeriesBlockTaken',
  data: { name, jobId: job, programmer, firstNumber, from, count },
});

describe('a series', () => {
  it('is defined once, with one kind', () => {
    given().when({ type: 'DefineSeries', name: 's', kind: 'mac', by }).givesOnce(defined('s', 'mac'));
    given(defined('s')).when({ type: 'DefineSeries', name: 's', kind: 'mac', by }).refused('CONFLICT');
  });

  it('gets ranges that fit their form', () => {
    given(defined('s'))
      .when(add('s', 'SN-0001', 9999))
      .givesOnce(extended('s', 'SN-0001', 9999));
    given(defined('s'))
      .when(add('s', 'SN-0001', 10_000))
      .refused('BAD_REQUEST');
    given(defined('s'))
      .when(add('s', 'SN', 1))
      .refused('BAD_REQUEST');
    given(defined('m', 'mac'))
      .when(add('m', '02:00:5e:ff:ff:ff', 2))
      .givesOnce(extended('m', '02:00:5e:ff:ff:ff', 2));
    given(defined('m', 'mac'))
      .when(add('m', '01:00:5e:00:00:00', 1))
      .refused('BAD_REQUEST');
    given(defined('m', 'mac'))
      .when(add('m', '00:ff:ff:ff:ff:ff', 2))
      .refused('BAD_REQUEST');
    given(defined('c', 'calibration'))
      .when(add('c', '00', 1))
      .refused('BAD_REQUEST');
    given()
      .when(add('s', 'SN-0001', 1))
      .refused('NOT_FOUND');
  });

  it('has no value of another series of its kind', () => {
    const before = [defined('a'), extended('a', 'SN-0100', 100), defined('b'), defined('l', 'label')];
    given(...before)
      .when(add('b', 'SN-0001', 99))
      .givesOnce(extended('b', 'SN-0001', 99));
    given(...before)
      .when(add('b', 'SN-0001', 100))
      .refused('CONFLICT');
    given(...before)
      .when(add('b', 'SN-00100', 100))
      .givesOnce(extended('b', 'SN-00100', 100));
    given(...before)
      .when(add('l', 'SN-0100', 100))
      .givesOnce(extended('l', 'SN-0100', 100));
    given(...before)
      .when({ type: 'ExtendSeries', name: 'b', segment: range('X-1', 1), clash: 'X-1', by })
      .refused('CONFLICT');
  });

  it('gives blocks to shares: asked again the same, for more reservations only what is missing', () => {
    const before = [defined('s'), extended('s', 'SN-0001', 100)];
    given(...before)
      .when(take('s', 1, 60))
      .givesOnce(taken('s', 1, 0, 60));
    given(...before, taken('s', 1, 0, 60))
      .when(take('s', 41, 30))
      .givesOnce(taken('s', 61, 60, 10));
    given(...before, taken('s', 1, 0, 60))
      .when(take('s', 1, 50, 50, 'c0'.repeat(16)))
      .refused('VALUES_EXHAUSTED');
    given(...before, taken('s', 1, 0, 60))
      .when(take('s', 1, 50, 40, 'c0'.repeat(16)))
      .gives(taken('s', 1, 60, 40, 'c0'.repeat(16)));
  });

  it('never gives one value to two reservations, whatever is asked in whatever order', () => {
    const command = fc.record({
      job: fc.constantFrom('a1', 'a2', 'a3').map(hex => hex.repeat(16)),
      firstNumber: fc.integer({ min: 1, max: 30 }),
      wanted: fc.integer({ min: 0, max: 20 }),
      required: fc.integer({ min: 0, max: 20 }),
    });
    fc.assert(
      fc.property(fc.array(command, { maxLength: 40 }), asked => {
        const commands = asked.map(({ job, firstNumber, wanted, required }) =>
          take('s', firstNumber, wanted, Math.min(wanted, required), job),
        );
        const setUp: SeriesCommand[] = [
          { type: 'DefineSeries', name: 's', kind: 'serial', by },
          add('s', 'A-001', 90),
          add('s', 'B-001', 60),
        ];
        const { events } = play(series, [...setUp, ...commands]);
        const given = events.flatMap(({ type, data }) =>
          type === 'SeriesBlockTaken'
            ? Array.from({ length: data.count }, (_, n) => ({ value: data.from + n, reservation: `${data.jobId} ${data.firstNumber + n}` }))
            : [],
        );
        expect(new Set(given.map(({ value }) => value)).size).toBe(given.length);
        expect(new Set(given.map(({ reservation }) => reservation)).size).toBe(given.length);
        expect(given.every(({ value }) => value < 150)).toBe(true);
      }),
    );
  });
});

describe('values', () => {
  it('count in their last digits, MAC addresses as numbers', () => {
    expect(valueAt('serial', range('SN-0098', 10), 3)).toBe('SN-0101');
    expect(valueAt('mac', range('02:00:5e:10:00:fe', 4), 2)).toBe('02:00:5e:10:01:00');
    expect([flawOf('mac', '02:00:5E:10:00:01'), flawOf('serial', ''), flawOf('calibration', '0g')].every(flaw => flaw !== undefined)).toBe(
      true,
    );
  });

  it('are in a range exactly when the range makes them', () => {
    const place = fc.record({ first: fc.integer({ min: 0, max: 9000 }), count: fc.integer({ min: 1, max: 500 }) });
    fc.assert(
      fc.property(place, fc.integer({ min: 0, max: 9999 }), ({ first, count }, other) => {
        const of = range(`X${String(first).padStart(4, '0')}`, count);
        const value = `X${String(other).padStart(4, '0')}`;
        const made = Array.from({ length: count }, (_, index) => valueAt('serial', of, index));
        expect(isInRange('serial', of, value)).toBe(made.includes(value));
        expect(overlap('serial', of, range(value, 3))).toBe([0, 1, 2].some(n => made.includes(`X${String(other + n).padStart(4, '0')}`)));
      }),
    );
  });
});
