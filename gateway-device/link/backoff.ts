/** Waiting times between connection attempts: doubling, bounded, and drawn at random over the whole span, so that a fleet that lost
 *  its server does not come back in one moment. */

export type BackoffLimits = {
  readonly firstReconnectMs: number;
  readonly maxReconnectMs: number;
  /** A connection that lasted this long counts as healthy: the next wait starts small again. */
  readonly stableAfterMs: number;
};

export const defaultBackoff: BackoffLimits = { firstReconnectMs: 1_000, maxReconnectMs: 60_000, stableAfterMs: 30_000 };

/** @param attempt failed or short-lived connections in a row, from 0
 *  @param random from 0 to below 1
 *  @returns milliseconds, between a tenth of the span and the span */
export function reconnectDelayMs(attempt: number, random: number, limits: BackoffLimits): number {
  const spanMs = Math.min(limits.maxReconnectMs, limits.firstReconnectMs * 2 ** Math.min(attempt, 30));
  return Math.round(spanMs * (0.1 + 0.9 * random));
}
