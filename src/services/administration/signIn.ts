import { isForOne } from '../../domain/operatorChanges.ts';
import { operatorByIdentity } from '../../domain/operatorCredentials.ts';
import { operators, operatorsStream } from '../../domain/operators.ts';
import { type Identity, identitiesOf, isSameIdentity, type Operator, type OperatorsState } from '../../domain/operatorsState.ts';
import { isService, needsTwo, type Role } from '../../domain/roles.ts';
import { NusecError } from '../../errors.ts';
import type { Parts } from '../base/alarms.ts';
import { type Context, execute, newHexId, oneCommit, stateOf } from '../base/context.ts';
import type { Arrival } from './openId.ts';
import { newToken, tellOfPeople, tokenEnd } from './operators.ts';

/** Who somebody from an OpenID provider is here. Its groups give roles to people who approve nothing; from people who may approve they only take away:
 *  who approves is decided by two administrators of ours, not by the one of the provider. */

export type SessionStart = {
  readonly name: string;
  readonly tokenSha256: string;
  readonly identityId: string;
  readonly mapped: readonly Role[];
};

const by = 'system:sign-in';

/** @throws NusecError FORBIDDEN (no group of ours; an approver who was not added; a person who was removed) */
export async function signInArrival(parts: Parts, arrival: Arrival): Promise<SessionStart> {
  const { ctx } = parts;
  const { identity, mapped } = arrival;
  if (mapped.length === 0) throw new NusecError('FORBIDDEN', 'none of your groups has a role here');
  const state = await stateOf(ctx, operators, operatorsStream);
  const known = operatorByIdentity(state, identity) ?? (await addArrival(parts, state, arrival));
  if (isService(known.roles)) throw new NusecError('FORBIDDEN', 'a service account does not sign in');
  await followGroups(parts, known, mapped);
  const identityId = identitiesOf(known).find(one => isSameIdentity(one, identity))?.id ?? '';
  return { name: known.name, tokenSha256: known.tokenSha256, identityId, mapped };
}

/** Somebody who is not known and approves nothing comes by signing in, with a main token that nobody has. */
async function addArrival(parts: Parts, state: OperatorsState, { identity, wantedName, mapped }: Arrival): Promise<Operator> {
  if (state.formerIdentities.some(former => isSameIdentity(former, identity))) throw new NusecError('FORBIDDEN', 'you were removed');
  if (needsTwo(mapped))
    throw new NusecError('FORBIDDEN', `two administrators add you first: nusec operator add ${wantedName} --subject ${identity.subject} …`);
  const name = freeName(parts.ctx, state, wantedName);
  await oneCommit(parts.ctx, async ctx => {
    const { tokenSha256 } = newToken(ctx);
    const added = { type: 'AddOperator', name, roles: mapped, tokenSha256, expiresAt: tokenEnd(ctx) } as const;
    await execute(ctx, operators, operatorsStream, added, by);
    await execute(
      ctx,
      operators,
      operatorsStream,
      { type: 'BindOperatorIdentity', name, id: newHexId(ctx), ...identity },
      `operator:${name}`,
    );
  });
  await tellOfPeople(parts, name, `${name} came by signing in, as ${mapped.join(', ')}`);
  const added = (await stateOf(parts.ctx, operators, operatorsStream)).byName.get(name);
  if (added === undefined) throw new NusecError('CONFLICT', 'somebody else came at the same time: sign in again');
  return added;
}

/** A name is one person's for ever, so another one with that name gets a number of digits. */
function freeName(ctx: Context, { byName, formerNames }: OperatorsState, wanted: string): string {
  const isTaken = (name: string): boolean => byName.has(name) || formerNames.has(name);
  return isTaken(wanted) ? `${wanted}-${newHexId(ctx).slice(0, 8)}` : wanted;
}

/** The roles of somebody who approves nothing are those of the groups. */
async function followGroups(parts: Parts, { name, roles: held, scope }: Operator, mapped: readonly Role[]): Promise<void> {
  const { ctx } = parts;
  const change = { type: 'setRoles', name, roles: mapped, ...(scope !== undefined && { scope }) } as const;
  const isSame = JSON.stringify([...held].sort()) === JSON.stringify([...mapped].sort());
  if (isSame || !isForOne(change, await stateOf(ctx, operators, operatorsStream))) return;
  await execute(ctx, operators, operatorsStream, { ...change, type: 'SetOperatorRoles' }, by);
  await tellOfPeople(parts, name, `the groups of ${name} make it ${mapped.join(', ')}`);
}

/** One's own identity, for the next sign-ins. @throws NusecError CONFLICT */
export async function bindOwnIdentity(parts: Parts, name: string, identity: Identity): Promise<void> {
  const { ctx } = parts;
  const by = `operator:${name}`;
  const { events } = await execute(
    ctx,
    operators,
    operatorsStream,
    { type: 'BindOperatorIdentity', name, id: newHexId(ctx), ...identity },
    by,
  );
  if (events.length > 0) await tellOfPeople(parts, name, `${by} signs in by ${identity.issuer} from now on`);
}
