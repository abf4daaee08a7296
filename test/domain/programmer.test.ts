import { describe, expect, it } from 'vitest';
import { type ProgrammerCommand, programmer, requireActiveProgrammer } from '../../src/domain/programmer.ts';
import { covers } from '../support/covers.ts';
import { codeOf, play, scenario } from './scenario.ts';

const certificate = { serial: '01', certificateSha256: 'cc', icaId: 'ica-p', notAfter: '2028-01-01T00:00:00.000Z' };
const steps: readonly ProgrammerCommand[] = [
  { type: 'RegisterProgrammer', uid: 'u', model: 'NuLink3', by: 'operator:kim' },
  { type: 'EnrolProgrammerKey', publicKey: 'pk', publicKeySha256: 'pks' },
  { type: 'CertifyProgrammer', ...certificate },
  { type: 'AssignProgrammerBootKey', keyId: 'bk', publicKey: 'bpk' },
  { type: 'BurnProgrammerBootKey', keyId: 'bk', rootCaSha256: 'r', icaSha256: 'i' },
  { type: 'InstallProgrammerFirmware', version: '1.0.0', imageHash: 'f1' },
  { type: 'LockProgrammer', receiptSha256: 'rc' },
  { type: 'AgreeKek', epoch: 1, keyId: 'kek1' },
  { type: 'ShipProgrammer', to: 'cm-east' },
  { type: 'CheckInProgrammer', firmwareVersion: '1.0.0' },
];
const on = (...commands: readonly ProgrammerCommand[]) => scenario(programmer).given(...play(programmer, commands).events);
const state = (...commands: readonly ProgrammerCommand[]) => play(programmer, commands).state;
const upTo = (status: string) => steps.slice(0, steps.findIndex((_, i) => state(...steps.slice(0, i + 1)).status === status) + 1);
const active = steps;
const by = 'operator:kim';
const suspend: ProgrammerCommand = { type: 'SuspendProgrammer', reason: 'audit', by };
const stolen: ProgrammerCommand = { type: 'ReportProgrammerStolen', by, note: 'van' };
const revoke: ProgrammerCommand = { type: 'RevokeProgrammer', reason: 'keyCompromise', by };
const back: ProgrammerCommand = { type: 'ReturnProgrammer', by };

describe('preparing a programmer', () => {
  it('walks blank, enrolled, certified, fused, locked, ready, shipped, active', () => {
    expect(steps.map((_, i) => state(...steps.slice(0, i + 1)).status)).toEqual([
      ...['BLANK', 'ENROLLED', 'CERTIFIED', 'CERTIFIED', 'FUSED', 'FUSED', 'LOCKED', 'READY', 'SHIPPED', 'ACTIVE'],
    ]);
    expect(play(programmer, steps).events.map(event => event.type)).toEqual([
      'ProgrammerRegistered',
      'KeyEnrolled',
      'ProgrammerCertified',
      'ProgrammerBootKeyAssigned',
      'ProgrammerBootKeyBurned',
      'ProgrammerFirmwareInstalled',
      'ProgrammerLocked',
      'KekAgreed',
      'ProgrammerShipped',
      'ProgrammerCheckedIn',
    ]);
  });

  it('answers each command the second time with nothing', () => {
    for (const [i, step] of steps.entries())
      on(...steps.slice(0, i + 1))
        .when(step)
        .gives();
  });

  it('refuses each step out of order', () => {
    for (const [i, step] of steps.entries()) {
      if (i > 0)
        expect(
          codeOf(() => programmer.decide(step, state(...steps.slice(0, i - 1)))),
          step.type,
        ).toBeDefined();
    }
    on(...steps.slice(0, 5))
      .when({ type: 'LockProgrammer' })
      .refused('STATE');
    on(...steps.slice(0, 3))
      .when({ type: 'BurnProgrammerBootKey', keyId: 'bk', rootCaSha256: 'r', icaSha256: 'i' })
      .refused('STATE');
  });

  it('keeps one key, one model and one boot key per life', () => {
    on(...steps.slice(0, 2))
      .when({ type: 'EnrolProgrammerKey', publicKey: 'x', publicKeySha256: 'x' })
      .refused('CONFLICT');
    on(...active)
      .when({ type: 'RegisterProgrammer', uid: 'u', model: 'other', by })
      .refused('CONFLICT');
    on(...steps.slice(0, 4))
      .when({ type: 'AssignProgrammerBootKey', keyId: 'second', publicKey: 'x' })
      .gives();
    on(...steps.slice(0, 4))
      .when({ type: 'BurnProgrammerBootKey', keyId: 'second', rootCaSha256: 'r', icaSha256: 'i' })
      .refused('CONFLICT');
  });
});

describe('a programmer in use', () => {
  it('agrees a new AES_NuLink3 only with a higher epoch', () => {
    on(...active)
      .when({ type: 'AgreeKek', epoch: 2, keyId: 'kek2' })
      .givesOnce({ type: 'KekAgreed', data: { epoch: 2, keyId: 'kek2' } });
    on(...active)
      .when({ type: 'AgreeKek', epoch: 1, keyId: 'other' })
      .refused('CONFLICT');
    on(...active)
      .when({ type: 'AgreeKek', epoch: 0, keyId: 'other' })
      .refused('BAD_REQUEST');
    expect(state(...active, { type: 'AgreeKek', epoch: 2, keyId: 'kek2' }).status).toBe('ACTIVE');
  });

  it('renews its certificate', () => {
    const renewed = { ...certificate, serial: '02' };
    on(...active)
      .when({ type: 'RenewProgrammerCertificate', ...renewed })
      .givesOnce({ type: 'ProgrammerCertificateRenewed', data: renewed });
    on(...active, suspend)
      .when({ type: 'RenewProgrammerCertificate', ...renewed })
      .refused('STATE');
  });

  it('is suspended and resumed', () => {
    on(...active)
      .when(suspend)
      .givesOnce({ type: 'ProgrammerSuspended', data: { reason: 'audit', by } });
    on(...active, suspend)
      .when({ type: 'ResumeProgrammer', by })
      .givesOnce({ type: 'ProgrammerResumed', data: { by } });
    on(...upTo('READY'))
      .when(suspend)
      .refused('STATE');
    on(...active, stolen)
      .when({ type: 'ResumeProgrammer', by })
      .refused('STATE');
  });

  it('is trusted only while active (I17, T15)', () => {
    covers('I17', 'T15');
    expect(codeOf(() => requireActiveProgrammer(state(...active)))).toBeUndefined();
    for (const other of [[], upTo('SHIPPED'), [...active, suspend], [...active, stolen], [...active, revoke], [...active, back]]) {
      expect(codeOf(() => requireActiveProgrammer(state(...other)))).toBe('PROGRAMMER_NOT_ACTIVE');
    }
    on(...active, stolen)
      .when({ type: 'CheckInProgrammer' })
      .refused('PROGRAMMER_NOT_ACTIVE');
  });

  it('is reported stolen from wherever it may be (T15)', () => {
    covers('T15');
    for (const from of [upTo('LOCKED'), upTo('SHIPPED'), active, [...active, suspend]]) {
      on(...from)
        .when(stolen)
        .givesOnce({ type: 'ProgrammerReportedStolen', data: { by, note: 'van' } });
    }
    on(...upTo('BLANK'))
      .when(stolen)
      .refused('STATE');
  });

  it('is revoked for ever', () => {
    on(...active, stolen)
      .when(revoke)
      .givesOnce({ type: 'ProgrammerRevoked', data: { reason: 'keyCompromise', by } });
    for (const command of [suspend, back, stolen, { type: 'RetireProgrammer', by } as const])
      on(...active, revoke)
        .when(command)
        .refused('STATE');
  });

  it('comes back, gets a fresh key and is ready again, or is retired', () => {
    on(...active, suspend)
      .when(back)
      .givesOnce({ type: 'ProgrammerReturned', data: { by } });
    expect(state(...active, back, { type: 'AgreeKek', epoch: 2, keyId: 'kek2' }).status).toBe('READY');
    on(...active, back)
      .when({ type: 'RetireProgrammer', by })
      .givesOnce({ type: 'ProgrammerRetired', data: { by } });
    on(...active, back, { type: 'RetireProgrammer', by })
      .when(revoke)
      .refused('STATE');
    on(...active)
      .when({ type: 'RetireProgrammer', by })
      .refused('STATE');
    on().when(back).refused('NOT_FOUND');
  });
});
