import { sha256Hex } from '../../digest.ts';
import type { Actor } from '../../domain/actor.ts';
import type { ApprovedContent } from '../../domain/approval.ts';
import type { Decider } from '../../domain/decider.ts';
import type { DomainEvent } from '../../domain/events.ts';
import { NusecError } from '../../errors.ts';
import type { Handled } from '../../eventstore/handle.ts';
import { always, type Condition, type Context, executeOn } from './context.ts';

/** Approvals by a second person (I16): one path for everything that is approved. */

/** How something is approved. */
export type Approval = {
  /** What must hold for the approver when the decision is stored; default: nothing. */
  readonly condition?: Condition;
  /** SHA-256 of the content that the approver saw; left out: whatever the content is now. */
  readonly seenSha256?: string | undefined;
};

/** What is approved: its stream, its content as text, and the command that approves this content. */
type Approved<Command, State, Event> = {
  readonly decider: Decider<Command, State, Event>;
  readonly stream: string;
  readonly content: () => Promise<string>;
  readonly command: (content: ApprovedContent) => Command;
};

/** @param text as the aggregate writes what is approved @param seenSha256 as `Approval` has it */
export const approvedContent = (text: string, seenSha256: string | undefined): ApprovedContent => ({
  text,
  sha256: sha256Hex(text),
  seenSha256,
});

/** For a request that proposes where nothing waits, and approves otherwise: who has looked at a proposal proposes nothing.
 *  @throws NusecError CONFLICT when what the approver saw is not there any more */
export function requireNothingSeen(seenSha256: string | undefined): void {
  if (seenSha256 !== undefined) throw new NusecError('CONFLICT', 'what was looked at does not wait any more: look again');
}

/** Decides an approval of the content as it is now. The decider refuses a content that changes meanwhile.
 *  @throws NusecError of the condition and of the decider: FOUR_EYES_REQUIRED, CONFLICT (not what was seen) */
export function approve<Command, State, Event extends DomainEvent>(
  ctx: Context,
  { decider, stream, content, command }: Approved<Command, State, Event>,
  by: Actor,
  { condition = always, seenSha256 }: Approval = {},
): Promise<Handled<State, Event>> {
  const commandOf = async (read: Parameters<Condition>[0]): Promise<Command> => {
    await condition(read);
    return command(approvedContent(await content(), seenSha256));
  };
  return executeOn(ctx, decider, stream, commandOf, by);
}
