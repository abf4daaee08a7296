import { deviceQueries } from '../../projections/devices.ts';
import { dayMs, minuteMs } from '../../times.ts';
import type { AttestationLog } from '../base/attestationLog.ts';
import type { Context } from '../base/context.ts';

/** How far the fleet is behind with its attestations. */

export type AttestationLag = {
  /** Devices in use. */
  readonly inUse: number;
  /** Devices that passed or failed within so long. */
  readonly withinDay: number;
  readonly withinWeek: number;
};

const inUse: readonly string[] = ['IN_SERVICE', 'UPGRADING', 'QUARANTINED'];
/** It is counted over every attestation of a week, so not for every request. */
const keptMs = minuteMs;

export function createAttestationLag(ctx: Context, attestations: Pick<AttestationLog, 'attestedSince'>): () => Promise<AttestationLag> {
  let known: { readonly atMs: number; readonly lag: Promise<AttestationLag> } | undefined;
  const count = async (nowMs: number): Promise<AttestationLag> => {
    const counts = await deviceQueries(ctx.reads.db).counts();
    const lines = [...new Set(counts.map(({ line }) => line))];
    const since = (days: number) => lines.reduce((sum, line) => sum + attestations.attestedSince(line, nowMs - days * dayMs), 0);
    const used = counts.reduce((sum, { status, count: devices }) => (inUse.includes(status) ? sum + devices : sum), 0);
    return { inUse: used, withinDay: since(1), withinWeek: since(7) };
  };
  return () => {
    const nowMs = ctx.clock().getTime();
    if (known === undefined || nowMs - known.atMs >= keptMs) {
      const lag = count(nowMs);
      lag.catch(() => {
        known = undefined;
      });
      known = { atMs: nowMs, lag };
    }
    return known.lag;
  };
}
