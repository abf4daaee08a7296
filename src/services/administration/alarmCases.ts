import type { Actor } from '../../domain/actor.ts';
import { type AlarmCommand, alarm, alarmStream } from '../../domain/alarm.ts';
import { operators, operatorsStream } from '../../domain/operators.ts';
import { NusecError } from '../../errors.ts';
import { type AlarmCaseRow, alarmQueries } from '../../projections/alarms.ts';
import { type Context, execute, nowIso, stateOf } from '../base/context.ts';

/** What people do about alarms. Who raises them: base/alarms.ts. */

/** @param id 32 hex @throws NusecError NOT_FOUND */
export async function alarmCase(ctx: Context, id: string): Promise<AlarmCaseRow> {
  await ctx.reads.waitFor(await ctx.store.head(), { projections: ['alarms'] });
  const row = await alarmQueries(ctx.reads.db).case(id);
  if (row === undefined) throw new NusecError('NOT_FOUND', `there is no alarm case ${id}`);
  return row;
}

/** @param seen position of the newest alarm that the person has seen; by default the newest one there is
 *  @returns the case as it is then @throws NusecError BAD_REQUEST (a position after the newest one) */
export function acknowledgeAlarm(
  ctx: Context,
  row: AlarmCaseRow,
  note: string,
  seen: number | undefined,
  by: Actor,
): Promise<AlarmCaseRow> {
  const upTo = seen ?? row.last_position;
  if (upTo > row.last_position) throw new NusecError('BAD_REQUEST', `the newest alarm of this case is at position ${row.last_position}`);
  return decided(ctx, row, { type: 'AcknowledgeAlarm', upTo, note, lastAt: row.last_at, ...about(ctx, row, by) });
}

/** @param to name of a person @throws NusecError NOT_FOUND */
export async function assignAlarm(ctx: Context, row: AlarmCaseRow, to: string, by: Actor): Promise<AlarmCaseRow> {
  const { byName } = await stateOf(ctx, operators, operatorsStream);
  if (!byName.has(to)) throw new NusecError('NOT_FOUND', `there is no person ${to}`);
  return decided(ctx, row, { type: 'AssignAlarm', to, ...about(ctx, row, by) });
}

/** @param until ISO time, at most `maxSilentDays` from now @throws NusecError BAD_REQUEST */
export const silenceAlarm = (ctx: Context, row: AlarmCaseRow, until: string, reason: string, by: Actor): Promise<AlarmCaseRow> =>
  decided(ctx, row, { type: 'SilenceAlarm', until, reason, ...about(ctx, row, by) });

const about = (ctx: Context, { code, subject }: AlarmCaseRow, by: Actor) => ({ code, subject, by, now: nowIso(ctx) });

async function decided(ctx: Context, { id, subject }: AlarmCaseRow, command: AlarmCommand): Promise<AlarmCaseRow> {
  await execute(ctx, alarm, alarmStream(subject), command, command.by);
  return alarmCase(ctx, id);
}
