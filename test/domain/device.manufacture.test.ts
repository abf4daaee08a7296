import { describe, expect, it } from 'vitest';
import { device } from '../../src/domain/device.ts';
import type { DeviceCommand } from '../../src/domain/deviceCommands.ts';
import { requireReadyForApplication } from '../../src/domain/deviceManufacture.ts';
import { covers } from '../support/covers.ts';
import * as w from './deviceWalk.ts';
import { codeOf, play, scenario } from './scenario.ts';

const on = (...commands: readonly DeviceCommand[]) => scenario(device).given(...play(device, commands).events);
const state = (...commands: readonly DeviceCommand[]) => play(device, commands).state;
const { steps, until } = w;

describe('building a device', () => {
  it('walks minted, certified, rooted, locked, provisioned, stock', () => {
    const { events } = play(device, until());
    expect(events.map(event => event.type)).toEqual([
      'DeviceMinted',
      'CertificationRequested',
      'DeviceCertified',
      'CertificateInstalled',
      'BootKeyAssigned',
      'BootloaderInstalled',
      'BootKeyBurned',
      'BootKeyAssigned',
      'BootKeyBurned',
      'DebugLocked',
      'ProgrammingSessionAuthenticated',
      'FirmwareInstalled',
      'ProvisioningCompleted',
    ]);
    const statuses = [...(Object.keys(steps) as w.Step[]).slice(1), undefined].map(step => state(...until(step)).status);
    expect(statuses).toEqual([
      ...['MINTED', 'MINTED', 'CERTIFIED', 'CERTIFIED', 'CERTIFIED', 'CERTIFIED', 'ROOTED'],
      ...['ROOTED', 'ROOTED', 'LOCKED', 'LOCKED', 'PROVISIONED', 'STOCK'],
    ]);
  });

  it('answers every production command the second time with nothing, also after a power cut at any later step (T33)', () => {
    covers('T33');
    const names = Object.keys(steps) as w.Step[];
    for (const [index, name] of names.entries()) {
      for (const later of [...names.slice(index + 1), undefined])
        on(...until(later))
          .when(steps[name])
          .gives();
    }
  });

  it('builds as well when the application key is burned after the lock inside the session (RULE-14)', () => {
    covers('RULE-14');
    const order = ['mint', 'request', 'certify', 'certificate', 'assignBl2', 'bootloader', 'burnBl2', 'lock'] as const;
    const late = ['session', 'assignApp', 'burnApp', 'install', 'complete'] as const;
    expect(state(...[...order, ...late].map(name => steps[name])).status).toBe('STOCK');
    on(...order.map(name => steps[name]), steps.assignApp)
      .when(steps.burnApp)
      .refused('DEVICE_STATE');
  });
});

describe('minting', () => {
  const other = { ...steps.mint, grantId: 'grant-2', objId: '0c'.repeat(16) };

  it('refuses a live UID under another grant (I3, T25)', () => {
    covers('I3', 'T25');
    on(steps.mint).when(other).refused('UID_CONFLICT');
    on(...until())
      .when(other)
      .refused('UID_CONFLICT');
  });

  it('mints the next generation after a unit that failed before OTP was touched (I3)', () => {
    covers('I3');
    const failed = [...until('burnBl2'), { type: 'FailUnit', reason: 'flash', otpTouched: false, by: 'system:unit' }] as const;
    on(...failed)
      .when(other)
      .givesOnce({ type: 'DeviceMinted', data: { ...w.unit, grantId: 'grant-2', objId: '0c'.repeat(16), generation: 2 } });
    on(...failed)
      .when({ ...other, objId: w.objId })
      .refused('UID_CONFLICT');
    on(...failed, other)
      .when({ ...steps.assignBl2, keyId: 'second' })
      .gives();
  });

  it('gives no grant to a revoked, decommissioned or scrapped chip (I11)', () => {
    covers('I11');
    on(...until(), w.revoke)
      .when(other)
      .refused('DEVICE_STATE');
    on(...until(), w.orderEnd, w.end)
      .when(other)
      .refused('DEVICE_STATE');
    on(...until('lock'), { type: 'FailUnit', reason: 'x', otpTouched: false, by: 's' })
      .when(other)
      .refused('DEVICE_STATE');
  });
});

describe('certifying', () => {
  it('refuses a request without proof of possession or for another subject (I6, RULE-10)', () => {
    covers('I6', 'RULE-10');
    on(steps.mint)
      .when({ ...steps.request, csr: { ...w.csr, signatureVerified: false } })
      .refused('CSR_SIGNATURE');
    on(steps.mint)
      .when({ ...steps.request, csr: { ...w.csr, uid: 'ff' } })
      .refused('CSR_SUBJECT');
    on(steps.mint)
      .when({ ...steps.request, csr: { ...w.csr, objId: 'ff' } })
      .refused('CSR_SUBJECT');
  });

  it('keeps the intent: the same key again gives nothing new, another key is refused', () => {
    on(...until('certify'))
      .when({ ...steps.request, serial: 'other' })
      .gives();
    on(...until('certify'))
      .when({ ...steps.request, publicKeySha256: 'key-2' })
      .refused('CONFLICT');
  });

  it('certifies only what was requested (I6)', () => {
    covers('I6');
    on(steps.mint).when(steps.certify).refused('DEVICE_STATE');
    on(...until('certify'))
      .when({ ...steps.certify, serial: 'ff' })
      .refused('CONFLICT');
    on(...until('certify'))
      .when({ ...steps.certify, publicKeySha256: 'key-2' })
      .refused('CONFLICT');
    on(...until('certify'))
      .when(steps.certify)
      .givesOnce({ type: 'DeviceCertified', data: { ...w.certificate, uid: w.uid, objId: w.objId } });
    on(...until('certificate'))
      .when({ type: 'InstallCertificate', serial: 'ff' })
      .refused('DEVICE_STATE');
  });
});

describe('boot keys and lock', () => {
  it('assigns one boot key per slot for ever and burns it once (I5)', () => {
    covers('I5');
    on(...until('bootloader'))
      .when({ ...steps.assignBl2, keyId: 'second' })
      .gives();
    on(...until('assignBl2'))
      .when(steps.burnBl2)
      .refused('DEVICE_STATE');
    on(...until('burnBl2'))
      .when({ ...steps.burnBl2, keyId: 'second' })
      .refused('CONFLICT');
    on(...until('assignApp'))
      .when(steps.burnBl2)
      .gives();
    on(steps.mint).when(steps.assignBl2).refused('DEVICE_STATE');
  });

  it('installs the bootloader only for a chip with its key', () => {
    on(...until('assignBl2'))
      .when(steps.bootloader)
      .refused('DEVICE_STATE');
  });

  it('locks only a rooted chip with a bootloader (R44)', () => {
    covers('R44');
    on(...until('burnBl2'))
      .when(steps.lock)
      .refused('DEVICE_STATE');
    on(...until('bootloader'), steps.burnBl2)
      .when(steps.lock)
      .refused('DEVICE_STATE');
    on(...until('lock'))
      .when(steps.lock)
      .givesOnce({ type: 'DebugLocked', data: { receiptSha256: 'r1', unlockKeyId: 'debug-unlock/1' } });
  });
});

describe('application firmware', () => {
  const without = (left: w.Step) => until('install').filter(command => command !== steps[left]);

  it('is rejected without device authentication (R69, RULE-3, I7, T9)', () => {
    covers('R69', 'RULE-3', 'I7', 'T9');
    on(...without('session'))
      .when(steps.install)
      .refused('DEVICE_STATE');
  });

  it('is rejected without the debug lock (RULE-14, I7)', () => {
    covers('RULE-14', 'I7');
    on(...without('lock'))
      .when(steps.install)
      .refused('DEVICE_STATE');
  });

  it('is rejected without the burned application key', () => {
    on(...without('burnApp'))
      .when(steps.install)
      .refused('DEVICE_STATE');
  });

  it('is rejected under another grant than the session (I7)', () => {
    covers('I7');
    on(...until('install'))
      .when({ ...steps.install, grantId: 'grant-2' })
      .refused('DEVICE_STATE');
    on(...until('session'))
      .when({ ...steps.session, grantId: 'grant-2' })
      .refused('DEVICE_STATE');
    on(...until('complete'))
      .when({ ...steps.complete, grantId: 'grant-2' })
      .refused('DEVICE_STATE');
  });

  it('is handed out on the same condition (I7)', () => {
    covers('I7');
    expect(codeOf(() => requireReadyForApplication(state(...until('session')), w.grantId))).toBe('DEVICE_STATE');
    expect(codeOf(() => requireReadyForApplication(state(...until('install')), w.grantId))).toBeUndefined();
  });

  it('needs an installed certificate for the session and installed firmware for completion', () => {
    on(...without('certificate').slice(0, -1))
      .when(steps.session)
      .refused('DEVICE_STATE');
    on(...until('install'))
      .when(steps.complete)
      .refused('DEVICE_STATE');
  });
});

describe('a voided unit', () => {
  const fail = { type: 'FailUnit', reason: 'timeout', otpTouched: false, by: 'system:unit' } as const;
  const revoked = { type: 'CertificateRevoked', data: { serial: '5e01', reason: 'cessationOfOperation', by: 'system:unit' } } as const;

  it('fails when no OTP was touched, and its certificate is revoked', () => {
    on(steps.mint)
      .when(fail)
      .givesOnce({ type: 'DeviceFailed', data: { reason: 'timeout' } });
    on(...until('burnBl2'))
      .when(fail)
      .givesOnce({ type: 'DeviceFailed', data: { reason: 'timeout' } }, revoked);
  });

  it('is scrapped once OTP was touched or may have been', () => {
    on(...until('assignApp'))
      .when(fail)
      .givesOnce({ type: 'DeviceScrapped', data: { reason: 'timeout' } }, revoked);
    on(...until('burnBl2'))
      .when({ ...fail, otpTouched: true })
      .gives({ type: 'DeviceScrapped', data: { reason: 'timeout' } }, revoked);
    expect(state(...until('assignApp'), fail).status).toBe('SCRAPPED');
  });

  it('is not possible after production', () => {
    on(...until())
      .when(fail)
      .refused('DEVICE_STATE');
  });

  it('may be scrapped out of a quarantine', () => {
    const suspect = { type: 'SuspectClone', reason: 'duplicate-uid', evidence: 'prog-2', by: 'system:mint' } as const;
    on(...until('lock'), suspect)
      .when(fail)
      .gives({ type: 'DeviceScrapped', data: { reason: 'timeout' } }, revoked);
  });
});
