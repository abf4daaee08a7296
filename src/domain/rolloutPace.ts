import { minuteMs } from '../times.ts';
import type { IsoTime } from './actor.ts';
import { refuse, requireCount } from './rules.ts';

/** When a rollout may proceed: maintenance windows in local time, and how many devices are offered the release in a minute. */

export const weekdays = ['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun'] as const;
export type Weekday = (typeof weekdays)[number];

/** A span of the day in which devices may begin, in the time of a place. `to` before `from` is after midnight; the day is the one it begins on. */
export type RolloutWindow = {
  /** Every day when not given. */
  readonly days?: readonly Weekday[];
  /** `22:00` */
  readonly from: string;
  readonly to: string;
  /** Name of the IANA time zone database: `Europe/Berlin`. */
  readonly timeZone: string;
};

/** Begins with so many devices in a minute and doubles after each span, up to the rate of the plan. */
export type RolloutRamp = { readonly firstPerMinute: number; readonly doublesEveryMinutes: number };

/** How often a device that has failed is offered the release again, and after how long; the pause doubles each time. */
export type RolloutRetries = { readonly count: number; readonly afterMinutes: number };

const maxWindows = 20;
const maxRetries = 10;
const dayMinutes = 24 * 60;

/** @throws NusecError BAD_REQUEST with what is wrong */
export function requireWindows(windows: readonly RolloutWindow[]): void {
  if (windows.length > maxWindows) refuse('BAD_REQUEST', `a plan has at most ${maxWindows} windows`);
  for (const { from, to, timeZone, days } of windows) {
    if (![from, to].every(time => /^([01]\d|2[0-3]):[0-5]\d$/.test(time)) || from === to)
      refuse('BAD_REQUEST', 'a window reads from 22:00 to 04:00, with two different times');
    if (!isTimeZone(timeZone)) refuse('BAD_REQUEST', `${timeZone} is no time zone: name one such as Europe/Berlin`);
    if (days !== undefined && (days.length === 0 || !days.every(day => weekdays.includes(day))))
      refuse('BAD_REQUEST', `the days of a window are some of ${weekdays.join(', ')}`);
  }
}

/** @throws NusecError BAD_REQUEST */
export function requirePace(ramp: RolloutRamp | undefined, retries: RolloutRetries | undefined): void {
  requireCount(ramp?.firstPerMinute ?? 1, 1, 'the number of devices of the first minute');
  requireCount(ramp?.doublesEveryMinutes ?? 1, 1, 'the minutes after which the rate doubles');
  requireCount(retries?.count ?? 0, 0, 'the number of retries');
  requireCount(retries?.afterMinutes ?? 1, 1, 'the minutes before a retry');
  if ((retries?.count ?? 0) > maxRetries) refuse('BAD_REQUEST', `a device is tried again at most ${maxRetries} times`);
}

/** Names of the database only: an offset such as `+02:00` knows no summer. */
function isTimeZone(name: string): boolean {
  if (!/^[A-Za-z]/.test(name)) return false;
  try {
    return new Intl.DateTimeFormat('en', { timeZone: name }) !== undefined;
  } catch {
    return false;
  }
}

/** Whether a device may begin now; always without windows. */
export const isWindowOpen = (windows: readonly RolloutWindow[] | undefined, now: IsoTime): boolean =>
  windows === undefined || windows.length === 0 || windows.some(window => isOpen(window, now));

function isOpen({ days = weekdays, from, to, timeZone }: RolloutWindow, now: IsoTime): boolean {
  const { day, minute } = localTime(timeZone, now);
  const [start, end] = [minuteOf(from), minuteOf(to)];
  const isOn = (which: number): boolean => days.includes(weekdays[(which + 7) % 7] as Weekday);
  if (start < end) return isOn(day) && minute >= start && minute < end;
  return (isOn(day) && minute >= start) || (isOn(day - 1) && minute < end);
}

const minuteOf = (time: string): number => Number(time.slice(0, 2)) * 60 + Number(time.slice(3));

const formats = new Map<string, Intl.DateTimeFormat>();

function localTime(timeZone: string, now: IsoTime): { readonly day: number; readonly minute: number } {
  const options = { timeZone, weekday: 'short', hour: '2-digit', minute: '2-digit', hourCycle: 'h23' } as const;
  const format = formats.get(timeZone) ?? new Intl.DateTimeFormat('en', options);
  formats.set(timeZone, format);
  const parts = new Map(format.formatToParts(new Date(now)).map(({ type, value }) => [type, value]));
  const day = weekdays.indexOf((parts.get('weekday') ?? '').toLowerCase() as Weekday);
  return { day, minute: (Number(parts.get('hour')) * 60 + Number(parts.get('minute'))) % dayMinutes };
}

type Pace = { readonly ratePerMinute?: number; readonly ramp?: RolloutRamp };

/** Whether a plan limits how fast devices are offered the release. */
export const isPaced = ({ ratePerMinute, ramp }: Pace): boolean => ratePerMinute !== undefined || ramp !== undefined;

/** Devices that may be offered the release within a minute. @param sinceMs how long ago the first offer was @returns undefined without a limit */
export function rateAt({ ratePerMinute, ramp }: Pace, sinceMs: number): number | undefined {
  if (ramp === undefined) return ratePerMinute;
  const doublings = Math.min(Math.floor(Math.max(0, sinceMs) / (ramp.doublesEveryMinutes * minuteMs)), 32);
  return Math.min(ramp.firstPerMinute * 2 ** doublings, ratePerMinute ?? Number.MAX_SAFE_INTEGER);
}

/** Offers that were made at a time. */
export type OffersMade = { readonly count: number; readonly at: IsoTime };
type Made = Pace & { readonly firstOfferAt?: IsoTime; readonly lately?: readonly OffersMade[] };

/** How many offers may be made now. A clock that was put back allows none too many. @returns infinite without a limit */
export function offersAllowed({ firstOfferAt, lately = [], ...pace }: Made, now: IsoTime): number {
  const nowMs = Date.parse(now);
  const rate = rateAt(pace, nowMs - Date.parse(firstOfferAt ?? now));
  return rate === undefined ? Number.POSITIVE_INFINITY : Math.max(0, rate - countOf(within(lately, nowMs)));
}

/** Those of the last minute, with the new ones. */
export const offersLately = (before: readonly OffersMade[] = [], made: OffersMade): readonly OffersMade[] => [
  ...within(before, Date.parse(made.at)),
  made,
];

const within = (made: readonly OffersMade[], nowMs: number): readonly OffersMade[] =>
  made.filter(({ at }) => Date.parse(at) >= nowMs - minuteMs);
const countOf = (made: readonly OffersMade[]): number => made.reduce((sum, { count }) => sum + count, 0);

/** Before the retry that comes next. @param attempt offers made before the failed one */
export const retryPauseMs = ({ afterMinutes }: RolloutRetries, attempt: number): number => afterMinutes * minuteMs * 2 ** attempt;
