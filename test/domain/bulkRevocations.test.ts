import { describe, it } from 'vitest';
import { type BulkRevocationCommand, bulkRevocations, maxOpenBulkRevocations } from '../../src/domain/bulkRevocations.ts';
import { covers } from '../support/covers.ts';
import { play, scenario } from './scenario.ts';

const now = '2026-01-01T00:00:00.000Z';
const [alice, bob] = ['operator:alice', 'operator:bob'];
const wish = { id: 'b', reason: 'keyCompromise', note: 'weak', uidsSha256: 's', count: 10 } as const;
const propose: BulkRevocationCommand = { type: 'ProposeBulkRevocation', ...wish, by: alice, now };
const approve = (by: string): BulkRevocationCommand => ({ type: 'ApproveBulkRevocation', id: 'b', by, now });
const progress = (done: number): BulkRevocationCommand => ({ type: 'ProgressBulkRevocation', id: 'b', done, revoked: done, failed: 0 });
const finish: BulkRevocationCommand = { type: 'FinishBulkRevocation', id: 'b', now };
const cancel: BulkRevocationCommand = { type: 'CancelBulkRevocation', id: 'b', by: bob, now };
const on = (...commands: readonly BulkRevocationCommand[]) => scenario(bulkRevocations).given(...play(bulkRevocations, commands).events);

describe('a revocation in bulk', () => {
  it('needs another person, goes forward only, and is done when all were looked at (I16)', () => {
    covers('I16');
    on()
      .when(propose)
      .givesOnce({ type: 'BulkRevocationProposed', data: { ...wish, by: alice, at: now } });
    on(propose).when(approve(alice)).refused('FOUR_EYES_REQUIRED');
    on(propose)
      .when(approve(bob))
      .givesOnce({ type: 'BulkRevocationApproved', data: { id: 'b', by: bob, at: now } });
    on(propose).when(progress(1)).refused('STATE');
    on(propose, approve(bob))
      .when(progress(4))
      .givesOnce({ type: 'BulkRevocationProgressed', data: { id: 'b', done: 4, revoked: 4, failed: 0 } });
    on(propose, approve(bob), progress(4)).when(progress(3)).gives();
    on(propose, approve(bob), progress(4)).when(finish).refused('STATE');
    on(propose, approve(bob), progress(10))
      .when(finish)
      .givesOnce({ type: 'BulkRevocationDone', data: { id: 'b', at: now } });
  });

  it('is cancelled while it is not done', () => {
    on(propose, approve(bob), progress(4))
      .when(cancel)
      .givesOnce({ type: 'BulkRevocationCancelled', data: { id: 'b', by: bob, at: now } });
    on(propose, approve(bob), cancel).when(progress(5)).refused('STATE');
    on(propose, cancel).when(approve(bob)).refused('STATE');
    on(propose, approve(bob), progress(10), finish).when(cancel).refused('STATE');
  });

  it('has devices, and few wait at a time', () => {
    on()
      .when({ ...propose, count: 0 })
      .refused('BAD_REQUEST');
    const many = Array.from({ length: maxOpenBulkRevocations }, (_, i): BulkRevocationCommand => ({ ...propose, id: `${i}` }));
    on(...many)
      .when(propose)
      .refused('RATE_LIMITED');
    on().when(cancel).refused('NOT_FOUND');
  });
});
