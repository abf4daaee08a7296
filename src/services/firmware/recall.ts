import { type Closable, repeatedly } from '../../closing.ts';
import { counted } from '../../counted.ts';
import { deviceQueries } from '../../projections/deviceQueries.ts';
import { releaseQueries } from '../../projections/releases.ts';
import { hourMs } from '../../times.ts';
import type { Alarms } from '../base/alarms.ts';
import { areCurrent, type Context } from '../base/context.ts';

/** A withdrawal is a recall: while devices in use have last proven that they run a withdrawn release, an alarm says so, when it is withdrawn and once
 *  a day from then on. Every process looks, and the log contains one alarm. When it is over: alarmEnds.ts. */

const lookEveryMs = hourMs;

export const recallCode = 'RELEASE_RECALLED';
const prefix = 'release-';
export const recalledReleaseOf = (subject: string): string => subject.slice(prefix.length);

export function startRecallWatch({ ctx, alarms }: { readonly ctx: Context; readonly alarms: Alarms }): Closable {
  const look = async (only?: string): Promise<void> => {
    if (!(await areCurrent(ctx, ['releases', 'devices']))) return;
    for (const { release_id, version, line } of await releaseQueries(ctx.reads.db).withdrawn()) {
      if (only !== undefined && only !== release_id) continue;
      const count = await deviceQueries(ctx.reads.db).countOf(release_id);
      if (count === 0) continue;
      const detail = `the withdrawn release ${version} runs on ${counted(count, 'device')} of ${line}`;
      await alarms.raise({ code: recallCode, subject: prefix + release_id, detail }, 'daily');
    }
  };
  const logFailure = (error: unknown): void => ctx.log.warn({ error: String(error) }, 'recall watch: looked at again later');
  const follower = ctx.followers.follow('recalls', ctx.store.seen(), events => {
    for (const { type, stream } of events) {
      if (type === 'ReleaseWithdrawn') void look(recalledReleaseOf(stream)).catch(logFailure);
    }
  });
  const looks = repeatedly(lookEveryMs, () => look(), logFailure);
  return {
    async close() {
      await looks.close();
      await follower.close();
    },
  };
}
