import { type Closable, repeatedly } from '../../closing.ts';
import { alarm, alarmStream, systemAlarms } from '../../domain/alarm.ts';
import type { EventType } from '../../domain/events.ts';
import { type AlarmCaseRow, alarmCaseId, alarmQueries, isOpenCase } from '../../projections/alarms.ts';
import type { EndedCondition } from './conditions.ts';
import { areCurrent, type Context, execute, nowIso } from './context.ts';
import { eachAlone, throwFirst } from './eachAlone.ts';

/** Closes alarms about what is over: soon after something has happened that may end one, and when a process has seen that the condition has ended
 *  (conditions.ts). Every process looks, and the log contains one answer. */

/** How an alarm of one code ends. */
export type AlarmEnd = {
  readonly code: string;
  /** After one of these it may be over. */
  readonly after: readonly EventType[];
  /** @param subject of the alarm @returns why it is over, for people; undefined when it is not */
  because(ctx: Context, subject: string, open: AlarmCaseRow): Promise<string | undefined>;
};

const lookEveryMs = 2_000;
const casesAtOnce = 500;
const defaultSettleMs = 10_000;
/** The longer it takes to find out whether alarms of a code are over, the less often it is asked: it takes at most one part in so many of the time. */
const lookingShare = 20;

/** @param projections that the ends are asked of @param settleMs for so long a condition must have ended */
export function startAlarmEnds(
  ctx: Context,
  ends: readonly AlarmEnd[],
  projections: readonly string[],
  settleMs = defaultSettleMs,
): Closable {
  const due = new Set(ends);
  const restsUntilMs = new Map<AlarmEnd, number>();
  const close = async ({ code, subject, last_position: upTo, last_at: lastAt }: AlarmCaseRow, note: string): Promise<void> => {
    const deed = { type: 'AcknowledgeAlarm', code, subject, upTo, lastAt, note, by: systemAlarms, now: nowIso(ctx) } as const;
    await execute(ctx, alarm, alarmStream(subject), deed, systemAlarms);
  };
  /** The newest first, page by page, so that however many there are, none is left out. */
  const openCases = async (code: string): Promise<readonly AlarmCaseRow[]> => {
    const found: AlarmCaseRow[] = [];
    for (const state of ['open', 'silenced'] as const)
      for (let before: number | undefined; ; ) {
        const page = await alarmQueries(ctx.reads.db).cases({ state, code, before, limit: casesAtOnce, now: nowIso(ctx) });
        found.push(...page);
        if (page.length < casesAtOnce) break;
        before = page.at(-1)?.last_position;
      }
    return found;
  };
  /** What cannot be read about one case keeps no other open. */
  const closeThoseOver = async ({ code, because }: AlarmEnd, stop: AbortSignal): Promise<void> => {
    const closeIfOver = async (open: AlarmCaseRow): Promise<void> => {
      const note = await because(ctx, open.subject, open);
      if (note !== undefined) await close(open, note);
    };
    throwFirst(await eachAlone(await openCases(code), closeIfOver, { stop }));
  };
  const lookAtEnds = async (stop: AbortSignal): Promise<void> => {
    const now = performance.now();
    const ready = [...due].filter(end => (restsUntilMs.get(end) ?? 0) <= now);
    const lookAt = async (end: AlarmEnd): Promise<void> => {
      const beganMs = performance.now();
      due.delete(end);
      try {
        await closeThoseOver(end, stop);
      } catch (error) {
        due.add(end);
        throw error;
      } finally {
        const endedMs = performance.now();
        restsUntilMs.set(end, endedMs + (endedMs - beganMs) * lookingShare);
      }
    };
    throwFirst(await eachAlone(ready, lookAt, { stop }));
  };
  const lookAtConditions = async (stop: AbortSignal): Promise<void> => {
    const closeEnded = async (condition: EndedCondition): Promise<void> => {
      const row = await alarmQueries(ctx.reads.db).case(alarmCaseId(condition.code, condition.subject));
      const isOver = row !== undefined && isOpenCase(row) && row.last_position <= condition.position;
      if (isOver) await close(row, condition.why);
      ctx.conditions.lookedAt(condition, isOver);
    };
    throwFirst(await eachAlone(ctx.conditions.pending(settleMs), closeEnded, { stop }));
  };
  const look = async (stop: AbortSignal): Promise<void> => {
    const isDue = due.size > 0 || ctx.conditions.pending(settleMs).length > 0;
    if (!isDue || !(await areCurrent(ctx, ['alarms', ...projections]))) return;
    throwFirst(await eachAlone([lookAtConditions, lookAtEnds], each => each(stop)));
  };
  /** By type of an event, and by code of an alarm that is raised: what it is about may be over already. */
  const mayEndAfter = Map.groupBy(
    ends.flatMap(end => [end.code, ...end.after].map(word => ({ word, end }))),
    ({ word }) => word,
  );
  const follower = ctx.followers.follow('alarm ends', ctx.store.seen(), events => {
    for (const { type, data } of events)
      for (const { end } of mayEndAfter.get(type === 'AlarmRaised' ? data.code : type) ?? []) due.add(end);
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
