import type { EventType } from '../../domain/events.ts';
import { operators, operatorsStream } from '../../domain/operators.ts';
import { isService, type Role } from '../../domain/roles.ts';
import { NusecError } from '../../errors.ts';
import type { RecordedEvent } from '../../eventstore/port.ts';
import type { Condition, Context } from '../base/context.ts';

/** Who may be the second pair of eyes (I16): a person who had the right to approve before the proposal was made. A person who was added, or was
 *  given the role, afterwards could have been let in for this very approval. */

/** Position of the proposal in the log; the newest counts. */
export type Proposal = { readonly stream: string; readonly isProposal: (event: RecordedEvent) => boolean };

/** The first event of a stream is the proposal. */
export const beginningOf = (stream: string): Proposal => ({ stream, isProposal: ({ revision }) => revision === 0 });

/** One of several in a stream, by its id. */
export const proposalIn = (stream: string, type: EventType, id: string): Proposal => ({
  stream,
  isProposal: event => event.type === type && event.data.id === id,
});

/** The newest event of this type in a stream. */
export const newestIn = (stream: string, type: EventType): Proposal => ({ stream, isProposal: event => event.type === type });

const grants: ReadonlySet<string> = new Set(['OperatorAdded', 'OperatorRolesSet'] satisfies EventType[]);

/** @param name of the person, who was identified @param roles one of which it takes
 *  @throws NusecError FORBIDDEN (no such role now), FOUR_EYES_REQUIRED (not then) */
export const earlierApprover =
  (ctx: Context, name: string, roles: readonly Role[], { stream, isProposal }: Proposal): Condition =>
  async read => {
    const person = (await read(operators, operatorsStream)).byName.get(name);
    const has = (held: readonly unknown[]): boolean => held.includes('administrator') || roles.some(role => held.includes(role));
    if (person === undefined || !has(person.roles)) throw new NusecError('FORBIDDEN', `${name} needs the role ${roles.join(' or ')}`);
    if (isService(person.roles)) throw new NusecError('FORBIDDEN', `${name} is a service account: it approves nothing`);
    const proposal = (await ctx.store.readStream(stream)).findLast(isProposal);
    if (proposal === undefined) return;
    const own = (await ctx.store.readStream(operatorsStream)).filter(({ type, data }) => grants.has(type) && data.name === name);
    const since = own.findLastIndex(({ data }) => !has(data.roles as readonly unknown[])) + 1;
    if ((own[since]?.position ?? Number.POSITIVE_INFINITY) > proposal.position)
      throw new NusecError('FOUR_EYES_REQUIRED', `${name} could not approve yet when this was proposed`);
  };
