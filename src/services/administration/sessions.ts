import type { Actor } from '../../domain/actor.ts';
import { operatorInSession, type SignedIn } from '../../domain/operatorCredentials.ts';
import { operatorOf } from '../../domain/operatorEffects.ts';
import { operators, operatorsStream } from '../../domain/operators.ts';
import { isPast } from '../../domain/rules.ts';
import { type Session, sessions, sessionsStream } from '../../domain/sessions.ts';
import { NusecError } from '../../errors.ts';
import type { Parts } from '../base/alarms.ts';
import { type Context, execute, nowIso, stateOf } from '../base/context.ts';
import { personNow, tellOfPeople } from './operators.ts';
import type { TokenUse } from './tokenUse.ts';

/** Sessions of people: listed, and ended one by one. */

/** Newest first. */
export type ShownSession = Pick<Session, 'id' | 'use' | 'at' | 'until' | 'address' | 'agent'> & {
  readonly way: 'token' | 'provider';
  readonly lastUsedAt?: string;
};

/** Whom a session is of, as the log has that person now; `until`: the end of the session, or of its token where that is sooner.
 *  @returns undefined when the session is over, or ended with what it was opened by */
export async function holderNow(ctx: Context, name: string, session: Session): Promise<SignedIn | undefined> {
  const { tokenSha256, identityId, mapped = [], until } = session;
  if (isPast(until, nowIso(ctx))) return undefined;
  if (identityId !== undefined) {
    const person = operatorInSession(await stateOf(ctx, operators, operatorsStream), name, tokenSha256, identityId, mapped);
    return person && { ...person, until };
  }
  const person = await personNow(ctx, tokenSha256);
  return person?.name === name ? { ...person, until: isPast(person.until, until) ? person.until : until } : undefined;
}

/** Those that count. @throws NusecError NOT_FOUND */
export async function listSessions(ctx: Context, use: TokenUse, name: string): Promise<readonly ShownSession[]> {
  operatorOf(await stateOf(ctx, operators, operatorsStream), name);
  const { open } = await stateOf(ctx, sessions, sessionsStream(name));
  const holders = await Promise.all(open.map(session => holderNow(ctx, name, session)));
  return open
    .filter((_, index) => holders[index] !== undefined)
    .map(({ tokenSha256: _, identityId, mapped: __, ...shown }) => {
      const lastUsedAt = use.last(shown.id);
      return { ...shown, way: identityId === undefined ? 'token' : 'provider', ...(lastUsedAt !== undefined && { lastUsedAt }) } as const;
    })
    .toReversed();
}

/** No copy of it counts any more. Ending one of another person is told of, as other changes of people are. @throws NusecError NOT_FOUND */
export async function endSessionOf(parts: Parts, name: string, id: string, by: Actor): Promise<void> {
  const { ctx } = parts;
  const { open } = await stateOf(ctx, sessions, sessionsStream(name));
  if (!open.some(known => known.id === id)) throw new NusecError('NOT_FOUND', `${name} has no session ${id}`);
  await execute(ctx, sessions, sessionsStream(name), { type: 'EndSession', id }, by);
  if (by !== `operator:${name}`) await tellOfPeople(parts, name, `${by} has ended the session ${id} of ${name}`);
}
