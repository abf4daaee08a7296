import { describe, expect, it } from 'vitest';
import type { Actor } from '../../src/domain/actor.ts';
import { fold } from '../../src/domain/decider.ts';
import { type GatewayCommand, type GatewayEvent, gateway, maxAttachedDevices, mayServe } from '../../src/domain/gateway.ts';
import { covers } from '../support/covers.ts';
import { play, scenario } from './scenario.ts';

const register: GatewayCommand = { type: 'RegisterGateway', gatewayId: 'g', name: 'roof', by: 'o' };
const certificate = { serial: '1', certificateSha256: 'c', publicKeySha256: 'k', icaId: 'i', notAfter: '2027-01-01T00:00:00.000Z' };
const certify: GatewayCommand = { type: 'CertifyGateway', ...certificate };
const attach: GatewayCommand = { type: 'AttachDevice', uid: 'u', by: 'o' };
const detach: GatewayCommand = { type: 'DetachDevice', uid: 'u', by: 'o' };
const suspend: GatewayCommand = { type: 'SuspendGateway', reason: 'odd', by: 'o' };
const resume: GatewayCommand = { type: 'ResumeGateway', by: 'o' };
const revoke: GatewayCommand = { type: 'RevokeGateway', reason: 'stolen', by: 'o' };
const bundle = (version: number): GatewayCommand => ({ type: 'ApplyTrustBundle', version });
const active = [register, certify];
const on = (...commands: readonly GatewayCommand[]) => scenario(gateway).given(...play(gateway, commands).events);
const serves = (...commands: readonly GatewayCommand[]) => mayServe(play(gateway, commands).state, 'u');

describe('a gateway', () => {
  it('is registered, certified and renewed', () => {
    on()
      .when(register)
      .givesOnce({ type: 'GatewayRegistered', data: { gatewayId: 'g', name: 'roof', by: 'o' } });
    on(register)
      .when({ ...register, name: 'cellar' })
      .refused('CONFLICT');
    on(register).when(certify).givesOnce({ type: 'GatewayCertified', data: certificate });
    on(...active)
      .when({ ...certify, serial: '2' })
      .gives({ type: 'GatewayCertified', data: { ...certificate, serial: '2' } });
    on(...active, revoke)
      .when({ ...certify, serial: '2' })
      .refused('STATE');
    on().when(certify).refused('NOT_FOUND');
  });

  it('has a few certificates that are good at once; older ones end when a newer one is used', () => {
    const nth = (serial: string): GatewayCommand => ({ ...certify, serial });
    const ended = (serial: string, by: Actor): GatewayEvent => ({
      type: 'GatewayCertificateRevoked',
      data: { serial, reason: 'superseded', by },
    });
    on(register, nth('1'), nth('2'), nth('3'))
      .when(nth('4'))
      .gives({ type: 'GatewayCertified', data: { ...certificate, serial: '4' } }, ended('2', 'system:quota'));
    on(register, nth('1'), nth('2'), nth('3'))
      .when({ type: 'EndOlderGatewayCertificates', serial: '3', by: 'system:renewal' })
      .givesOnce(ended('1', 'system:renewal'), ended('2', 'system:renewal'));
    on(register, nth('1'), nth('2')).when({ type: 'EndOlderGatewayCertificates', serial: '1', by: 'system:renewal' }).gives();
  });

  it('is named once a day for one device and one fault, in whatever state it is (T20)', () => {
    covers('T20');
    const data = { uid: 'u', code: 'SPDM_SIGNATURE', reason: 'false', day: '2026-01-01', evidenceSha256: 'e' };
    const refused = (change: object): GatewayCommand => ({ type: 'RefuseGatewayEvidence', ...data, ...change });
    on(...active, revoke)
      .when(refused({}))
      .givesOnce({ type: 'GatewayEvidenceRefused', data });
    for (const change of [{ day: '2026-01-02' }, { uid: 'v' }, { code: 'COSE_SIGNATURE' }])
      on(...active, refused({}))
        .when(refused(change))
        .gives({ type: 'GatewayEvidenceRefused', data: { ...data, ...change } });
    on().when(refused({})).refused('NOT_FOUND');
  });

  it('that is live gets another key from a person only with a second one, and loses the old key with it (T20, I16)', () => {
    covers('T20', 'I16');
    const ask = (by: Actor, publicKeySha256 = 'new', now = '2026-01-01T00:00:00.000Z'): GatewayCommand => {
      return { type: 'AskForGatewayKey', publicKeySha256, by, now };
    };
    const proposed: GatewayEvent = { type: 'GatewayKeyProposed', data: { id: 'new', by: 'operator:a', at: '2026-01-01T00:00:00.000Z' } };
    on(register).when(ask('operator:a')).gives();
    on(...active)
      .when(ask('operator:a', 'k'))
      .gives();
    on(...active)
      .when(ask('operator:a', 'new', '2028-01-01T00:00:00.000Z'))
      .gives();
    on(...active)
      .when(ask('operator:a'))
      .gives(proposed);
    on(...active, ask('operator:a'))
      .when(ask('operator:a'))
      .refused('FOUR_EYES_REQUIRED');
    on(...active, ask('operator:a'))
      .when(ask('operator:b'))
      .gives();
    const next = { ...certificate, serial: '2', publicKeySha256: 'new' };
    on(...active, ask('operator:a'))
      .when({ type: 'CertifyGateway', ...next })
      .gives(
        { type: 'GatewayCertified', data: next },
        { type: 'GatewayCertificateRevoked', data: { serial: '1', reason: 'superseded', by: 'system:quota' } },
      );
    // What two people agreed on is good for once.
    const later = { ...certificate, serial: '3', publicKeySha256: 'newest' };
    const used: GatewayCommand = { type: 'EndOlderGatewayCertificates', serial: '3', by: 'system:renewal' };
    on(...active, ask('operator:a'), { type: 'CertifyGateway', ...next }, { type: 'CertifyGateway', ...later }, used)
      .when(ask('operator:b'))
      .gives({ type: 'GatewayKeyProposed', data: { id: 'new', by: 'operator:b', at: '2026-01-01T00:00:00.000Z' } });
  });

  it('serves the attached devices while it is active (T20)', () => {
    covers('T20');
    on(...active)
      .when(attach)
      .givesOnce({ type: 'DeviceAttached', data: { uid: 'u', by: 'o' } });
    on(...active, attach)
      .when(detach)
      .givesOnce({ type: 'DeviceDetached', data: { uid: 'u', by: 'o' } });
    expect([serves(register, attach), serves(...active, attach), serves(...active, attach, detach)]).toEqual([false, true, false]);
    expect([serves(...active, attach, suspend), serves(...active, attach, revoke), serves()]).toEqual([false, false, false]);
    on(...active, revoke)
      .when(attach)
      .refused('STATE');
  });

  it('serves a limited number of devices', () => {
    const events: GatewayEvent[] = [...play(gateway, active).events];
    const full = { ...fold(gateway, events), devices: new Set(Array.from({ length: maxAttachedDevices }, (_, i) => `d${i}`)) };
    expect(() => gateway.decide(attach, full)).toThrow('at most');
  });

  it('applies newer trust bundles only', () => {
    on(...active)
      .when(bundle(2))
      .givesOnce({ type: 'TrustBundleApplied', data: { version: 2 } });
    on(...active, bundle(2))
      .when(bundle(1))
      .refused('CONFLICT');
    on(register).when(bundle(1)).refused('STATE');
  });

  it('is suspended, resumed and revoked for ever', () => {
    on(...active)
      .when(suspend)
      .givesOnce({ type: 'GatewaySuspended', data: { reason: 'odd', by: 'o' } });
    on(...active, suspend)
      .when(resume)
      .givesOnce({ type: 'GatewayResumed', data: { by: 'o' } });
    on(...active)
      .when(revoke)
      .givesOnce({ type: 'GatewayRevoked', data: { reason: 'stolen', by: 'o' } });
    on(...active, revoke)
      .when(resume)
      .refused('STATE');
    on(register).when(suspend).refused('STATE');
  });
});
