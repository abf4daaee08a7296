import { describe, expect, it } from 'vitest';
import { fold } from '../../src/domain/decider.ts';
import { device } from '../../src/domain/device.ts';
import type { DeviceCommand } from '../../src/domain/deviceCommands.ts';
import { requireRepairBy } from '../../src/domain/deviceRepair.ts';
import { attestationKeyOf, type DeviceState, type LivingDevice } from '../../src/domain/deviceState.ts';
import { proposalLifetimeMs } from '../../src/domain/proposals.ts';
import { timeAfter } from '../../src/domain/rules.ts';
import { covers } from '../support/covers.ts';
import * as w from './deviceWalk.ts';
import { codeOf, play, scenario } from './scenario.ts';

const inService = [...w.until(), w.connect];
const on = (...commands: readonly DeviceCommand[]) => scenario(device).given(...play(device, commands).events);
const state = (...commands: readonly DeviceCommand[]): LivingDevice => {
  const reached: DeviceState = play(device, commands).state;
  if (reached.status === 'NONE') throw new Error('no device');
  return reached;
};
const statusAfter = (...commands: readonly DeviceCommand[]): string => state(...commands).status;

describe('a device in repair', () => {
  it('is out of use: no connection, no offer', () => {
    covers('I11');
    on(...inService)
      .when(w.repair)
      .givesOnce({ type: 'DeviceTakenForRepair', data: { reason: 'display', by: 'operator:sam', programmer: 'prog-9' } });
    expect(statusAfter(...inService, w.repair)).toBe('RMA');
    for (const command of [w.connect, w.passed, w.offer])
      on(...inService, w.repair)
        .when(command)
        .refused('DEVICE_STATE');
  });

  it('is taken from the field only, and not when it is to be decommissioned', () => {
    for (const history of [
      w.until('lock'),
      [...w.until('lock'), { type: 'QuarantineDevice', reason: 'x', by: 'o' } as const],
      [...inService, w.revoke],
      [...inService, w.orderEnd],
    ])
      on(...history)
        .when(w.repair)
        .refused('DEVICE_STATE');
  });

  it('is served by the programmer that was named last', () => {
    const other = { ...w.repair, programmer: 'prog-8' } as const;
    on(...inService, w.repair)
      .when(other)
      .givesOnce({ type: 'DeviceTakenForRepair', data: { reason: 'display', by: 'operator:sam', programmer: 'prog-8' } });
    const given = state(...inService, w.repair, other);
    expect(codeOf(() => requireRepairBy(given, 'prog-8'))).toBeUndefined();
    expect(codeOf(() => requireRepairBy(given, 'prog-9'))).toBe('FORBIDDEN');
    expect(codeOf(() => requireRepairBy(state(...inService), 'prog-9'))).toBe('DEVICE_STATE');
  });

  it('can be revoked and decommissioned, and does not come back then', () => {
    covers('I11');
    expect(statusAfter(...inService, w.repair, w.revoke)).toBe('REVOKED');
    expect(statusAfter(...inService, w.repair, w.orderEnd, w.end)).toBe('DECOMMISSIONED');
    on(...inService, w.repair, w.orderReturn, w.requestNext, w.certifyNext, w.revoke)
      .when(w.back)
      .refused('DEVICE_STATE');
  });
});

describe('a key that was enrolled for a device', () => {
  const enrol = (name: string): DeviceCommand => ({
    type: 'EnrolAttestationKey',
    publicKey: name,
    publicKeySha256: name,
    by: 'operator:sam',
  });
  const back = [w.repair, w.orderReturn, w.requestNext, w.certifyNext, w.back] as const;
  const keyAfter = (...commands: readonly DeviceCommand[]) => attestationKeyOf(state(...inService, ...commands))?.publicKey;

  it('counts for the generation that it was enrolled for, and not for the next one (I3)', () => {
    covers('I3');
    expect(keyAfter(enrol('old'))).toBe('old');
    expect(keyAfter(enrol('old'), w.repair, w.orderReturn)).toBe('old');
    expect(keyAfter(enrol('old'), ...back)).toBeUndefined();
    expect(keyAfter(enrol('old'), ...back, enrol('old'))).toBe('old');
  });

  it('is for the next generation when its return is ordered, and leaves the present one as it is', () => {
    const [taken, ordered, ...rest] = back;
    expect(keyAfter(enrol('old'), taken, ordered, enrol('new'))).toBe('old');
    expect(keyAfter(enrol('old'), taken, ordered, enrol('new'), ...rest)).toBe('new');
    on(...inService, enrol('old'), taken, ordered, enrol('new'))
      .when(enrol('new'))
      .givesOnce();
  });
});

describe('the debug unlock', () => {
  const { repair, requestUnlock, approveUnlock, orderUnlock } = w;

  it('is asked for by one person, approved by another, ordered once', () => {
    covers('I16');
    on(...inService, repair)
      .when(requestUnlock)
      .givesOnce({ type: 'DebugUnlockRequested', data: { reason: 'no boot', by: 'operator:sam', at: w.unlockAsked } });
    on(...inService, repair, requestUnlock)
      .when({ ...approveUnlock, by: 'operator:sam' } as DeviceCommand)
      .refused('FOUR_EYES_REQUIRED');
    on(...inService, repair, requestUnlock)
      .when(approveUnlock)
      .givesOnce({ type: 'DebugUnlockApproved', data: { by: 'operator:kim' } });
    on(...inService, repair, requestUnlock)
      .when(orderUnlock)
      .refused('FOUR_EYES_REQUIRED');
    on(...inService, repair, requestUnlock, approveUnlock)
      .when(orderUnlock)
      .givesOnce({
        type: 'DebugUnlockOrdered',
        data: { orderSha256: 'u1', approvers: ['operator:sam', 'operator:kim'], programmer: 'prog-9' },
      });
  });

  it('discloses the password once in a repair, and again in the next one', () => {
    const unlocked = [...inService, repair, requestUnlock, approveUnlock, orderUnlock];
    const second = { ...orderUnlock, orderSha256: 'u2' } as DeviceCommand;
    on(...unlocked)
      .when(second)
      .refused('PASSWORD_DISCLOSED');
    on(...unlocked, requestUnlock, approveUnlock)
      .when(second)
      .refused('PASSWORD_DISCLOSED');
    const again = [...unlocked, w.orderReturn, w.requestNext, w.certifyNext, w.back, repair, requestUnlock, approveUnlock];
    expect(play(device, [...again, second]).events.at(-1)).toMatchObject({ type: 'DebugUnlockOrdered', data: { orderSha256: 'u2' } });
  });

  it('waits seven days for the second person; asked for anew, what was disclosed stays so', () => {
    covers('I16');
    const late = timeAfter(w.unlockAsked, proposalLifetimeMs);
    const [askedLate, approvedLate] = [requestUnlock, approveUnlock].map(command => ({ ...command, now: late }) as DeviceCommand);
    on(...inService, repair, requestUnlock)
      .when(approvedLate as DeviceCommand)
      .refused('PROPOSAL_EXPIRED');
    on(...inService, repair, requestUnlock)
      .when(askedLate as DeviceCommand)
      .givesOnce({ type: 'DebugUnlockRequested', data: { reason: 'no boot', by: 'operator:sam', at: late } });
    on(...inService, repair, requestUnlock, approveUnlock)
      .when(askedLate as DeviceCommand)
      .gives();
    const elsewhere = { ...repair, programmer: 'prog-8' } as const;
    on(
      ...[...inService, repair, requestUnlock, approveUnlock, orderUnlock, elsewhere],
      ...([askedLate, approvedLate] as readonly DeviceCommand[]),
    )
      .when({ type: 'OrderDebugUnlock', orderSha256: 'u2', programmer: 'prog-8' })
      .refused('PASSWORD_DISCLOSED');
  });

  it('needs the repair, a request, and the programmer that was named', () => {
    on(...inService)
      .when(requestUnlock)
      .refused('DEVICE_STATE');
    on(...inService, repair)
      .when(approveUnlock)
      .refused('DEVICE_STATE');
    on(...inService, repair, requestUnlock, approveUnlock)
      .when({ ...orderUnlock, programmer: 'prog-8' } as DeviceCommand)
      .refused('FORBIDDEN');
  });

  it('is refused for a chip that was built without an unlock password', () => {
    const built = w
      .until()
      .map(command => (command.type === 'LockDebug' ? ({ type: 'LockDebug', receiptSha256: 'r1' } as const) : command));
    on(...built, repair)
      .when(requestUnlock)
      .refused('DEVICE_STATE');
  });
});

describe('the return to service', () => {
  const { repair, orderReturn, requestNext, certifyNext, back } = w;
  const ordered = [...inService, repair, orderReturn];

  it('is a new generation: new registration id, new key, same boot keys; older certificates are superseded', () => {
    covers('I3');
    on(...inService, repair)
      .when(orderReturn)
      .givesOnce({ type: 'DeviceReturnOrdered', data: { objId: w.nextObjId, generation: 2, by: 'operator:sam' } });
    on(...ordered)
      .when(requestNext)
      .givesOnce({ type: 'CertificationRequested', data: w.nextIntent });
    on(...ordered, requestNext)
      .when(certifyNext)
      .givesOnce({ type: 'NextGenerationCertified', data: { ...w.nextCertificate, objId: w.nextObjId } });
    on(...ordered, requestNext, certifyNext)
      .when(back)
      .givesOnce(
        { type: 'CertificateRevoked', data: { serial: '5e01', reason: 'superseded', by: 'programmer:prog-9' } },
        { type: 'DeviceReturnedToService', data: { ...w.nextCertificate, objId: w.nextObjId, generation: 2, receiptSha256: 'r9' } },
      );
    const returned = state(...ordered, requestNext, certifyNext, back);
    expect(returned).toMatchObject({ status: 'IN_SERVICE', generation: 2, objId: w.nextObjId, serial: '5e09' });
    expect(returned.repair).toBeUndefined();
    expect(returned.bootKeys).toEqual(state(...inService).bootKeys);
    expect(returned.certificates.map(({ serial, status }) => [serial, status])).toEqual([
      ['5e01', 'revoked'],
      ['5e09', 'issued'],
    ]);
  });

  it('keeps the present identity until the new one has proven itself', () => {
    expect(state(...ordered, requestNext, certifyNext)).toMatchObject({ status: 'RMA', generation: 1, objId: w.objId, serial: '5e01' });
    on(...ordered)
      .when(back)
      .refused('DEVICE_STATE');
    on(...inService, repair)
      .when(back)
      .refused('DEVICE_STATE');
    on(...inService)
      .when(orderReturn)
      .refused('DEVICE_STATE');
  });

  it('needs a registration id and a key that this chip never had', () => {
    covers('I3', 'I4');
    on(...inService, repair)
      .when({ ...orderReturn, objId: w.objId } as DeviceCommand)
      .refused('UID_CONFLICT');
    on(...ordered)
      .when({ ...requestNext, publicKeySha256: 'key-1' } as DeviceCommand)
      .refused('WEAK_OR_CLONED_KEY');
  });

  it('certifies only a proven request for the new registration id', () => {
    covers('I6');
    for (const objId of [w.objId, 'ff'.repeat(16)])
      on(...ordered)
        .when({ ...requestNext, csr: { ...requestNext.csr, objId } })
        .refused('CSR_SUBJECT');
    on(...inService, repair)
      .when(requestNext)
      .refused('CSR_SUBJECT');
    on(...ordered)
      .when({ ...requestNext, csr: { ...requestNext.csr, signatureVerified: false } })
      .refused('CSR_SIGNATURE');
    on(...ordered, requestNext)
      .when({ ...requestNext, publicKeySha256: 'key-10' } as DeviceCommand)
      .refused('CONFLICT');
  });

  it('folds streams from before the next generation was certified in a step of its own', () => {
    const { generation } = state(...inService);
    const returned = { ...w.nextCertificate, objId: w.nextObjId, generation: generation + 1 };
    const after = fold(
      device,
      [
        { type: 'DeviceTakenForRepair', data: { reason: 'r', by: 'o' } },
        { type: 'DebugUnlockOrdered', data: { orderSha256: 'u', approvers: ['a', 'b'] } },
        { type: 'DeviceReturnedToService', data: returned },
      ],
      state(...inService) as DeviceState,
    );
    expect(after).toMatchObject({ status: 'IN_SERVICE', generation: 2, serial: '5e09' });
  });
});
