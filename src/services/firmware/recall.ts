import { type Closable, repeatedly } from '../../closing.ts';
import { counted } from '../../counted.ts';
import { alarm, alarmStream } from '../../domain/alarm.ts';
import type { EventType } from '../../domain/events.ts';
import { alarmQueries } from '../../projections/alarms.ts';
import { deviceQueries } from '../../projections/deviceQueries.ts';
import { releaseQueries } from '../../projections/releases.ts';
import { hourMs } from '../../times.ts';
import type { Alarms } from '../base/alarms.ts';
import { areCurrent, type Context, execute, nowIso } from '../base/context.ts';

/** A withdrawal is a recall: while devices in use have last proven that they run a withdrawn release, an alarm says so, when it is withdrawn and once
 *  a day from then on. It is closed when the last of them has proven another one, or is out of use. Every process looks, and the log contains one
 *  alarm. */

const lookEveryMs = hourMs;
/** Between two looks at whether a recall is over, when something has happened that may end one. */
const endLookMs = 2_000;
const maxOpenRecalls = 500;
const by = 'system:recalls';
/** What takes a device away from a release, or out of use. */
const mayEnd: ReadonlySet<EventType> = new Set(['FirmwareInstalled', 'FirmwareUpgraded', 'CertificateRevoked', 'DeviceDecommissioned']);

const code = 'RELEASE_RECALLED';
const prefix = 'release-';

export function startRecallWatch({ ctx, alarms }: { readonly ctx: Context; readonly alarms: Alarms }): Closable {
  const look = async (only?: string): Promise<void> => {
    if (!(await areCurrent(ctx, ['releases', 'devices']))) return;
    for (const { release_id, version, line } of await releaseQueries(ctx.reads.db).withdrawn()) {
      if (only !== undefined && only !== release_id) continue;
      const count = await deviceQueries(ctx.reads.db).countOf(release_id);
      if (count === 0) continue;
      const detail = `the withdrawn release ${version} runs on ${counted(count, 'device')} of ${line}`;
      await alarms.raise({ code, subject: prefix + release_id, detail }, 'daily');
    }
  };
  /** @returns false when it could not be seen yet */
  const closeEnded = async (): Promise<boolean> => {
    if (!(await areCurrent(ctx, ['releases', 'devices', 'alarms']))) return false;
    const open = { state: 'open', code, limit: maxOpenRecalls, now: nowIso(ctx) } as const;
    for (const { subject, last_position: upTo, last_at: lastAt } of await alarmQueries(ctx.reads.db).cases(open)) {
      if ((await deviceQueries(ctx.reads.db).countOf(subject.slice(prefix.length))) > 0) continue;
      const note = 'no device runs it any more';
      const deed = { type: 'AcknowledgeAlarm', code, subject, upTo, lastAt, note, by, now: nowIso(ctx) } as const;
      await execute(ctx, alarm, alarmStream(subject), deed, by);
    }
    return true;
  };
  let mayBeOver = true;
  const endLook = async (): Promise<void> => {
    if (!mayBeOver) return;
    mayBeOver = false;
    if (!(await closeEnded())) mayBeOver = true;
  };
  const logFailure = (error: unknown): void => ctx.log.warn({ error: String(error) }, 'recall watch: looked at again later');
  const follower = ctx.followers.follow('recalls', ctx.store.seen(), events => {
    for (const { type, stream } of events) {
      if (type === 'ReleaseWithdrawn') void look(stream.slice(prefix.length)).catch(logFailure);
      mayBeOver ||= mayEnd.has(type);
    }
  });
  const looks = repeatedly(lookEveryMs, () => look(), logFailure);
  const ends = repeatedly(endLookMs, endLook, error => {
    mayBeOver = true;
    logFailure(error);
  });
  return {
    async close() {
      await Promise.all([looks.close(), ends.close()]);
      await follower.close();
    },
  };
}
