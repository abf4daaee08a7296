import { type AlarmEvent, alarmStream, systemAlarms } from '../../domain/alarm.ts';
import { NusecError } from '../../errors.ts';
import { isDryRun } from '../../eventstore/dryRun.ts';
import type { Trouble } from '../../eventstore/followers.ts';
import type { ExpectedRevision } from '../../eventstore/port.ts';
import { newEvent, streamOf } from '../../eventstore/recorded.ts';
import { RevisionConflict } from '../../eventstore/revision.ts';
import { areWithin, dayMs } from '../../times.ts';
import { caseName } from './conditions.ts';
import type { Context } from './context.ts';
import { nowIso } from './context.ts';

/** An alarm is an event an operator must look at. The same alarm is recorded at most once per pause, so that a flood of refusals
 *  never becomes a flood of events. Streams `alarm-{subject}`. */
export type Alarm = { readonly code: string; readonly subject: string; readonly detail: string };

const pauseMs = 60_000;
const maxRemembered = 10_000;

/** `always`: no pause; for what is bounded by itself. `daily`: once a day by all processes together, also after a restart; for what is looked at
 *  again and again. */
export type Alarms = {
  raise(alarm: Alarm, pause?: 'always' | 'daily'): Promise<void>;
  /** What such an alarm warns of is not so now: one that is open is closed, unless it is so again soon. @param why for people */
  ended(alarm: Pick<Alarm, 'code' | 'subject'>, why: string): void;
};

/** Runs an enrolment. A key that belongs to another holder is a clone or comes from a weak random source: an operator gets to know (T26).
 *  @param subject who asks @throws what `work` throws */
export async function watchKey<Result>(alarms: Alarms, subject: string, work: () => Promise<Result>): Promise<Result> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof NusecError && error.code === 'WEAK_OR_CLONED_KEY')
      await alarms.raise({ code: error.code, subject, detail: 'asked for a certificate with a key of another holder' });
    throw error;
  }
}

export const followerCase = (name: string): Pick<Alarm, 'code' | 'subject'> => ({
  code: 'FOLLOWER_STOPPED',
  subject: `follower-${name.replaceAll(' ', '-')}`,
});

/** A follower of the log is stopped or late: what depends on it is out of date in this process. */
export function followerAlarm({ name, position, behindEvents, failure }: Trouble): Alarm {
  return { ...followerCase(name), detail: `after event ${position}: ${failure ?? `${behindEvents} events behind`}` };
}

export function createAlarms(ctx: Context): Alarms {
  const last = new Map<string, number>();
  /** Alarms on their way into the log. */
  const raising = new Map<string, Promise<void>>();
  const append = async ({ code, subject, detail }: Alarm, expected: ExpectedRevision): Promise<void> => {
    const envelope = { id: ctx.newId(), at: nowIso(ctx), by: systemAlarms };
    const event = newEvent('AlarmRaised', { code, subject, detail }, envelope);
    await ctx.store.commit({ appends: [{ stream: alarmStream(subject), expected, events: [event] }], epoch: ctx.epoch });
  };
  /** The log says whether any process has raised it; of two that raise it now, one is refused. What was over and is so again is told at once. */
  const raiseDaily = async (alarm: Alarm): Promise<void> => {
    const events = await streamOf<AlarmEvent>(ctx.store, alarmStream(alarm.subject));
    const before = events.findLast(({ type, data }) => type === 'AlarmRaised' && data.code === alarm.code);
    const isOver = ({ type, data }: AlarmEvent): boolean =>
      type === 'AlarmAcknowledged' && data.code === alarm.code && data.by === systemAlarms && data.upTo === before?.position;
    const isToday = before !== undefined && areWithin(dayMs, ctx.clock().getTime(), Date.parse(before.at));
    if (isToday && !events.some(isOver)) return;
    await append(alarm, events.at(-1)?.revision ?? 'none').catch(error => {
      if (!(error instanceof RevisionConflict)) throw error;
    });
  };
  const raiseUnlessTold = async (alarm: Alarm, name: string, pause: 'always' | 'daily' | undefined): Promise<void> => {
    if (pause === 'daily') return raiseDaily(alarm);
    const now = ctx.clock().getTime();
    if (ctx.conditions.wasClosed(alarm)) last.delete(name);
    if (pause !== 'always' && areWithin(pauseMs, now, last.get(name) ?? Number.NEGATIVE_INFINITY)) return;
    last.delete(name);
    last.set(name, now);
    if (last.size > maxRemembered) last.delete(last.keys().next().value as string);
    await append(alarm, 'any').catch(error => {
      // What the log does not have was not said.
      last.delete(name);
      throw error;
    });
  };
  return {
    ended(alarm, why) {
      if (isDryRun()) return;
      const note = (): void => ctx.conditions.ended(alarm, why);
      const underWay = raising.get(caseName(alarm));
      if (underWay === undefined) note();
      else void underWay.then(note, note);
    },
    async raise(alarm, pause) {
      if (isDryRun()) return;
      ctx.conditions.recurred(alarm);
      const name = caseName(alarm);
      const underWay = raiseUnlessTold(alarm, name, pause);
      raising.set(name, underWay);
      try {
        await underWay;
      } finally {
        if (raising.get(name) === underWay) raising.delete(name);
      }
    },
  };
}

/** What work needs that may raise an alarm. */
export type Parts = { readonly ctx: Context; readonly alarms: Alarms };
