import { NusecError } from '../../errors.ts';
import { isDryRun } from '../../eventstore/dryRun.ts';
import type { Trouble } from '../../eventstore/followers.ts';
import type { ExpectedRevision } from '../../eventstore/port.ts';
import { historyOf, newEvent } from '../../eventstore/recorded.ts';
import { RevisionConflict } from '../../eventstore/revision.ts';
import { areWithin, dayMs } from '../../times.ts';
import type { Context } from './context.ts';
import { nowIso } from './context.ts';

/** An alarm is an event an operator must look at. The same alarm is recorded at most once per pause, so that a flood of refusals
 *  never becomes a flood of events. Streams `alarm-{subject}`. */
export type Alarm = { readonly code: string; readonly subject: string; readonly detail: string };

const pauseMs = 60_000;
const maxRemembered = 10_000;
const streamOf = (subject: string): string => `alarm-${subject}`;

/** `always`: no pause; for what is bounded by itself. `daily`: once a day by all processes together, also after a restart; for what is looked at
 *  again and again. */
export type Alarms = { raise(alarm: Alarm, pause?: 'always' | 'daily'): Promise<void> };

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

/** A follower of the log is stopped or late: what depends on it is out of date in this process. */
export function followerAlarm({ name, position, behindEvents, failure }: Trouble): Alarm {
  const detail = `after event ${position}: ${failure ?? `${behindEvents} events behind`}`;
  return { code: 'FOLLOWER_STOPPED', subject: `follower-${name.replaceAll(' ', '-')}`, detail };
}

export function createAlarms(ctx: Context): Alarms {
  const last = new Map<string, number>();
  const append = async ({ code, subject, detail }: Alarm, expected: ExpectedRevision): Promise<void> => {
    const envelope = { id: ctx.newId(), at: nowIso(ctx), by: 'system:alarms' };
    const event = newEvent('AlarmRaised', { code, subject, detail }, envelope);
    await ctx.store.commit({ appends: [{ stream: streamOf(subject), expected, events: [event] }], epoch: ctx.epoch });
  };
  /** The log says whether any process has raised it; of two that raise it now, one is refused. */
  const raiseDaily = async (alarm: Alarm): Promise<void> => {
    const raised = await historyOf(ctx.store, streamOf(alarm.subject), 'AlarmRaised');
    const before = raised.findLast(({ data }) => data.code === alarm.code);
    if (before !== undefined && areWithin(dayMs, ctx.clock().getTime(), Date.parse(before.at))) return;
    await append(alarm, raised.at(-1)?.revision ?? 'none').catch(error => {
      if (!(error instanceof RevisionConflict)) throw error;
    });
  };
  return {
    async raise(alarm, pause) {
      if (isDryRun()) return;
      if (pause === 'daily') return raiseDaily(alarm);
      const { code, subject } = alarm;
      const name = `${code} ${subject}`;
      const now = ctx.clock().getTime();
      if (pause !== 'always' && areWithin(pauseMs, now, last.get(name) ?? Number.NEGATIVE_INFINITY)) return;
      last.delete(name);
      last.set(name, now);
      if (last.size > maxRemembered) last.delete(last.keys().next().value as string);
      await append(alarm, 'any').catch(error => {
        // What the log does not have was not said.
        last.delete(name);
        throw error;
      });
    },
  };
}

/** What work needs that may raise an alarm. */
export type Parts = { readonly ctx: Context; readonly alarms: Alarms };
