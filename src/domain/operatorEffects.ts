import type { IsoTime } from './actor.ts';
import { contentText } from './contentText.ts';
import { credentialsOf, type NewOperator, type Operator, type OperatorsEvent, type OperatorsState, tokensOf } from './operatorsState.ts';
import { isService, type Role, type Scope } from './roles.ts';
import { refuse } from './rules.ts';

/** What a change among the people does, and when it cannot be: the same for one person's and for two people's changes. */

export function addOperator(operator: NewOperator, state: OperatorsState): readonly OperatorsEvent[] {
  const known = state.byName.get(operator.name);
  if (known !== undefined) return known.tokenSha256 === operator.tokenSha256 ? [] : refuse('CONFLICT', 'this name is taken');
  if (state.formerNames.has(operator.name)) refuse('CONFLICT', 'this name was another person’s');
  requireRoles(operator.roles);
  requireFreshToken(operator.tokenSha256, state);
  return [{ type: 'OperatorAdded', data: operator }];
}

export function rotateToken(name: string, tokenSha256: string, expiresAt: IsoTime, state: OperatorsState): readonly OperatorsEvent[] {
  const operator = operatorOf(state, name);
  if (operator.tokenSha256 === tokenSha256) return [];
  requireFreshToken(tokenSha256, state);
  return [{ type: 'OperatorTokenRotated', data: { name, tokenSha256, expiresAt } }];
}

/** A person who gets another token from others may have lost more than that: whatever else the person had ends too. */
export function resetToken(name: string, tokenSha256: string, expiresAt: IsoTime, state: OperatorsState): readonly OperatorsEvent[] {
  const rotated = rotateToken(name, tokenSha256, expiresAt, state);
  return rotated.length === 0 ? [] : [...rotated, ...endCredentials(name, [], state)];
}

/** @param kept ids of those that stay */
export function endCredentials(name: string, kept: readonly string[], state: OperatorsState): readonly OperatorsEvent[] {
  const ended = credentialsOf(operatorOf(state, name)).filter(({ id }) => !kept.includes(id));
  return ended.map(({ id }) => ({ type: 'OperatorCredentialEnded', data: { name, id } }));
}

export function setRoles(
  name: string,
  wanted: readonly Role[],
  scope: Scope | undefined,
  state: OperatorsState,
): readonly OperatorsEvent[] {
  const operator = operatorOf(state, name);
  requireRoles(wanted);
  if (isService(wanted) !== isService(operator.roles)) refuse('CONFLICT', 'a person stays a person, and a service account one');
  const same = contentText([operator.roles, operator.scope]) === contentText([wanted, scope]);
  if (same) return [];
  if (!wanted.includes('administrator')) requireAnotherAdministrator(operator, state);
  return [{ type: 'OperatorRolesSet', data: { name, roles: wanted, ...(scope !== undefined && { scope }) } }];
}

export function removeOperator(name: string, state: OperatorsState): readonly OperatorsEvent[] {
  if (state.formerNames.has(name)) return [];
  const operator = operatorOf(state, name);
  requireAnotherAdministrator(operator, state);
  return [{ type: 'OperatorRemoved', data: { name } }];
}

function requireRoles(held: readonly Role[]): void {
  if (held.length === 0) refuse('BAD_REQUEST', 'an operator needs a role');
  if (isService(held) && held.includes('administrator')) refuse('BAD_REQUEST', 'a service account is no administrator');
}

/** @throws NusecError NOT_FOUND */
export function operatorOf(state: OperatorsState, name: string): Operator {
  return state.byName.get(name) ?? refuse('NOT_FOUND', 'there is no such operator');
}

/** The last administrator stays: nobody could add another. */
function requireAnotherAdministrator(leaving: Operator, state: OperatorsState): void {
  if (leaving.roles.includes('administrator') && administratorsOf(state).length === 1)
    refuse('STATE', 'the last administrator cannot be removed');
}

export const administratorsOf = (state: OperatorsState): readonly Operator[] =>
  [...state.byName.values()].filter(({ roles: held }) => held.includes('administrator'));

export function requireFreshToken(tokenSha256: string, state: OperatorsState): void {
  const taken = [...state.byName.values()].some(operator => tokensOf(operator).includes(tokenSha256));
  if (taken || state.formerTokens.has(tokenSha256)) refuse('CONFLICT', 'this token belongs, or belonged, to somebody');
}
