import { describe, expect, it } from 'vitest';
import { fold } from '../../src/domain/decider.ts';
import { device } from '../../src/domain/device.ts';
import type { DeviceCommand } from '../../src/domain/deviceCommands.ts';
import type { RevocationReason } from '../../src/domain/deviceEvents.ts';
import { requireConnectable } from '../../src/domain/deviceField.ts';
import { currentCertificate, type DeviceState, type LivingDevice } from '../../src/domain/deviceState.ts';
import { covers } from '../support/covers.ts';
import * as w from './deviceWalk.ts';
import { codeOf, play, scenario } from './scenario.ts';

const stock = w.until();
const inService = [...stock, w.connect];
const on = (...commands: readonly DeviceCommand[]) => scenario(device).given(...play(device, commands).events);
const state = (...commands: readonly DeviceCommand[]): LivingDevice => {
  const reached: DeviceState = play(device, commands).state;
  if (reached.status === 'NONE') throw new Error('no device');
  return reached;
};
const gone = [
  [...inService, w.revoke],
  [...inService, w.orderEnd, w.end],
];

describe('contact from the field', () => {
  it('puts a device from stock in service once, by connection or attestation', () => {
    on(...stock)
      .when(w.connect)
      .givesOnce({ type: 'DevicePutInService', data: { via: 'mqtt' } });
    on(...stock)
      .when(w.passed)
      .givesOnce(
        { type: 'DevicePutInService', data: { via: 'mqtt' } },
        { type: 'AttestationPassed', data: { evidenceSha256: 'e2', measurementSha256: 'm1', via: 'mqtt' } },
      );
    expect(state(...inService).status).toBe('IN_SERVICE');
  });

  it('records an attestation only when it changes what is known', () => {
    const failed = { type: 'RecordAttestation', passed: false, evidenceSha256: 'e9', reason: 'signature', via: 'gateway:g1' } as const;
    const event = { type: 'AttestationFailed', data: { evidenceSha256: 'e9', reason: 'signature', via: 'gateway:g1' } } as const;
    on(...inService, w.passed)
      .when(failed)
      .givesOnce(event);
    on(...inService, failed)
      .when({ ...failed, evidenceSha256: 'e10' })
      .gives();
    on(...inService, failed)
      .when({ ...failed, reason: 'measurement' })
      .gives({ ...event, data: { ...event.data, reason: 'measurement' } });
    on(...inService, w.passed)
      .when({ ...w.passed, evidenceSha256: 'later' } as DeviceCommand)
      .gives();
  });

  it('is refused for a unit in production and for a revoked or decommissioned device (I11, T23)', () => {
    covers('I11', 'T23');
    for (const history of [w.until('complete'), ...gone]) {
      on(...history)
        .when(w.connect)
        .refused('DEVICE_STATE');
      on(...history)
        .when(w.passed)
        .refused('DEVICE_STATE');
      expect(codeOf(() => requireConnectable(state(...history)))).toBe('DEVICE_STATE');
    }
    scenario(device).given().when(w.connect).refused('NOT_FOUND');
  });
});

describe('an upgrade', () => {
  const offered = [...inService, w.offer];
  const started = [...offered, w.startUpgrade];
  const facts = { releaseId: 'app-2', version: '2.1.0', securityCounter: 6 };
  const job = { jobSequence: Date.parse(w.offer.now), jobExpiresAt: '2026-10-01T12:00:00.000Z' };

  it('goes from offer over start to evidence', () => {
    on(...inService)
      .when(w.offer)
      .givesOnce({ type: 'FirmwareOffered', data: { offerId: 'o1', ...facts, ...job, imageHashes: ['f3', 'f3e'] } });
    on(...offered)
      .when(w.startUpgrade)
      .givesOnce({ type: 'UpgradeStarted', data: { offerId: 'o1' } });
    on(...started)
      .when(w.upgraded)
      .givesOnce({ type: 'FirmwareUpgraded', data: { offerId: 'o1', ...facts, imageHash: 'f3e', evidenceSha256: 'e3' } });
    const done = state(...started, w.upgraded);
    expect([done.status, done.firmware]).toEqual(['IN_SERVICE', { ...facts, imageHash: 'f3e' }]);
    expect(state(...started).status).toBe('UPGRADING');
  });

  it('names its rollout', () => {
    on(...inService)
      .when({ ...w.offer, rolloutId: 'ro1' })
      .gives({ type: 'FirmwareOffered', data: { offerId: 'o1', ...facts, ...job, imageHashes: ['f3', 'f3e'], rolloutId: 'ro1' } });
  });

  it('has a job whose sequence rises whatever the clock does, also for the next generation of the device', () => {
    const next = { ...w.offer, offerId: 'o2', releaseId: 'app-3', now: '2020-01-01T00:00:00.000Z' };
    expect(state(...offered, next).jobSequence).toBe(job.jobSequence + 1);
    expect(state(...offered, { ...next, now: '2026-09-01T12:00:01.000Z' }).jobSequence).toBe(job.jobSequence + 1000);
    const again = { type: 'DeviceMinted', data: { ...w.unit, grantId: 'grant-2', objId: '0c'.repeat(16), generation: 2 } } as const;
    expect(fold(device, [again], state(...offered))).toMatchObject({ status: 'MINTED', jobSequence: job.jobSequence });
  });

  it('leads back to stock when it began there', () => {
    expect(state(...stock, w.offer, w.startUpgrade, w.upgraded).status).toBe('STOCK');
  });

  it('is recorded only when the evidence shows the offered image (I18, RULE-18)', () => {
    covers('I18', 'RULE-18');
    on(...started)
      .when({ ...w.upgraded, imageHash: 'f2' })
      .refused('ATTESTATION_FAILED');
    on(...started)
      .when({ ...w.upgraded, securityCounter: 5 })
      .refused('ATTESTATION_FAILED');
    on(...started)
      .when({ ...w.upgraded, offerId: 'o2' })
      .refused('DEVICE_STATE');
    on(...inService)
      .when(w.upgraded)
      .refused('DEVICE_STATE');
    expect(state(...started, w.passed).firmware).toEqual(w.application);
  });

  it('is recorded without a start when the evidence is there, and after it was given up', () => {
    expect(state(...offered, w.upgraded).firmware?.releaseId).toBe('app-2');
    const failed = [...started, { type: 'FailUpgrade', offerId: 'o1', reason: 'timeout' }] as const;
    expect(state(...failed).status).toBe('IN_SERVICE');
    expect(state(...failed, w.upgraded).firmware?.releaseId).toBe('app-2');
  });

  it('fails with a reason and is not offered again under the same id', () => {
    const fail = { type: 'FailUpgrade', offerId: 'o1', reason: 'flash' } as const;
    on(...started)
      .when(fail)
      .givesOnce({ type: 'UpgradeFailed', data: { offerId: 'o1', reason: 'flash' } });
    on(...started, fail)
      .when(w.offer)
      .gives();
    on(...inService)
      .when(fail)
      .refused('DEVICE_STATE');
    on(...inService, w.offer, w.upgraded)
      .when(fail)
      .gives();
  });

  it('is refused while another runs, in quarantine, and after a decommission order', () => {
    on(...started)
      .when({ ...w.offer, offerId: 'o2' })
      .refused('DEVICE_STATE');
    on(...started)
      .when({ type: 'StartUpgrade', offerId: 'o2' })
      .refused('DEVICE_STATE');
    on(...inService, { type: 'QuarantineDevice', reason: 'x', by: 'o' })
      .when(w.offer)
      .refused('DEVICE_STATE');
    on(...inService, w.orderEnd)
      .when(w.offer)
      .refused('DEVICE_STATE');
    on(...offered, w.orderEnd)
      .when(w.startUpgrade)
      .refused('DEVICE_STATE');
    on(...inService)
      .when(w.startUpgrade)
      .refused('DEVICE_STATE');
    on(...w.until('install'))
      .when(w.offer)
      .refused('DEVICE_STATE');
  });

  it('is announced by who has the device on a wire, and stands as before until the device moves (C1)', () => {
    const announce = { type: 'AnnounceUpgrade', offerId: 'o1' } as const;
    on(...offered)
      .when(announce)
      .givesOnce({ type: 'UpgradeAnnounced', data: { offerId: 'o1' } });
    expect(state(...offered, announce)).toMatchObject({ status: state(...offered).status, offer: { offerId: 'o1' } });
    on(...offered, announce)
      .when(w.startUpgrade)
      .gives({ type: 'UpgradeStarted', data: { offerId: 'o1' } });
    on(...started)
      .when(announce)
      .gives();
    on(...inService)
      .when(announce)
      .refused('DEVICE_STATE');
  });

  it('goes forward phase by phase, and a late report changes nothing', () => {
    const advance = (phase: 'downloading' | 'written' | 'testing') => ({ type: 'AdvanceUpgrade', offerId: 'o1', phase }) as const;
    on(...offered)
      .when(advance('written'))
      .givesOnce(
        { type: 'UpgradeStarted', data: { offerId: 'o1' } },
        { type: 'UpgradeAdvanced', data: { offerId: 'o1', phase: 'written' } },
      );
    on(...started, advance('testing'))
      .when(advance('written'))
      .gives();
    on(...inService)
      .when(advance('written'))
      .refused('DEVICE_STATE');
    expect(state(...started, advance('testing')).upgradePhase).toBe('testing');
    expect(state(...started, advance('testing'), w.upgraded).upgradePhase).toBeUndefined();
  });

  it('is cancelled by whatever takes the right to it away, and its evidence still counts', () => {
    const cancelled = (reason: string) => ({ type: 'UpgradeCancelled', data: { offerId: 'o1', reason } });
    const ends: readonly (readonly [DeviceCommand, string])[] = [
      [{ type: 'CancelUpgrade', offerId: 'o1', reason: 'rollout-aborted' }, 'rollout-aborted'],
      [{ type: 'QuarantineDevice', reason: 'x', by: 'o' }, 'quarantined'],
      [{ type: 'SuspectClone', reason: 'x', evidence: 'e', by: 'o' }, 'quarantined'],
      [{ type: 'SuspendDevice', reason: 'x', by: 'o' }, 'suspended'],
      [{ type: 'TakeForRepair', reason: 'x', programmer: 'p', by: 'o' }, 'repair'],
      [w.orderEnd, 'decommission'],
    ];
    for (const [command, reason] of ends) {
      expect(play(device, [...started, command]).events.at(-1), command.type).toEqual(cancelled(reason));
      const after = state(...started, command);
      expect([after.offer, after.cancelledOfferId, after.givenUp[0]?.offerId]).toEqual([undefined, 'o1', 'o1']);
      expect(after.status).not.toBe('UPGRADING');
    }
    const aborted = [...started, ends[0]![0]];
    on(...aborted)
      .when(ends[0]![0])
      .gives();
    expect(state(...aborted, w.upgraded).firmware?.releaseId).toBe('app-2');
  });

  it('gives way to a better one, and not to a worse one', () => {
    const other = (change: object) => ({
      ...w.offer,
      offerId: 'o2',
      releaseId: 'app-3',
      release: { ...w.offer.release, imageHashes: ['f4'], ...change },
    });
    for (const better of [{ securityCounter: 7 }, { version: '2.2.0' }, {}])
      expect(play(device, [...offered, other(better)]).events.slice(-2)).toMatchObject([
        { type: 'UpgradeCancelled', data: { offerId: 'o1', reason: 'superseded', supersededBy: 'o2' } },
        { type: 'FirmwareOffered', data: { offerId: 'o2' } },
      ]);
    on(...offered)
      .when(other({ version: '2.0.9' }))
      .refused('SUPERSEDED');
    on(...started)
      .when(other({ version: '2.0.9' }))
      .refused('SUPERSEDED');
    on(...inService, { ...w.offer, securityUpdate: true })
      .when(other({}))
      .refused('SUPERSEDED');
    on(...offered)
      .when({ ...w.offer, offerId: 'o2' })
      .refused('OFFER_STANDS');
  });

  it('is never offered to a revoked or decommissioned device (I11)', () => {
    covers('I11');
    for (const history of gone)
      on(...history)
        .when(w.offer)
        .refused('DEVICE_STATE');
  });

  it('is never offered below the counter or version of the device (I9, RULE-11, T12)', () => {
    covers('I9', 'RULE-11', 'T12');
    on(...inService)
      .when({ ...w.offer, release: { ...w.offer.release, securityCounter: 4 } })
      .refused('ROLLBACK');
    on(...inService)
      .when({ ...w.offer, release: { ...w.offer.release, version: '1.9.9' } })
      .refused('DOWNGRADE');
    on(...inService)
      .when({ ...w.offer, release: { ...w.offer.release, line: 'pump' } })
      .refused('WRONG_PRODUCT');
    const other = { line: 'pump', vendorUuid: 'v', classUuid: 'c' };
    on(...inService)
      .when({ ...w.offer, line: other, release: { ...w.offer.release, ...other } })
      .refused('WRONG_PRODUCT');
  });

  it('records a refused rollback once per release and hop (T12)', () => {
    covers('T12');
    const refusal = { releaseId: 'app-0', version: '1.0.0', securityCounter: 1, hop: 'gateway' } as const;
    on(...inService)
      .when({ type: 'RecordRollbackRefusal', ...refusal })
      .givesOnce({ type: 'RollbackRefused', data: refusal });
  });
});

describe('clones', () => {
  const suspect = { type: 'SuspectClone', reason: 'duplicate-uid', evidence: 'prog-2', by: 'system:mint' } as const;
  const suspected = { type: 'CloneSuspected', data: { reason: 'duplicate-uid', evidence: 'prog-2' } } as const;

  it('are suspected once and quarantined (T8, T25)', () => {
    covers('T8', 'T25');
    const quarantined = { type: 'DeviceQuarantined', data: { reason: 'duplicate-uid', by: 'system:mint' } } as const;
    on(...inService)
      .when(suspect)
      .givesOnce(suspected, quarantined);
    on(...w.until('lock'))
      .when(suspect)
      .givesOnce(suspected, quarantined);
    on(...inService, suspect)
      .when({ ...suspect, reason: 'other' })
      .gives({ type: 'CloneSuspected', data: { reason: 'other', evidence: 'prog-2' } });
  });

  it('raise an alarm when a decommissioned device reappears', () => {
    for (const history of gone)
      on(...history)
        .when(suspect)
        .givesOnce(suspected);
  });

  it('show by reporting less than was proven', () => {
    const report = { type: 'ReportFirmware', version: '2.0.0', securityCounter: 5, imageHash: 'f2' } as const;
    on(...inService)
      .when(report)
      .gives();
    on(...w.until('lock'))
      .when(report)
      .gives();
    on(...inService)
      .when({ ...report, securityCounter: 4 })
      .givesOnce(
        { type: 'CloneSuspected', data: { reason: 'firmware-below-registry', evidence: 'reported 2.0.0, counter 4' } },
        { type: 'DeviceQuarantined', data: { reason: 'firmware-below-registry', by: 'system:clone-detector' } },
      );
  });
});

describe('suspension', () => {
  const suspend = { type: 'SuspendDevice', reason: 'lost', by: 'operator:sam' } as const;
  const resume = { type: 'ResumeDevice', by: 'operator:sam' } as const;
  const quarantine = { type: 'QuarantineDevice', reason: 'odd', by: 'operator:sam' } as const;
  const release = { type: 'ReleaseDevice', reason: 'checked', by: 'operator:sam' } as const;

  it('puts a device out of use and leads back to where it was', () => {
    on(...inService)
      .when(suspend)
      .givesOnce({ type: 'DeviceSuspended', data: { reason: 'lost', by: 'operator:sam' } });
    on(...inService, suspend)
      .when(resume)
      .givesOnce({ type: 'DeviceResumed', data: { by: 'operator:sam' } });
    for (const history of [stock, inService, [...inService, quarantine]])
      expect(state(...history, suspend, resume).status).toBe(state(...history).status);
    expect(state(...inService, w.offer, w.startUpgrade, suspend, resume).status).toBe('IN_SERVICE');
    for (const command of [w.connect, w.passed, w.offer, w.repair, release])
      on(...inService, suspend)
        .when(command)
        .refused('DEVICE_STATE');
  });

  it('is not for units in production, in repair or out of use', () => {
    for (const history of [w.until('lock'), [...w.until('lock'), quarantine], [...inService, w.repair], ...gone])
      on(...history)
        .when(suspend)
        .refused('DEVICE_STATE');
    for (const history of gone)
      on(...history)
        .when(resume)
        .refused('DEVICE_STATE');
  });

  it('ends in quarantine when the device was suspected meanwhile (T8)', () => {
    covers('T8');
    const suspect = { type: 'SuspectClone', reason: 'seen twice', evidence: 'e', by: 's' } as const;
    expect(state(...inService, suspend, suspect).status).toBe('SUSPENDED');
    const back = [...inService, suspend, suspect, resume];
    expect(state(...back).status).toBe('QUARANTINED');
    expect(state(...back, release).status).toBe('IN_SERVICE');
    expect(state(...inService, suspend, quarantine, quarantine, resume, release).status).toBe('IN_SERVICE');
  });

  it('can end in revocation or decommission', () => {
    expect(state(...inService, suspend, w.revoke).status).toBe('REVOKED');
    expect(state(...inService, suspend, w.orderEnd, w.end).status).toBe('DECOMMISSIONED');
  });
});

describe('quarantine', () => {
  const quarantine = { type: 'QuarantineDevice', reason: 'odd', by: 'operator:sam' } as const;
  const release = { type: 'ReleaseDevice', reason: 'checked', by: 'operator:sam' } as const;

  it('stops production and leads back to where it began', () => {
    on(...inService)
      .when(quarantine)
      .givesOnce({ type: 'DeviceQuarantined', data: { reason: 'odd', by: 'operator:sam' } });
    on(...w.until('lock'), quarantine)
      .when(w.steps.lock)
      .refused('DEVICE_STATE');
    for (const history of [w.until('lock'), stock, inService])
      expect(state(...history, quarantine, release).status).toBe(state(...history).status);
    on(...inService, quarantine)
      .when(release)
      .gives({ type: 'DeviceReleased', data: { reason: 'checked', by: 'operator:sam' } });
    on(...inService)
      .when(release)
      .refused('DEVICE_STATE');
    for (const history of gone)
      on(...history)
        .when(quarantine)
        .refused('DEVICE_STATE');
  });

  it('ends a running upgrade, whose evidence still counts', () => {
    const back = [...inService, w.offer, w.startUpgrade, quarantine, release];
    expect(state(...back).status).toBe('IN_SERVICE');
    expect(state(...back, w.upgraded).firmware?.releaseId).toBe('app-2');
  });
});

describe('certificates', () => {
  const renewal = {
    serial: '5e02',
    certificateSha256: 'ce2',
    publicKeySha256: 'key-2',
    icaId: 'ica-1',
    notAfter: '2027-01-01T00:00:00.000Z',
  };
  const renew = { type: 'IssueOperationalCertificate', ...renewal } as const;
  const revokeOperational = (reason: RevocationReason) => ({ type: 'RevokeCertificate', serial: '5e02', reason, by: 'o' }) as const;

  it('are issued in the field only, beside the one of the production', () => {
    on(...inService)
      .when(renew)
      .givesOnce({ type: 'OperationalCertificateIssued', data: renewal });
    expect(currentCertificate(state(...inService, renew))?.serial).toBe('5e01');
    expect(state(...inService, renew).certificates.map(({ serial }) => serial)).toEqual(['5e01', '5e02']);
    on(...w.until('lock'))
      .when(renew)
      .refused('DEVICE_STATE');
    on(...inService, w.orderEnd)
      .when(renew)
      .refused('DEVICE_STATE');
    for (const history of gone)
      on(...history)
        .when(renew)
        .refused('DEVICE_STATE');
  });

  it('of streams from before operational certificates: the renewed one is the current one', () => {
    const renewed = { type: 'CertificateRenewed', data: { ...renewal, previousSerial: '5e01' } } as const;
    const after = device.evolve(state(...inService), renewed);
    expect(currentCertificate(after)?.serial).toBe('5e02');
    expect(fold(device, [{ type: 'CertificateRevoked', data: { serial: '5e01', reason: 'superseded', by: 'o' } }], after).status).toBe(
      'IN_SERVICE',
    );
  });

  it('expire when their time has come (R86, RULE-16)', () => {
    covers('R86', 'RULE-16');
    on(...inService, renew)
      .when({ type: 'ExpireCertificate', serial: '5e02', now: '2027-01-01T00:00:00.000Z' })
      .givesOnce({ type: 'CertificateExpired', data: { serial: '5e02' } });
    on(...inService)
      .when({ type: 'ExpireCertificate', serial: '5e01', now: '2027-01-01T00:00:00.000Z' })
      .refused('STATE');
    on(...inService)
      .when({ type: 'ExpireCertificate', serial: 'ff', now: '2027-01-01T00:00:00.000Z' })
      .refused('NOT_FOUND');
  });

  it('end the device when the current one is revoked (R86)', () => {
    covers('R86');
    on(...inService)
      .when(w.revoke)
      .givesOnce({ type: 'CertificateRevoked', data: { serial: '5e01', reason: 'keyCompromise', by: 'operator:sam' } });
    expect(state(...inService, w.revoke).status).toBe('REVOKED');
    expect(currentCertificate(state(...inService, w.revoke))).toMatchObject({ status: 'revoked', revocationReason: 'keyCompromise' });
    on(...inService)
      .when({ ...w.revoke, serial: 'ff' } as DeviceCommand)
      .refused('NOT_FOUND');
  });

  it('leave the device in use when an operational one is only superseded', () => {
    expect(state(...inService, renew, revokeOperational('superseded')).status).toBe('IN_SERVICE');
    expect(state(...inService, renew, revokeOperational('keyCompromise')).status).toBe('REVOKED');
  });
});
