import { dayMs } from '../times.ts';
import type { IsoTime } from './actor.ts';
import { isPast, refuse, timeAfter } from './rules.ts';

/** What one person proposes and another approves waits for so long (I16). After that it is proposed again, by somebody who still wants it. */
export const proposalLifetimeMs = 7 * dayMs;

/** Whether it can still be approved. Events of earlier versions do not all say when something was proposed: then it cannot. */
export const isWaiting = (proposedAt: IsoTime | undefined, now: IsoTime): boolean =>
  proposedAt !== undefined && !isPast(timeAfter(proposedAt, proposalLifetimeMs), now);

/** @param what was proposed @throws NusecError PROPOSAL_EXPIRED */
export function requireWaiting(proposedAt: IsoTime | undefined, now: IsoTime, what: string): void {
  if (!isWaiting(proposedAt, now)) refuse('PROPOSAL_EXPIRED', `${what} was proposed too long ago: propose it again`);
}
