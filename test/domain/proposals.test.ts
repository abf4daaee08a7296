import { describe, expect, it } from 'vitest';
import { type BulkRevocationCommand, bulkRevocations, maxOpenBulkRevocations } from '../../src/domain/bulkRevocations.ts';
import { type CeremoniesCommand, ceremonies, maxOpenCeremonies } from '../../src/domain/ceremonies.ts';
import { type GatewayCommand, gateway } from '../../src/domain/gateway.ts';
import { type ParkedEventsCommand, parkedEvents } from '../../src/domain/parkedEvents.ts';
import { isWaiting, proposalLifetimeMs } from '../../src/domain/proposals.ts';
import { timeAfter } from '../../src/domain/rules.ts';
import { dayMs } from '../../src/times.ts';
import { covers } from '../support/covers.ts';
import { play, scenario } from './scenario.ts';

const now = '2026-01-01T00:00:00.000Z';
/** The last moment, and the first one after it. */
const [last, late] = [timeAfter(now, proposalLifetimeMs - 1), timeAfter(now, proposalLifetimeMs)];
const [alice, bob] = ['operator:alice', 'operator:bob'];

describe('what one person proposes (I16)', () => {
  it('waits seven days for another, and what has no time waits no more', () => {
    covers('I16');
    expect(proposalLifetimeMs).toBe(7 * dayMs);
    expect([isWaiting(now, last), isWaiting(now, late), isWaiting(undefined, now)]).toEqual([true, false, false]);
  });

  it('a ceremony is not approved after that, and makes room for another one', () => {
    covers('I16');
    const action = { type: 'retireIssuingCa', icaId: 'gateway-1' } as const;
    const propose = (id: string, at = now): CeremoniesCommand => ({ type: 'ProposeCeremony', id, action, by: alice, now: at });
    const approve = (at: string): CeremoniesCommand => ({ type: 'ApproveCeremony', id: 'c', by: bob, now: at });
    const on = (...commands: readonly CeremoniesCommand[]) => scenario(ceremonies).given(...play(ceremonies, commands).events);
    on(propose('c'))
      .when(approve(last))
      .gives({ type: 'CeremonyApproved', data: { id: 'c', by: bob, at: last } });
    on(propose('c')).when(approve(late)).refused('PROPOSAL_EXPIRED');
    on(propose('c')).when(propose('d', last)).refused('CONFLICT');
    on(propose('c'))
      .when(propose('d', late))
      .gives({ type: 'CeremonyProposed', data: { id: 'd', action, by: alice, at: late } });
    // Approved in time, it is finished whenever that is.
    on(propose('c'), approve(last)).when(approve(late)).gives();
    const many = Array.from({ length: maxOpenCeremonies }, (_, i): CeremoniesCommand => {
      return { type: 'ProposeCeremony', id: `${i}`, action: { type: 'activateIssuingCa', icaId: `${i}` }, by: alice, now };
    });
    on(...many)
      .when(propose('c', last))
      .refused('RATE_LIMITED');
    on(...many)
      .when(propose('c', late))
      .gives({ type: 'CeremonyProposed', data: { id: 'c', action, by: alice, at: late } });
  });

  it('a revocation in bulk is not approved after that, and makes room for another one', () => {
    covers('I16');
    const wish = { reason: 'keyCompromise', note: 'weak', uidsSha256: 's', count: 10 } as const;
    const propose = (id: string, at = now): BulkRevocationCommand => ({ type: 'ProposeBulkRevocation', id, ...wish, by: alice, now: at });
    const approve = (at: string): BulkRevocationCommand => ({ type: 'ApproveBulkRevocation', id: '0', by: bob, now: at });
    const on = (...commands: readonly BulkRevocationCommand[]) =>
      scenario(bulkRevocations).given(...play(bulkRevocations, commands).events);
    on(propose('0'))
      .when(approve(last))
      .gives({ type: 'BulkRevocationApproved', data: { id: '0', by: bob, at: last } });
    on(propose('0')).when(approve(late)).refused('PROPOSAL_EXPIRED');
    on(propose('0'), approve(last)).when(approve(late)).gives();
    const many = Array.from({ length: maxOpenBulkRevocations }, (_, i) => propose(`${i}`));
    on(...many)
      .when(propose('x', last))
      .refused('RATE_LIMITED');
    on(...many)
      .when(propose('x', late))
      .gives({ type: 'BulkRevocationProposed', data: { id: 'x', ...wish, by: alice, at: late } });
    // What runs still counts.
    on(...many, approve(last))
      .when(propose('x', late))
      .gives({ type: 'BulkRevocationProposed', data: { id: 'x', ...wish, by: alice, at: late } });
  });

  it('an event is parked by whoever asks second in time; later it is proposed anew', () => {
    covers('I16');
    const wish = { follower: 'OCSP', position: 7, reason: 'test' };
    const park = (by: string, at: string): ParkedEventsCommand => ({ type: 'ParkEvent', ...wish, by, now: at });
    const on = (...commands: readonly ParkedEventsCommand[]) => scenario(parkedEvents).given(...play(parkedEvents, commands).events);
    const data = { id: '7 OCSP', ...wish };
    on(park(alice, now))
      .when(park(bob, last))
      .gives({ type: 'EventParked', data: { ...data, by: bob, at: last } });
    for (const who of [alice, bob])
      on(park(alice, now))
        .when(park(who, late))
        .gives({ type: 'EventParkingProposed', data: { ...data, by: who, at: late } });
  });

  it('a key for a live gateway is agreed on in time; later it is proposed anew, by whoever asks (T20)', () => {
    covers('I16', 'T20');
    const facts = { certificateSha256: 'c', icaId: 'gateway-1', notAfter: '2027-01-01T00:00:00.000Z' };
    const live: GatewayCommand[] = [
      { type: 'RegisterGateway', gatewayId: 'g', name: 'hall', by: alice },
      { type: 'CertifyGateway', serial: '1', publicKeySha256: 'k', ...facts },
    ];
    const ask = (by: string, at: string): GatewayCommand => ({ type: 'AskForGatewayKey', publicKeySha256: 'new', by, now: at });
    const on = (...commands: readonly GatewayCommand[]) => scenario(gateway).given(...play(gateway, [...live, ...commands]).events);
    on(ask(alice, now)).when(ask(bob, last)).gives();
    for (const who of [alice, bob])
      on(ask(alice, now))
        .when(ask(who, late))
        .gives({ type: 'GatewayKeyProposed', data: { id: 'new', by: who, at: late } });
    const certify = (at: string): GatewayCommand => {
      return { type: 'CertifyGateway', serial: '2', publicKeySha256: 'new', ...facts, asked: { by: bob, now: at } };
    };
    on(ask(alice, now)).when(certify(late)).refused('FOUR_EYES_REQUIRED');
    // Proposed by an earlier version, which did not say when.
    const { events } = play(gateway, live);
    scenario(gateway)
      .given(...events, { type: 'GatewayKeyProposed', data: { id: 'new', by: alice } })
      .when(ask(bob, now))
      .gives({ type: 'GatewayKeyProposed', data: { id: 'new', by: bob, at: now } });
  });
});
