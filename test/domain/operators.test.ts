import { describe, expect, it } from 'vitest';
import { operatorByToken } from '../../src/domain/operatorCredentials.ts';
import { maxOperators, type OperatorsCommand, operators } from '../../src/domain/operators.ts';
import { codeOf, play, scenario } from './scenario.ts';

const expiresAt = '2027-01-01T00:00:00.000Z';
const ann = { name: 'ann', roles: ['administrator'], tokenSha256: 't1', expiresAt } as const;
const bob = { name: 'bob', roles: ['auditor'], tokenSha256: 't2', expiresAt } as const;
const add = (operator: typeof ann | typeof bob): OperatorsCommand => ({ type: 'AddOperator', ...operator });
const rotate = { type: 'RotateOperatorToken', name: 'ann', tokenSha256: 't3', expiresAt } as const;
const on = (...commands: readonly OperatorsCommand[]) => scenario(operators).given(...play(operators, commands).events);
const state = (...commands: readonly OperatorsCommand[]) => play(operators, commands).state;

describe('operators', () => {
  it('are added with roles and the hash of a token', () => {
    on().when(add(ann)).givesOnce({ type: 'OperatorAdded', data: ann });
    on(add(ann))
      .when({ ...ann, type: 'AddOperator', tokenSha256: 'x' })
      .refused('CONFLICT');
    on(add(ann))
      .when({ ...bob, type: 'AddOperator', tokenSha256: 't1' })
      .refused('CONFLICT');
    on()
      .when({ ...ann, type: 'AddOperator', roles: [] })
      .refused('BAD_REQUEST');
    const many = Array.from(
      { length: maxOperators },
      (_, i) => ({ ...bob, type: 'AddOperator', name: `n${i}`, tokenSha256: `n${i}` }) as const,
    );
    on(...many)
      .when(add(ann))
      .refused('RATE_LIMITED');
  });

  it('rotate their token; the old one is not known any more', () => {
    on(add(ann))
      .when(rotate)
      .givesOnce({ type: 'OperatorTokenRotated', data: { name: 'ann', tokenSha256: 't3', expiresAt } });
    on(add(ann), add(bob))
      .when({ ...rotate, tokenSha256: 't2' })
      .refused('CONFLICT');
    on().when(rotate).refused('NOT_FOUND');
    const now = '2026-12-31T23:59:59.999Z';
    expect(operatorByToken(state(add(ann), rotate), 't3', now).roles).toEqual(['administrator']);
    expect(codeOf(() => operatorByToken(state(add(ann), rotate), 't1', now))).toBe('UNAUTHENTICATED');
    expect(codeOf(() => operatorByToken(state(add(ann)), 't1', expiresAt))).toBe('TOKEN_EXPIRED');
  });

  it('are removed, but never the last administrator', () => {
    on(add(ann), add(bob))
      .when({ type: 'RemoveOperator', name: 'bob' })
      .givesOnce({ type: 'OperatorRemoved', data: { name: 'bob' } });
    on(add(ann), add(bob)).when({ type: 'RemoveOperator', name: 'ann' }).refused('STATE');
    on().when({ type: 'RemoveOperator', name: 'ann' }).refused('NOT_FOUND');
  });
});
