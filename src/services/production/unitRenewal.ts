import type { Actor, IsoTime } from '../../domain/actor.ts';
import { allotment, allotmentStream } from '../../domain/allotment.ts';
import { getEntry } from '../../domain/bucketMap.ts';
import { NusecError } from '../../errors.ts';
import { jobQueries } from '../../projections/jobs.ts';
import { type Condition, type Context, executeIf, nowIso } from '../base/context.ts';
import { livingDevice } from '../base/livingDevice.ts';
import { askedSpdm, type WirePolicy, wirePolicy } from '../field/attestationPolicy.ts';
import { requireWorking } from './conditions.ts';
import { opened } from './packages.ts';
import { activeProgrammer } from './programmers.ts';
import { grantOf } from './units.ts';

/** A unit whose work was held up, by a server that was away or a chip that was taken off the wires: what became of it, and more time for it. */

export type UnitOutcome = {
  readonly outcome: 'open' | 'committed' | 'voided';
  /** Of a voided unit: whether it counts as scrap. */
  readonly scrapped: boolean;
};

/** @throws NusecError PROGRAMMER_NOT_ACTIVE, NOT_FOUND also for a grant of another programmer */
export async function outcomeOfUnit(ctx: Context, programmer: string, grantId: string): Promise<UnitOutcome> {
  await activeProgrammer(ctx, programmer);
  await grantOf(ctx, programmer, grantId);
  await ctx.reads.waitFor(await ctx.store.head(), { projections: ['jobs'] });
  const unit = await jobQueries(ctx.reads.db).unit(grantId);
  if (unit === undefined) throw new NusecError('NOT_FOUND', 'there is no such unit');
  const outcome = unit.status === 'COMMITTED' ? 'committed' : unit.finished_at === null ? 'open' : 'voided';
  return { outcome, scrapped: unit.status === 'SCRAPPED' };
}

/** Another 15 minutes for a grant that has expired, as long as the unit waits at all (I12). Repeated, it changes nothing.
 *  @returns also what the line asks of its devices now, which may be something else than when the unit got its certificate
 *  @throws NusecError PROGRAMMER_NOT_ACTIVE, JOB_NOT_RUNNING, WRONG_SITE, ALLOTMENT_FROZEN, GRANT_USED, GRANT_EXPIRED (waited too long), NOT_FOUND */
export async function renewGrant(
  ctx: Context,
  programmer: string,
  grantId: string,
  by: Actor,
): Promise<{ readonly expiresAt: IsoTime; readonly spdm: WirePolicy }> {
  await activeProgrammer(ctx, programmer);
  const { jobId } = await grantOf(ctx, programmer, grantId);
  const command = { type: 'RenewGrant', grantId, programmerActive: true, jobRunning: true, now: nowIso(ctx) } as const;
  const stillWorks: Condition = read => requireWorking(read, jobId, programmer);
  const { state } = await executeIf(ctx, stillWorks, allotment, allotmentStream(jobId, programmer), command, by);
  const unit = getEntry(opened(state).open, grantId);
  if (unit === undefined) throw new NusecError('GRANT_USED', 'this grant has been used');
  return { expiresAt: unit.expiresAt, spdm: wirePolicy(await askedSpdm(ctx, await livingDevice(ctx, unit.uid))) };
}
