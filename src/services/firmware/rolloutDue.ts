import { isEnded, type PlannedRollout } from '../../domain/rollout.ts';
import { defaultTimeLimits, type RolloutTimeLimits } from '../../domain/rolloutPlan.ts';
import { minuteMs } from '../../times.ts';
import type { Member, RolloutProgress } from './rolloutProgress.ts';

/** When a rollout has to do something though nothing happens: its deadline, the time limits of its devices, retries, and windows. */

/** @param look whether a window was open at this look @returns ms since 1970; infinite when there is nothing to wait for */
export function dueMsOf(
  state: PlannedRollout,
  progress: Pick<RolloutProgress, 'underway' | 'nextOfferMs'>,
  look: { readonly isOpen: boolean; readonly nowMs: number },
): number {
  let dueMs = state.deadline === undefined || isEnded(state) ? Number.POSITIVE_INFINITY : Date.parse(state.deadline);
  for (const member of progress.underway()) dueMs = Math.min(dueMs, lateMsOf(state, member));
  const nextMs = state.status === 'RUNNING' ? progress.nextOfferMs() : undefined;
  if (nextMs === undefined) return dueMs;
  return Math.min(dueMs, look.isOpen ? nextMs : beginOfNextMinute(look.nowMs));
}

/** Windows begin with a minute. */
const beginOfNextMinute = (ms: number): number => (Math.floor(ms / minuteMs) + 1) * minuteMs;

/** When a device that is under way has been in its state for too long. */
export const lateMsOf = ({ timeLimits }: PlannedRollout, { status, sinceMs }: Pick<Member, 'status' | 'sinceMs'>): number =>
  sinceMs + { ...defaultTimeLimits, ...timeLimits }[limitNameOf(status)] * minuteMs;

const limitNames = { offered: 'offered', started: 'downloading', written: 'written', testing: 'testing' } as const satisfies {
  readonly [status: string]: keyof RolloutTimeLimits;
};

/** Of a device that is under way. */
export const limitNameOf = (status: Member['status']): keyof RolloutTimeLimits => limitNames[status as keyof typeof limitNames];
