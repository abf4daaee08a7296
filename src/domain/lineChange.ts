import type { Actor, IsoTime } from './actor.ts';
import { contentText } from './contentText.ts';
import type { LineEncryption } from './encryption.ts';
import { requireWaiting } from './proposals.ts';
import { refuse, requireOtherPerson } from './rules.ts';

/** Changes of a line that are never taken back, or that delete something: once it has devices, one person proposes and another approves (I16). */

/** Exactly one of them. */
export type LineChange =
  | { readonly floor: number }
  | { readonly encryption: LineEncryption }
  /** Fewer days than before: what is older is deleted. */
  | { readonly attestationDays: number };

export type LineProposal = { readonly change: LineChange; readonly by: Actor; readonly at: IsoTime };

/** What an approval approves, as one text. Equal texts are equal content. */
export const proposalContent = (line: string, { change, by, at }: LineProposal): string => contentText([line, change, by, at]);

/** @throws NusecError STATE (none), PROPOSAL_EXPIRED, FOUR_EYES_REQUIRED */
export function requireProposal(proposal: LineProposal | undefined, by: Actor, now: IsoTime): LineProposal {
  if (proposal === undefined) refuse('STATE', 'no change of this line waits for an approval');
  requireWaiting(proposal.at, now, 'the change of this line');
  requireOtherPerson(proposal.by, by, 'a lasting change of a line');
  return proposal;
}
