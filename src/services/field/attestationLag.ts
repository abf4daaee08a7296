import { line, lineStream, policyOf } from '../../domain/line.ts';
import { deviceQueries } from '../../projections/deviceQueries.ts';
import { releaseQueries } from '../../projections/releases.ts';
import { dayMs, minuteMs } from '../../times.ts';
import type { AttestationLog } from '../base/attestationLog.ts';
import { type Context, stateOf } from '../base/context.ts';
import { type AttestationProgress, attestationProgress } from './attestationSchedule.ts';

/** How far the fleet is behind with its attestations. It is counted over every attestation of a week, so once a minute and not for every request. */

export type AttestationLag = {
  /** Devices in use. */
  readonly inUse: number;
  /** Devices that passed or failed within so long. */
  readonly withinDay: number;
  readonly withinWeek: number;
};

const inUse: readonly string[] = ['IN_SERVICE', 'UPGRADING', 'QUARANTINED'];
const keptMs = minuteMs;

export const createAttestationLag = (ctx: Context, attestations: Pick<AttestationLog, 'attestedSince'>): (() => Promise<AttestationLag>) =>
  keptFor(ctx, async nowMs => {
    const counts = await deviceQueries(ctx.reads.db).counts();
    const lines = [...new Set(counts.map(({ line }) => line))];
    const since = (days: number) => lines.reduce((sum, line) => sum + attestations.attestedSince(line, nowMs - days * dayMs), 0);
    const used = counts.reduce((sum, { status, count: devices }) => (inUse.includes(status) ? sum + devices : sum), 0);
    return { inUse: used, withinDay: since(1), withinWeek: since(7) };
  });

/** The progress of every line that has a schedule, or whose devices were all asked, by name. */
export const createScheduleView = (ctx: Context, attestations: AttestationLog): (() => Promise<readonly AttestationProgress[]>) =>
  keptFor(ctx, async () => {
    const found: AttestationProgress[] = [];
    for (const name of await releaseQueries(ctx.reads.db).lines()) {
      const state = await stateOf(ctx, line, lineStream(name));
      const isAsked = state.status === 'DEFINED' && (policyOf(state).everyHours ?? state.attestAllSince) !== undefined;
      if (isAsked) found.push(await attestationProgress(ctx, attestations, state));
    }
    return found;
  });

/** The same answer for a minute; what failed is not kept. */
function keptFor<T>(ctx: Context, count: (nowMs: number) => Promise<T>): () => Promise<T> {
  let known: { readonly atMs: number; readonly value: Promise<T> } | undefined;
  return () => {
    const nowMs = performance.now();
    if (known === undefined || nowMs - known.atMs >= keptMs) {
      const value = count(ctx.clock().getTime());
      value.catch(() => {
        known = undefined;
      });
      known = { atMs: nowMs, value };
    }
    return known.value;
  };
}
