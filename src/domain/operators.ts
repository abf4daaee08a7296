/** The people: who may do what, by which token. Stream `operators`. Events carry only the SHA-256 of a token (I19);
 *  tokens are 32 random bytes, so the hash needs no salt. */

import type { Decider } from './decider.ts';
import { isPast, refuse } from './rules.ts';

export const roles = ['administrator', 'securityOfficer', 'productionPlanner', 'releaseManager', 'lineOperator', 'auditor'] as const;
export type Role = (typeof roles)[number];

export const maxOperators = 1000;

export type Operator = {
  readonly name: string;
  readonly roles: readonly Role[];
  readonly tokenSha256: string;
  readonly expiresAt: string;
};

export type OperatorsEvent =
  | { readonly type: 'OperatorAdded'; readonly data: Operator }
  | {
      readonly type: 'OperatorTokenRotated';
      readonly data: { readonly name: string; readonly tokenSha256: string; readonly expiresAt: string };
    }
  | { readonly type: 'OperatorRemoved'; readonly data: { readonly name: string } };

export type OperatorsCommand =
  | ({ readonly type: 'AddOperator' } & Operator)
  | { readonly type: 'RotateOperatorToken'; readonly name: string; readonly tokenSha256: string; readonly expiresAt: string }
  | { readonly type: 'RemoveOperator'; readonly name: string };

export type OperatorsState = { readonly byName: ReadonlyMap<string, Operator> };

export const operatorsStream = 'operators';

/** Who presents this token.
 *  @throws NusecError UNAUTHENTICATED for an unknown token, TOKEN_EXPIRED */
export function operatorByToken(state: OperatorsState, tokenSha256: string, now: string): Operator {
  const operator = [...state.byName.values()].find(candidate => candidate.tokenSha256 === tokenSha256);
  if (operator === undefined) refuse('UNAUTHENTICATED', 'the token is not known');
  if (isPast(operator.expiresAt, now)) refuse('TOKEN_EXPIRED', `the token expired at ${operator.expiresAt}`);
  return operator;
}

function decide(command: OperatorsCommand, state: OperatorsState): readonly OperatorsEvent[] {
  switch (command.type) {
    case 'AddOperator':
      return add(command, state);
    case 'RotateOperatorToken': {
      const { name, tokenSha256, expiresAt } = command;
      const operator = state.byName.get(name) ?? refuse('NOT_FOUND', 'there is no such operator');
      if (operator.tokenSha256 === tokenSha256) return [];
      requireFreshToken(tokenSha256, state);
      return [{ type: 'OperatorTokenRotated', data: { name, tokenSha256, expiresAt } }];
    }
    case 'RemoveOperator':
      return remove(command.name, state);
  }
}

function add(command: Extract<OperatorsCommand, { readonly type: 'AddOperator' }>, state: OperatorsState): readonly OperatorsEvent[] {
  const { type: _, ...operator } = command;
  const known = state.byName.get(operator.name);
  if (known !== undefined) return known.tokenSha256 === operator.tokenSha256 ? [] : refuse('CONFLICT', 'this name is taken');
  if (operator.roles.length === 0) refuse('BAD_REQUEST', 'an operator needs a role');
  if (state.byName.size >= maxOperators) refuse('RATE_LIMITED', `at most ${maxOperators} operators`);
  requireFreshToken(operator.tokenSha256, state);
  return [{ type: 'OperatorAdded', data: operator }];
}

function requireFreshToken(tokenSha256: string, state: OperatorsState): void {
  const taken = [...state.byName.values()].some(operator => operator.tokenSha256 === tokenSha256);
  if (taken) refuse('CONFLICT', 'another operator has this token');
}

/** The last administrator stays: nobody could add another. */
function remove(name: string, state: OperatorsState): readonly OperatorsEvent[] {
  const operator = state.byName.get(name);
  if (operator === undefined) return [];
  const administrators = [...state.byName.values()].filter(({ roles }) => roles.includes('administrator'));
  if (operator.roles.includes('administrator') && administrators.length === 1) refuse('STATE', 'the last administrator cannot be removed');
  return [{ type: 'OperatorRemoved', data: { name } }];
}

function evolve(state: OperatorsState, event: OperatorsEvent): OperatorsState {
  const byName = new Map(state.byName);
  switch (event.type) {
    case 'OperatorAdded':
      return { byName: byName.set(event.data.name, event.data) };
    case 'OperatorTokenRotated': {
      const operator = byName.get(event.data.name);
      return operator === undefined ? state : { byName: byName.set(event.data.name, { ...operator, ...event.data }) };
    }
    case 'OperatorRemoved':
      byName.delete(event.data.name);
      return { byName };
    default:
      return state;
  }
}

export const operators: Decider<OperatorsCommand, OperatorsState, OperatorsEvent> = {
  initialState: { byName: new Map() },
  decide,
  evolve,
};
