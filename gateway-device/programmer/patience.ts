import { setTimeout as sleep } from 'node:timers/promises';
import { reconnectDelayMs } from '../link/backoff.ts';

/** How a run waits for a server that is away or in trouble: hours if it must, because a chip past OTP has nowhere else to go. */
export type Patience = {
  /** Waits before the next try. @param tries in vain so far, from 0 @returns false when there is to be no other */
  readonly wait: (tries: number) => Promise<boolean>;
};

const limits = { firstReconnectMs: 1_000, maxReconnectMs: 60_000, stableAfterMs: 0 };
/** About three days at a minute each. */
const maxWaits = 4_320;

/** @param chance from 0 to 1 */
export const pauseMs = (tries: number, chance: number): number => reconnectDelayMs(tries, chance, limits);

/** Doubling pauses up to a minute, drawn at random, so that the programmers of a hall do not come back in one moment.
 *  @param signal ends the waiting */
export const patientUntil = (signal: AbortSignal): Patience => ({
  wait: tries =>
    tries >= maxWaits ? Promise.resolve(false) : sleep(pauseMs(tries, Math.random()), !signal.aborted, { signal }).catch(() => false),
});
