import { describe, expect, it } from 'vitest';
import { isForOne, maxOpenChanges, recoveryActor } from '../../src/domain/operatorChanges.ts';
import { type OperatorsCommand, operators } from '../../src/domain/operators.ts';
import type { OperatorChange } from '../../src/domain/operatorsState.ts';
import { proposalLifetimeMs } from '../../src/domain/proposals.ts';
import { timeAfter } from '../../src/domain/rules.ts';
import { covers } from '../support/covers.ts';
import { play, scenario } from './scenario.ts';

const now = '2026-07-01T00:00:00.000Z';
const expiresAt = '2027-07-01T00:00:00.000Z';
const person = (name: string, role: 'administrator' | 'auditor' = 'administrator'): OperatorsCommand => ({
  type: 'AddOperator',
  name,
  roles: [role],
  tokenSha256: `t-${name}`,
  expiresAt,
});
const both = [person('ann'), person('ben')];
const propose = (change: OperatorChange, by = 'operator:ann', id = 'c1'): OperatorsCommand => ({
  type: 'ProposeOperatorChange',
  id,
  change,
  by,
  now,
});
const approve = (by = 'operator:ben', more: { tokenSha256?: string; now?: string } = {}, id = 'c1'): OperatorsCommand => ({
  type: 'ApproveOperatorChange',
  id,
  by,
  now,
  expiresAt,
  ...more,
});
const addCarol: OperatorChange = { type: 'add', name: 'carol', roles: ['productionPlanner'], tokenSha256: 't-carol' };
const carol = { name: 'carol', roles: ['productionPlanner'], tokenSha256: 't-carol', expiresAt } as const;
const on = (...commands: readonly OperatorsCommand[]) => scenario(operators).given(...play(operators, commands).events);
const state = (...commands: readonly OperatorsCommand[]) => play(operators, commands).state;

describe('a change among those who may approve', () => {
  it('is carried out when another administrator approves, once (I16)', () => {
    covers('I16');
    on(...both, propose(addCarol))
      .when(approve())
      .givesOnce(
        { type: 'OperatorChangeApproved', data: { id: 'c1', by: 'operator:ben', at: now } },
        { type: 'OperatorAdded', data: carol },
      );
    on(...both, propose(addCarol))
      .when(approve('operator:ann'))
      .refused('FOUR_EYES_REQUIRED');
    on(...both, propose(addCarol), approve())
      .when(approve('operator:eve'))
      .refused('STATE');
    on(...both, propose(addCarol), { type: 'WithdrawOperatorChange', id: 'c1', by: 'operator:ann', now })
      .when(approve())
      .refused('STATE');
    on(...both)
      .when(approve())
      .refused('NOT_FOUND');
  });

  it('needs the hash of the person’s own token, from the one or the other, and the same from both', () => {
    const { tokenSha256: _, ...withoutToken } = addCarol as typeof addCarol & { tokenSha256: string };
    on(...both, propose(withoutToken))
      .when(approve())
      .refused('BAD_REQUEST');
    expect(state(...both, propose(withoutToken), approve('operator:ben', { tokenSha256: 't-carol' })).byName.get('carol')).toEqual(carol);
    on(...both, propose(addCarol))
      .when(approve('operator:ben', { tokenSha256: 'other' }))
      .refused('CONFLICT');
  });

  it('is made again when it was not approved within a week', () => {
    const late = timeAfter(now, proposalLifetimeMs);
    on(...both, propose(addCarol))
      .when(approve('operator:ben', { now: late }))
      .refused('PROPOSAL_EXPIRED');
  });

  it('is not proposed twice for one person, nor without limit, nor when it cannot be carried out', () => {
    on(...both, propose(addCarol))
      .when(propose({ type: 'remove', name: 'carol' }, 'operator:ben', 'c2'))
      .refused('CONFLICT');
    const many = Array.from({ length: maxOpenChanges }, (_, i) =>
      propose({ type: 'add', name: `n${i}`, roles: ['administrator'], tokenSha256: `t${i}` }, 'operator:ann', `id${i}`),
    );
    on(...both, ...many)
      .when(propose(addCarol))
      .refused('RATE_LIMITED');
    on(...both)
      .when(propose({ type: 'add', name: 'ben', roles: ['administrator'] }))
      .refused('CONFLICT');
    on(...both)
      .when(propose({ type: 'remove', name: 'nobody' }))
      .refused('NOT_FOUND');
  });

  it('leaves two administrators', () => {
    const remove: OperatorChange = { type: 'remove', name: 'ben' };
    const demote: OperatorChange = { type: 'setRoles', name: 'ben', roles: ['auditor'] };
    for (const change of [remove, demote]) {
      on(...both)
        .when(propose(change))
        .refused('STATE');
      const three = [...both, person('cleo'), propose(change)];
      expect(state(...three, approve('operator:cleo')).byName.get('ben')?.roles).toEqual(
        change.type === 'remove' ? undefined : ['auditor'],
      );
    }
  });

  it('gives another token; the old one never comes back', () => {
    const reset: OperatorChange = { type: 'resetToken', name: 'ben', tokenSha256: 'new' };
    const after = state(...both, person('cleo'), propose(reset), approve('operator:cleo'));
    expect(after.byName.get('ben')?.tokenSha256).toBe('new');
    on(...both, person('cleo'), propose(reset), approve('operator:cleo'))
      .when({ type: 'RotateOperatorToken', name: 'ann', tokenSha256: 't-ben', expiresAt })
      .refused('CONFLICT');
  });
});

it('a name belongs to one person for ever', () => {
  const gone = [...both, person('eve', 'auditor'), { type: 'RemoveOperator', name: 'eve' } as const];
  on(...gone)
    .when(person('eve', 'auditor'))
    .refused('CONFLICT');
  on(...gone)
    .when(propose({ type: 'add', name: 'eve', roles: ['administrator'], tokenSha256: 'x' }))
    .refused('CONFLICT');
});

it('only people who approve nothing, before and after, are one person’s to change', () => {
  const known = state(...both, person('eve', 'auditor'));
  const one = (change: OperatorChange) => isForOne(change, known);
  expect(one({ type: 'add', name: 'x', roles: ['auditor', 'lineOperator'] })).toBe(true);
  expect(one({ type: 'remove', name: 'eve' })).toBe(true);
  expect(one({ type: 'resetToken', name: 'eve' })).toBe(true);
  expect(one({ type: 'setRoles', name: 'eve', roles: ['lineOperator'] })).toBe(true);
  for (const role of ['administrator', 'securityOfficer', 'productionPlanner', 'releaseManager'] as const) {
    expect(one({ type: 'add', name: 'x', roles: [role] })).toBe(false);
    expect(one({ type: 'setRoles', name: 'eve', roles: [role] })).toBe(false);
  }
  expect(one({ type: 'setRoles', name: 'ben', roles: ['auditor'] })).toBe(false);
  expect(one({ type: 'resetToken', name: 'ben' })).toBe(false);
  expect(one({ type: 'remove', name: 'ben' })).toBe(false);
});

describe('a recovery', () => {
  const notBefore = timeAfter(now, 72 * 3_600_000);
  const change: OperatorChange = { type: 'add', name: 'dora', roles: ['administrator'], tokenSha256: 't-dora' };
  const begin: OperatorsCommand = { ...propose(change, recoveryActor), notBefore } as OperatorsCommand;

  it('waits, and is nobody else’s to approve', () => {
    on(...both, begin)
      .when(approve(recoveryActor))
      .refused('STATE');
    on(...both, begin)
      .when(approve('operator:ben', { now: notBefore }))
      .refused('FOUR_EYES_REQUIRED');
    expect(state(...both, begin, approve(recoveryActor, { now: notBefore })).byName.has('dora')).toBe(true);
  });

  it('ends with an objection', () => {
    on(...both, begin, { type: 'WithdrawOperatorChange', id: 'c1', by: 'operator:ann', now })
      .when(approve(recoveryActor, { now: notBefore }))
      .refused('STATE');
  });
});

describe('an authenticator', () => {
  const key = { label: 'blue key', credentialId: 'cred', publicKey: 'cose', rpId: 'nusec.example' };
  const add = (name = 'ann', id = 'k1', more = {}): OperatorsCommand => ({
    ...{ type: 'AddOperatorAuthenticator', name, id, ...key, signCount: 3, ...more },
  });
  const use = (signCount: number, id = 'k1'): OperatorsCommand => ({
    ...{ type: 'UseOperatorAuthenticator', name: 'ann', id, signCount, requestSha256: 'r' },
  });
  const end: OperatorChange = { type: 'endAuthenticator', name: 'ann', authenticatorId: 'k1' };

  it('is registered once, by one person', () => {
    on(...both)
      .when(add())
      .givesOnce({ type: 'OperatorAuthenticatorAdded', data: { name: 'ann', id: 'k1', ...key, signCount: 3 } });
    on(...both, add())
      .when(add('ben', 'k2'))
      .refused('CONFLICT');
    on(...both, add())
      .when(add('ann', 'k2', { credentialId: 'other', label: '' }))
      .refused('BAD_REQUEST');
  });

  it('that does not count up is a copy; one that never counts stays at 0', () => {
    on(...both, add())
      .when(use(4))
      .gives({ type: 'OperatorAuthenticatorUsed', data: { name: 'ann', id: 'k1', signCount: 4, requestSha256: 'r' } });
    for (const count of [3, 2, 0])
      on(...both, add())
        .when(use(count))
        .refused('CONFIRMATION_REFUSED');
    on(...both, add(), use(4))
      .when(use(4))
      .refused('CONFIRMATION_REFUSED');
    on(...both, add('ann', 'k1', { signCount: 0 }))
      .when(use(0))
      .gives({ type: 'OperatorAuthenticatorUsed', data: { name: 'ann', id: 'k1', signCount: 0, requestSha256: 'r' } });
    on(...both, add())
      .when(use(9, 'k2'))
      .refused('CONFIRMATION_REFUSED');
  });

  it('of somebody who approves is ended by two administrators, of others by one (I16)', () => {
    covers('I16');
    const ended = { type: 'OperatorCredentialEnded', data: { name: 'ann', id: 'k1' } } as const;
    on(...both, add())
      .when({ type: 'EndOperatorCredential', name: 'ann', id: 'k1' })
      .refused('FOUR_EYES_REQUIRED');
    on(...both, add(), propose(end))
      .when(approve('operator:ann'))
      .refused('FOUR_EYES_REQUIRED');
    on(...both, add(), propose(end))
      .when(approve())
      .givesOnce({ type: 'OperatorChangeApproved', data: { id: 'c1', by: 'operator:ben', at: now } }, ended);
    on(...both)
      .when(propose(end))
      .refused('NOT_FOUND');
    on(...both, person('eve', 'auditor'), add('eve'))
      .when({ type: 'EndOperatorCredential', name: 'eve', id: 'k1' })
      .gives({ type: 'OperatorCredentialEnded', data: { name: 'eve', id: 'k1' } });
  });

  it('ends when others give its owner another token', () => {
    const reset: OperatorChange = { type: 'resetToken', name: 'ann', tokenSha256: 't-new' };
    const { byName } = state(...both, person('cat'), add(), propose(reset, 'operator:cat'), approve('operator:ben'));
    expect(byName.get('ann')?.credentials).toEqual([]);
  });
});
