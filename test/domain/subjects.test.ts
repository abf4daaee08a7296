import { describe, it } from 'vitest';
import { proposalLifetimeMs } from '../../src/domain/proposals.ts';
import { type SubjectsCommand, subjects } from '../../src/domain/subjects.ts';
import { covers } from '../support/covers.ts';
import { play, scenario } from './scenario.ts';

const at = '2026-01-01T00:00:00.000Z';
const [alice, bob] = ['operator:alice', 'operator:bob'];
const id = 'ab'.repeat(24);
const propose = (by: string, now = at): SubjectsCommand => ({ type: 'ProposeErasure', id, kind: 'operator', reason: 'left', by, now });
const approve = (by: string, now = at): SubjectsCommand => ({ type: 'ApproveErasure', id, by, now });
const record: SubjectsCommand = { type: 'RecordErasure', id, keySha256: 'cd' };
const on = (...commands: readonly SubjectsCommand[]) => scenario(subjects).given(...play(subjects, commands).events);

describe('the erasure of a person', () => {
  it('is proposed by one person, approved by another, and recorded when the key is gone (I16)', () => {
    covers('I16');
    on()
      .when(propose(alice))
      .givesOnce({ type: 'SubjectErasureProposed', data: { id, kind: 'operator', reason: 'left', by: alice, at } });
    on(propose(alice)).when(approve(alice)).refused('FOUR_EYES_REQUIRED');
    on(propose(alice))
      .when(approve(bob))
      .givesOnce({ type: 'SubjectErasureApproved', data: { id, by: bob, at } });
    on(propose(alice), approve(bob))
      .when(record)
      .givesOnce({ type: 'SubjectErased', data: { id, keySha256: 'cd' } });
  });

  it('is not recorded without an approval, but once more after an older store was put back', () => {
    on(propose(alice)).when(record).refused('FOUR_EYES_REQUIRED');
    on().when({ type: 'RecordErasure', id, again: true }).givesOnce({ type: 'SubjectErased', data: { id } });
  });

  it('is proposed again when nobody approved it for a week', () => {
    const late = new Date(Date.parse(at) + proposalLifetimeMs + 1).toISOString();
    on(propose(alice)).when(approve(bob, late)).refused('PROPOSAL_EXPIRED');
    on(propose(alice))
      .when(propose(bob, late))
      .gives({ type: 'SubjectErasureProposed', data: { id, kind: 'operator', reason: 'left', by: bob, at: late } });
    on(propose(alice)).when(propose(bob)).gives();
  });

  it('is done once', () => {
    const erased = on(propose(alice), approve(bob), record);
    for (const again of [propose(alice), approve(alice), record]) erased.when(again).gives();
  });

  it('of addresses is only counted', () => {
    on()
      .when({ type: 'ForgetAddresses', count: 3, before: at })
      .gives({ type: 'AddressesForgotten', data: { count: 3, before: at } });
    on().when({ type: 'ForgetAddresses', count: 0, before: at }).gives();
  });
});
