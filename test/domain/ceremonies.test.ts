import { describe, expect, it } from 'vitest';
import { type CeremoniesCommand, ceremonies, maxOpenCeremonies } from '../../src/domain/ceremonies.ts';
import { covers } from '../support/covers.ts';
import { play, scenario } from './scenario.ts';

const now = '2026-01-01T00:00:00.000Z';
const [alice, bob] = ['operator:alice', 'operator:bob'];
const action = { type: 'retireIssuingCa', icaId: 'gateway-1' } as const;
const propose: CeremoniesCommand = { type: 'ProposeCeremony', id: 'c', action, by: alice, now };
const approve = (by: string): CeremoniesCommand => ({ type: 'ApproveCeremony', id: 'c', by, now });
const finish: CeremoniesCommand = { type: 'FinishCeremony', id: 'c', outcome: { retired: 'gateway-1' }, now };
const withdraw: CeremoniesCommand = { type: 'WithdrawCeremony', id: 'c', by: bob, now };
const on = (...commands: readonly CeremoniesCommand[]) => scenario(ceremonies).given(...play(ceremonies, commands).events);

describe('a key ceremony', () => {
  it('is proposed by one person, approved by another, and done (I16)', () => {
    covers('I16');
    on()
      .when(propose)
      .givesOnce({ type: 'CeremonyProposed', data: { id: 'c', action, by: alice, at: now } });
    on(propose).when(approve(alice)).refused('FOUR_EYES_REQUIRED');
    on(propose).when(finish).refused('FOUR_EYES_REQUIRED');
    on(propose)
      .when(approve(bob))
      .givesOnce({ type: 'CeremonyApproved', data: { id: 'c', by: bob, at: now } });
    on(propose, approve(bob))
      .when(finish)
      .givesOnce({ type: 'CeremonyDone', data: { id: 'c', at: now, outcome: { retired: 'gateway-1' } } });
    on().when(approve(bob)).refused('NOT_FOUND');
  });

  it('is withdrawn while it waits, and only then', () => {
    on(propose)
      .when(withdraw)
      .givesOnce({ type: 'CeremonyWithdrawn', data: { id: 'c', by: bob, at: now } });
    on(propose, withdraw).when(approve(bob)).refused('STATE');
    on(propose, approve(bob)).when(withdraw).refused('STATE');
  });

  it('is proposed once, and few at a time', () => {
    on(propose)
      .when({ ...propose, id: 'd' })
      .refused('CONFLICT');
    const roll = { type: 'rollRoot', rootId: 'root-2' } as const;
    on({ ...propose, action: roll })
      .when({ ...propose, id: 'd', action: { ...roll, curve: 'P-384' } })
      .refused('CONFLICT');
    const many = Array.from(
      { length: maxOpenCeremonies },
      (_, i): CeremoniesCommand => ({ ...propose, id: `${i}`, action: { ...action, icaId: `${i}` } }),
    );
    on(...many)
      .when(propose)
      .refused('RATE_LIMITED');
    expect(play(ceremonies, many).state.byId.size).toBe(maxOpenCeremonies);
  });
});
