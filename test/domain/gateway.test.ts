import { describe, expect, it } from 'vitest';
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
