import { dayMs } from '../times.ts';
import type { Actor, IsoTime } from './actor.ts';
import { contentText } from './contentText.ts';
import type { LineEncryption } from './encryption.ts';
import { isPast, refuse, requireOtherPerson, timeAfter } from './rules.ts';

/** Changes of a line that are never taken back, or that delete something: once it has devices, one person proposes and another approves (I16). */

/** Exactly one of them. */
export type LineChange =
  | { readonly floor: number }
  | { readonly encryption: LineEncryption }
  /** Fewer days than before: what is older is deleted. */
  | { readonly attestationDays: number };

export type LineProposal = { readonly change: LineChange; readonly by: Actor; readonly at: IsoTime };

const proposalMs = 7 * dayMs;

/** Whether it can still be approved. */
const isOpen = (proposal: LineProposal | undefined, now: IsoTime): proposal is LineProposal =>
  proposal !== undefined && !isPast(timeAfter(proposal.at, proposalMs), now);

/** What an approval approves, as one text. Equal texts are equal content. */
export const proposalContent = (line: string, { change, by, at }: LineProposal): string => contentText([line, change, by, at]);

/** @throws NusecError STATE (none, or too old), FOUR_EYES_REQUIRED */
export function requireProposal(proposal: LineProposal | undefined, by: Actor, now: IsoTime): LineProposal {
  if (!isOpen(proposal, now)) refuse('STATE', 'no change of this line waits for an approval');
  requireOtherPerson(proposal.by, by, 'a lasting change of a line');
  return proposal;
}
