import type { Decider } from './decider.ts';
import type { DeviceCommand } from './deviceCommands.ts';
import * as end from './deviceEnd.ts';
import type { DeviceEvent } from './deviceEvents.ts';
import * as field from './deviceField.ts';
import * as identity from './deviceIdentity.ts';
import * as manufacture from './deviceManufacture.ts';
import * as repair from './deviceRepair.ts';
import { type DeviceState, evolveDevice } from './deviceState.ts';
import * as upgrade from './deviceUpgrade.ts';
import { refuse } from './rules.ts';

/** A device, from the first grant to the end of its keys. Stream `device-{uid}`; its first append expects no stream (I3).
 *  MINTED → CERTIFIED → ROOTED → LOCKED → PROVISIONED → STOCK → IN_SERVICE ⇄ UPGRADING | QUARANTINED | SUSPENDED;  → RMA → IN_SERVICE (generation + 1);
 *  any → REVOKED → DECOMMISSIONED;  MINTED … PROVISIONED → SCRAPPED, or FAILED when no OTP was touched (a new generation may be minted)
 *  Events: deviceEvents.ts; commands: deviceCommands.ts; state: deviceState.ts. A refused transition is DEVICE_STATE. */

export const deviceStream = (uid: string): string => `device-${uid}`;

function decide(command: DeviceCommand, state: DeviceState): readonly DeviceEvent[] {
  if (command.type === 'MintDevice') return manufacture.mint(command, state);
  if (state.status === 'NONE') refuse('NOT_FOUND', 'there is no such device');
  switch (command.type) {
    case 'RequestCertification':
      return manufacture.requestCertification(command, state);
    case 'CertifyDevice':
      return manufacture.certify(command, state);
    case 'InstallCertificate':
      return manufacture.installCertificate(command, state);
    case 'AssignBootKey':
      return manufacture.assignBootKey(command, state);
    case 'BurnBootKey':
      return manufacture.burnBootKey(command, state);
    case 'InstallBootloader':
      return manufacture.installBootloader(command, state);
    case 'LockDebug':
      return manufacture.lockDebug(command, state);
    case 'CertifyEncryptionKey':
      return manufacture.certifyEncryptionKey(command, state);
    case 'AuthenticateSession':
      return manufacture.authenticateSession(command, state);
    case 'InstallFirmware':
      return manufacture.installFirmware(command, state);
    case 'CompleteProvisioning':
      return manufacture.completeProvisioning(command, state);
    case 'FailUnit':
      return manufacture.failUnit(command, state);
    case 'ConnectDevice':
      return field.connect(command, state);
    case 'RecordAttestation':
      return field.recordAttestation(command, state);
    case 'OfferFirmware':
      return upgrade.offerFirmware(command, state);
    case 'StartUpgrade':
      return upgrade.startUpgrade(command, state);
    case 'AnnounceUpgrade':
      return upgrade.announceUpgrade(command, state);
    case 'AdvanceUpgrade':
      return upgrade.advanceUpgrade(command, state);
    case 'RecordUpgrade':
      return upgrade.recordUpgrade(command, state);
    case 'RecordCounter':
      return field.recordCounter(command, state);
    case 'FailUpgrade':
      return upgrade.failUpgrade(command, state);
    case 'CancelUpgrade':
      return upgrade.cancelUpgrade(command, state);
    case 'ReportFirmware':
      return field.reportFirmware(command, state);
    case 'RecordRollbackRefusal':
      return upgrade.recordRollbackRefusal(command, state);
    case 'IssueOperationalCertificate':
      return identity.issueOperational(command, state);
    case 'EndOlderCertificates':
      return identity.endOlderCertificates(command, state);
    case 'ExpireCertificate':
      return identity.expireCertificate(command, state);
    case 'RevokeCertificate':
      return identity.revokeCertificate(command, state);
    case 'ApplyTrustBundle':
      return identity.applyTrustBundle(command, state);
    case 'SuspectClone':
      return field.suspectClone(command, state);
    case 'QuarantineDevice':
      return field.quarantine(command, state);
    case 'ReleaseDevice':
      return field.release(command, state);
    case 'TagDevice':
      return field.tag(command, state);
    case 'EnrolAttestationKey':
      return field.enrolAttestationKey(command, state);
    case 'SuspendDevice':
      return field.suspend(command, state);
    case 'ResumeDevice':
      return field.resume(command, state);
    case 'TakeForRepair':
      return repair.takeForRepair(command, state);
    case 'RequestDebugUnlock':
      return repair.requestDebugUnlock(command, state);
    case 'ApproveDebugUnlock':
      return repair.approveDebugUnlock(command, state);
    case 'OrderDebugUnlock':
      return repair.orderDebugUnlock(command, state);
    case 'OrderReturn':
      return repair.orderReturn(command, state);
    case 'ReturnToService':
      return repair.returnToService(command, state);
    case 'OrderDecommission':
      return end.orderDecommission(command, state);
    case 'CompleteDecommission':
      return end.completeDecommission(command, state);
    case 'DestroyCustody':
      return end.destroyCustody(command, state);
  }
}

export const device: Decider<DeviceCommand, DeviceState, DeviceEvent> = {
  initialState: { status: 'NONE' },
  decide,
  evolve: evolveDevice,
};
