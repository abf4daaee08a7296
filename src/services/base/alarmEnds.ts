import { type Closable, repeatedly } from '../../closing.ts';
import { alarm, alarmStream } from '../../domain/alarm.ts';
import type { EventType } from '../../domain/events.ts';
import { type AlarmCaseRow, alarmQueries } from '../../projections/alarms.ts';
import { areCurrent, type Context, execute, nowIso } from './context.ts';

/** Closes alarms about what is over. Every process looks, soon after something has happened that may end one, and the log contains one answer. */

/** How an alarm of one code ends. */
export type AlarmEnd = {
  readonly code: string;
  /** After one of these it may be over. */
  readonly after: readonly EventType[];
  /** @param subject of the alarm @returns why it is over, for people; undefined when it is not */
  because(ctx: Context, subject: string): Promise<string | undefined>;
};

const lookEveryMs = 2_000;
const maxCases = 500;
const by = 'system:alarms';

/** @param projections that the ends are asked of */
export function startAlarmEnds(ctx: Context, ends: readonly AlarmEnd[], projections: readonly string[]): Closable {
  const due = new Set(ends);
  const closeIfOver = async (
    { code, because }: AlarmEnd,
    { subject, last_position: upTo, last_at: lastAt }: AlarmCaseRow,
  ): Promise<void> => {
    const note = await because(ctx, subject);
    if (note === undefined) return;
    const deed = { type: 'AcknowledgeAlarm', code, subject, upTo, lastAt, note, by, now: nowIso(ctx) } as const;
    await execute(ctx, alarm, alarmStream(subject), deed, by);
  };
  /** What cannot be read about one case keeps no other open. */
  const close = async (end: AlarmEnd): Promise<void> => {
    const failures: unknown[] = [];
    for (const state of ['open', 'silenced'] as const)
      for (const open of await alarmQueries(ctx.reads.db).cases({ state, code: end.code, limit: maxCases, now: nowIso(ctx) }))
        await closeIfOver(end, open).catch(error => failures.push(error));
    if (failures.length > 0) throw failures[0];
  };
  const look = async (): Promise<void> => {
    if (due.size === 0 || !(await areCurrent(ctx, ['alarms', ...projections]))) return;
    for (const end of [...due]) {
      due.delete(end);
      await close(end).catch(error => {
        due.add(end);
        throw error;
      });
    }
  };
  const follower = ctx.followers.follow('alarm ends', ctx.store.seen(), events => {
    for (const { type } of events) for (const end of ends) if (end.after.includes(type)) due.add(end);
  });
  const logFailure = (error: unknown): void => ctx.log.warn({ error: String(error) }, 'alarms that are over: looked at again later');
  const looks = repeatedly(lookEveryMs, look, logFailure);
  return {
    async close() {
      await looks.close();
      await follower.close();
    },
  };
}
