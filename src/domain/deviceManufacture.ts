import type { Actor } from './actor.ts';
import { type Of, requireStatus } from './decider.ts';
import type { DeviceCommand } from './deviceCommands.ts';
import type { DeviceEvent } from './deviceEvents.ts';
import type { DeviceState, LivingDevice } from './deviceState.ts';
import type { DeviceStatus } from './deviceStatus.ts';
import { refuse } from './rules.ts';

/** Decisions while a device is built: MINTED → CERTIFIED → ROOTED → LOCKED → PROVISIONED → STOCK, or FAILED, SCRAPPED. */

type Events = readonly DeviceEvent[];

const ended: readonly DeviceStatus[] = ['REVOKED', 'DECOMMISSIONED', 'SCRAPPED'];

/** Statuses in which a unit may still be voided. */
const beforeStock: readonly DeviceStatus[] = ['MINTED', 'CERTIFIED', 'ROOTED', 'LOCKED', 'PROVISIONED'];

/** Whether the device is a unit in production, whose last step is still to come. */
export const isBeingBuilt = ({ status }: LivingDevice): boolean => beforeStock.includes(status);

/** I3: at most one live generation, and generations rise. The same grant again is the same unit. */
export function mint({ type: _, ...unit }: Of<DeviceCommand, 'MintDevice'>, state: DeviceState): Events {
  if (state.status === 'NONE') return [{ type: 'DeviceMinted', data: { ...unit, generation: 1 } }];
  if (ended.includes(state.status)) refuse('DEVICE_STATE', `this chip is ${state.status} and gets no grant`);
  const sameGrant = state.grantId === unit.grantId && state.objId === unit.objId;
  if (state.status !== 'FAILED') return sameGrant ? [] : refuse('UID_CONFLICT', 'a live device has this UID');
  if (sameGrant || state.objIds.includes(unit.objId)) refuse('UID_CONFLICT', 'a new generation needs a new grant and registration id');
  return [{ type: 'DeviceMinted', data: { ...unit, generation: state.generation + 1 } }];
}

/** I6 and the intent before the signature: the same key gives the same certificate, another key is refused. */
export function requestCertification({ type: _, csr, ...intent }: Of<DeviceCommand, 'RequestCertification'>, state: LivingDevice): Events {
  if (!csr.signatureVerified) refuse('CSR_SIGNATURE', 'the request does not prove possession of its key');
  const objId = state.status === 'RMA' ? state.repair?.next?.objId : state.objId;
  if (csr.uid !== state.uid || csr.objId !== objId) refuse('CSR_SUBJECT', 'the request names another UID or registration id');
  const known = state.certification;
  if (known !== undefined && known.publicKeySha256 !== intent.publicKeySha256) refuse('CONFLICT', 'this unit asked with another key');
  if (known !== undefined) return [];
  requireStatus(state, ['MINTED', 'RMA'], 'a certification request', 'DEVICE_STATE');
  if (state.status === 'RMA') requireNewKey(state, intent.publicKeySha256);
  return [{ type: 'CertificationRequested', data: intent }];
}

/** A chip whose debug port was open may have lost its key: the generation that follows has another one. */
function requireNewKey({ certificates }: LivingDevice, publicKeySha256: string): void {
  const isOld = certificates.some(certificate => certificate.publicKeySha256 === publicKeySha256);
  if (isOld) refuse('WEAK_OR_CLONED_KEY', 'a new generation needs a new key');
}

export function certify({ type: _, ...certificate }: Of<DeviceCommand, 'CertifyDevice'>, state: LivingDevice): Events {
  if (state.certificates.some(({ serial }) => serial === certificate.serial)) return [];
  requireStatus(state, ['MINTED', 'RMA'], 'certifying', 'DEVICE_STATE');
  const intent = state.certification;
  if (intent === undefined) refuse('DEVICE_STATE', 'no verified request for a certificate was recorded');
  if (
    intent.serial !== certificate.serial ||
    intent.publicKeySha256 !== certificate.publicKeySha256 ||
    intent.icaId !== certificate.icaId
  ) {
    refuse('CONFLICT', 'the certificate is not the one that was requested');
  }
  const next = state.status === 'RMA' ? state.repair?.next : undefined;
  if (next !== undefined) return [{ type: 'NextGenerationCertified', data: { ...certificate, objId: next.objId } }];
  return [{ type: 'DeviceCertified', data: { ...certificate, uid: state.uid, objId: state.objId } }];
}

export function installCertificate({ serial }: Of<DeviceCommand, 'InstallCertificate'>, state: LivingDevice): Events {
  if (state.serial !== serial) refuse('DEVICE_STATE', 'this is not the certificate of the device');
  if (state.certificateInstalled) return [];
  requireStatus(state, ['CERTIFIED', 'ROOTED'], 'installing the certificate', 'DEVICE_STATE');
  return [{ type: 'CertificateInstalled', data: { serial } }];
}

/** Never a second boot key for one chip and slot: asking again gives the first one. */
export function assignBootKey({ type: _, ...key }: Of<DeviceCommand, 'AssignBootKey'>, state: LivingDevice): Events {
  if (ended.includes(state.status)) refuse('DEVICE_STATE', `this chip is ${state.status}`);
  if (state.bootKeys[key.slot] !== undefined) return [];
  requireStatus(state, ['CERTIFIED', 'ROOTED', 'LOCKED'], 'assigning a boot key', 'DEVICE_STATE');
  return [{ type: 'BootKeyAssigned', data: key }];
}

/** I5. The application slot may also be burned after the lock, inside the authenticated session. */
export function burnBootKey({ slot, keyId }: Of<DeviceCommand, 'BurnBootKey'>, state: LivingDevice): Events {
  const key = state.bootKeys[slot];
  if (key === undefined) refuse('DEVICE_STATE', `no ${slot} key is assigned`);
  if (key.keyId !== keyId) refuse('CONFLICT', `another ${slot} key is assigned to this chip`);
  if (key.burned) return [];
  if (slot === 'bl2') requireStatus(state, ['CERTIFIED'], 'burning the bootloader key', 'DEVICE_STATE');
  requireStatus(state, ['CERTIFIED', 'ROOTED', 'LOCKED'], 'burning a boot key', 'DEVICE_STATE');
  if (state.status === 'LOCKED' && state.session === undefined)
    refuse('DEVICE_STATE', 'after the lock only an authenticated session burns');
  return [{ type: 'BootKeyBurned', data: { slot, keyId } }];
}

export function installBootloader({ type: _, ...facts }: Of<DeviceCommand, 'InstallBootloader'>, state: LivingDevice): Events {
  if (state.bootloader?.imageHash === facts.imageHash) return [];
  requireStatus(state, ['CERTIFIED', 'ROOTED'], 'installing the bootloader', 'DEVICE_STATE');
  if (state.bootKeys.bl2 === undefined) refuse('DEVICE_STATE', 'the bootloader is signed by a key this chip does not have yet');
  return [{ type: 'BootloaderInstalled', data: facts }];
}

/** Locked only after the bootloader is proven to boot: the receipt comes from it. */
export function lockDebug({ type: _, ...data }: Of<DeviceCommand, 'LockDebug'>, state: LivingDevice): Events {
  if (state.debugLocked) return [];
  requireStatus(state, ['ROOTED'], 'locking', 'DEVICE_STATE');
  if (state.bootloader === undefined) refuse('DEVICE_STATE', 'locking needs an installed bootloader');
  return [{ type: 'DebugLocked', data }];
}

/** The chip makes it once and keeps it, also in its next generation: its image in flash needs it. Another one is another chip. */
export function certifyEncryptionKey({ type: _, ...data }: Of<DeviceCommand, 'CertifyEncryptionKey'>, state: LivingDevice): Events {
  if (state.encryptionKey === data.publicKey) return [];
  if (state.encryptionKey !== undefined) refuse('WEAK_OR_CLONED_KEY', 'the chip has shown another encryption key before');
  requireStatus(state, ['LOCKED', 'RMA'], 'an encryption key', 'DEVICE_STATE');
  return [{ type: 'EncryptionKeyCertified', data }];
}

export function authenticateSession({ grantId, evidenceSha256 }: Of<DeviceCommand, 'AuthenticateSession'>, state: LivingDevice): Events {
  requireGrant(state, grantId);
  if (state.session !== undefined) return [];
  requireStatus(state, ['ROOTED', 'LOCKED'], 'a programming session', 'DEVICE_STATE');
  if (!state.certificateInstalled) refuse('DEVICE_STATE', 'a session needs the installed certificate');
  return [{ type: 'ProgrammingSessionAuthenticated', data: { grantId, evidenceSha256 } }];
}

/** The condition for handing out and for installing the application (I7, R69, RULE-3, RULE-14).
 *  @throws NusecError DEVICE_STATE */
export function requireReadyForApplication(state: DeviceState, grantId: string): asserts state is LivingDevice {
  requireStatus(state, ['LOCKED'], 'application firmware', 'DEVICE_STATE');
  requireGrant(state, grantId);
  if (state.session?.grantId !== grantId) refuse('DEVICE_STATE', 'the device has not authenticated itself under this grant');
  if (state.bootKeys.app?.burned !== true) refuse('DEVICE_STATE', 'the application key is not burned');
}

export function installFirmware({ type: _, grantId, ...data }: Of<DeviceCommand, 'InstallFirmware'>, state: LivingDevice): Events {
  if (state.grantId === grantId && state.status === 'PROVISIONED' && state.firmware?.imageHash === data.imageHash) return [];
  if (state.grantId === grantId && state.provisioned) return [];
  requireReadyForApplication(state, grantId);
  return [{ type: 'FirmwareInstalled', data }];
}

export function completeProvisioning({ grantId, receiptSha256 }: Of<DeviceCommand, 'CompleteProvisioning'>, state: LivingDevice): Events {
  requireGrant(state, grantId);
  if (state.provisioned) return [];
  requireStatus(state, ['PROVISIONED'], 'completing', 'DEVICE_STATE');
  return [{ type: 'ProvisioningCompleted', data: { grantId, receiptSha256 } }];
}

/** A voided unit: scrapped once OTP was touched, else free for a new generation; its certificate is revoked either way. */
export function failUnit({ reason, otpTouched, by }: Of<DeviceCommand, 'FailUnit'>, state: LivingDevice): Events {
  if (state.status === 'FAILED' || state.status === 'SCRAPPED') return [];
  const status = state.status === 'QUARANTINED' ? (state.quarantineFrom ?? state.status) : state.status;
  if (!beforeStock.includes(status)) refuse('DEVICE_STATE', `a device in state ${state.status} is no longer a unit in production`);
  const burned = Object.values(state.bootKeys).some(key => key.burned);
  const scrapped = otpTouched || burned || state.debugLocked;
  const ending: DeviceEvent = { type: scrapped ? 'DeviceScrapped' : 'DeviceFailed', data: { reason } };
  return [ending, ...revokeAll(state, 'cessationOfOperation', by)];
}

/** One event for every certificate that is still valid. */
export function revokeAll(state: LivingDevice, reason: 'cessationOfOperation' | 'superseded', by: Actor): Events {
  const issued = state.certificates.filter(certificate => certificate.status === 'issued');
  return issued.map(({ serial }) => ({ type: 'CertificateRevoked', data: { serial, reason, by } }));
}

function requireGrant(state: LivingDevice, grantId: string): void {
  if (state.grantId !== grantId) refuse('DEVICE_STATE', 'the unit is built under another grant');
}
