import type { Actor } from './actor.ts';
import { type Of, requireStatus } from './decider.ts';
import type { DeviceCommand } from './deviceCommands.ts';
import type { DeviceEvent, Offer } from './deviceEvents.ts';
import type { DeviceState, LivingDevice } from './deviceState.ts';
import type { DeviceStatus } from './deviceStatus.ts';
import { judgeOffer, judgeReport } from './offer.ts';
import { refuse } from './rules.ts';

/** Decisions about a device in the field: contact, attestation, upgrades, suspicion, quarantine, suspension. */

type Events = readonly DeviceEvent[];

/** Statuses in which a device may connect and attest (I11). */
export const connectable = ['STOCK', 'IN_SERVICE', 'UPGRADING', 'QUARANTINED'] as const;
const upgradable: readonly DeviceStatus[] = ['STOCK', 'IN_SERVICE'];
const outOfUse: readonly DeviceStatus[] = ['REVOKED', 'DECOMMISSIONED', 'FAILED', 'SCRAPPED'];

/** I11: no connection for a device that is not in use (any more).
 *  @throws NusecError DEVICE_STATE */
export function requireConnectable(state: DeviceState): asserts state is LivingDevice {
  requireStatus(state, connectable, 'a connection', 'DEVICE_STATE');
}

/** Whether an upgrade may be offered now. */
export function isUpgradable(state: LivingDevice): boolean {
  return upgradable.includes(state.status) && state.firmware !== undefined && state.decommissionOrderSha256 === undefined;
}

/** The first contact from the field puts the device in service. */
export function connect({ via }: Of<DeviceCommand, 'ConnectDevice'>, state: LivingDevice): Events {
  requireConnectable(state);
  return state.status === 'STOCK' ? [{ type: 'DevicePutInService', data: { via } }] : [];
}

/** Only a change is an event; what repeats the known state is telemetry. */
export function recordAttestation(command: Of<DeviceCommand, 'RecordAttestation'>, state: LivingDevice): Events {
  requireConnectable(state);
  const { evidenceSha256, via } = command;
  const known = state.attestation;
  if (!command.passed) {
    if (known?.passed === false && known.reason === command.reason) return [];
    return [{ type: 'AttestationFailed', data: { evidenceSha256, reason: command.reason, via } }];
  }
  const inService = state.status === 'STOCK' ? [{ type: 'DevicePutInService', data: { via } } as const] : [];
  const { measurementSha256 } = command;
  if (known?.passed === true && known.measurementSha256 === measurementSha256) return inService;
  return [...inService, { type: 'AttestationPassed', data: { evidenceSha256, measurementSha256, via } }];
}

/** I9 and I11, by the one offer decision. A new offer replaces one that was not started. */
export function offerFirmware(command: Of<DeviceCommand, 'OfferFirmware'>, state: LivingDevice): Events {
  const { offerId, rolloutId, releaseId, release, line, rules } = command;
  if (knownOffer(state, offerId)) return [];
  const { firmware } = state;
  if (firmware === undefined) refuse('DEVICE_STATE', 'the device has no firmware yet');
  const refusal = judgeOffer({ ...line, line: state.line, able: isUpgradable(state), firmware }, release, rules);
  if (refusal !== undefined) refuse(refusal, `release ${releaseId} is not for this device: ${refusal}`);
  const { version, securityCounter, imageHashes } = release;
  const offer = { offerId, releaseId, version, securityCounter, imageHashes };
  return [{ type: 'FirmwareOffered', data: rolloutId === undefined ? offer : { ...offer, rolloutId } }];
}

function knownOffer(state: LivingDevice, offerId: string): boolean {
  return [state.offer?.offerId, state.failedOffer?.offerId, state.upgradedOfferId].includes(offerId);
}

export function startUpgrade({ offerId }: Of<DeviceCommand, 'StartUpgrade'>, state: LivingDevice): Events {
  if (state.status === 'UPGRADING' && state.offer?.offerId === offerId) return [];
  requireStatus(state, ['STOCK', 'IN_SERVICE'], 'starting an upgrade', 'DEVICE_STATE');
  if (state.offer?.offerId !== offerId) refuse('DEVICE_STATE', 'this offer does not stand');
  if (!isUpgradable(state)) refuse('DEVICE_STATE', 'the device is to be decommissioned');
  return [{ type: 'UpgradeStarted', data: { offerId } }];
}

/** I18, RULE-18: the registry changes only when the evidence shows the new image. Evidence also outweighs an upgrade given up before. */
export function recordUpgrade(command: Of<DeviceCommand, 'RecordUpgrade'>, state: LivingDevice): Events {
  const { offerId, evidenceSha256, imageHash } = command;
  if (state.upgradedOfferId === offerId) return [];
  requireStatus(state, ['STOCK', 'IN_SERVICE', 'UPGRADING'], 'recording an upgrade', 'DEVICE_STATE');
  const offer = standingOffer(state, offerId);
  if (!offer.imageHashes.includes(imageHash)) refuse('ATTESTATION_FAILED', 'the evidence does not show the offered image');
  const { releaseId, version, securityCounter } = offer;
  if (command.securityCounter !== undefined && command.securityCounter < securityCounter) {
    refuse('ATTESTATION_FAILED', 'the evidence shows a lower security counter than the offered image has');
  }
  return [{ type: 'FirmwareUpgraded', data: { offerId, releaseId, version, securityCounter, imageHash, evidenceSha256 } }];
}

function standingOffer(state: LivingDevice, offerId: string): Offer {
  const offer = [state.offer, state.failedOffer].find(candidate => candidate?.offerId === offerId);
  return offer ?? refuse('DEVICE_STATE', 'this offer does not stand');
}

export function failUpgrade({ offerId, reason }: Of<DeviceCommand, 'FailUpgrade'>, state: LivingDevice): Events {
  if (state.failedOffer?.offerId === offerId || state.upgradedOfferId === offerId) return [];
  if (state.offer?.offerId !== offerId) refuse('DEVICE_STATE', 'this offer does not stand');
  return [{ type: 'UpgradeFailed', data: { offerId, reason } }];
}

/** A device that reports less than was proven before is a clone or was rolled back. */
export function reportFirmware({ type: _, ...reported }: Of<DeviceCommand, 'ReportFirmware'>, state: LivingDevice): Events {
  if (state.firmware === undefined || !judgeReport(state.firmware, reported).lower) return [];
  const evidence = `reported ${reported.version}, counter ${reported.securityCounter}`;
  return suspect({ reason: 'firmware-below-registry', evidence, by: 'system:clone-detector' }, state);
}

export function recordRollbackRefusal({ type: _, ...data }: Of<DeviceCommand, 'RecordRollbackRefusal'>, state: LivingDevice): Events {
  return state.rollbacks.includes(`${data.releaseId}/${data.hop}`) ? [] : [{ type: 'RollbackRefused', data }];
}

export function suspectClone(command: Of<DeviceCommand, 'SuspectClone'>, state: LivingDevice): Events {
  return suspect(command, state);
}

/** What a gateway alone says is a suspicion of its own kind: it must not use up the one that the device itself gives cause for. */
const reasonOf = (reason: string, byGateway: boolean | undefined): string => (byGateway ? `${reason}-by-gateway` : reason);

/** An alarm always, and a quarantine while the device is in use (T8, T25); one event per reason until released. The word of a gateway
 *  quarantines nothing: it can lie about every device behind it (T20). */
function suspect(
  { reason: what, evidence, by, byGateway }: { reason: string; evidence: string; by: Actor; byGateway?: boolean | undefined },
  state: LivingDevice,
): Events {
  const reason = reasonOf(what, byGateway);
  if (state.suspicions.includes(reason)) return [];
  const suspected: DeviceEvent = { type: 'CloneSuspected', data: { reason, evidence } };
  if (byGateway || isQuarantined(state) || outOfUse.includes(state.status)) return [suspected];
  return [suspected, { type: 'DeviceQuarantined', data: { reason, by } }];
}

export function quarantine({ reason, by }: Of<DeviceCommand, 'QuarantineDevice'>, state: LivingDevice): Events {
  if (isQuarantined(state)) return [];
  if (outOfUse.includes(state.status)) refuse('DEVICE_STATE', `the device is ${state.status} already`);
  return [{ type: 'DeviceQuarantined', data: { reason, by } }];
}

export function release({ reason, by }: Of<DeviceCommand, 'ReleaseDevice'>, state: LivingDevice): Events {
  requireStatus(state, ['QUARANTINED'], 'releasing', 'DEVICE_STATE');
  return [{ type: 'DeviceReleased', data: { reason, by } }];
}

/** In quarantine, or to be once its suspension ends. */
const isQuarantined = ({ status, suspendedFrom }: LivingDevice): boolean =>
  status === 'QUARANTINED' || (status === 'SUSPENDED' && suspendedFrom === 'QUARANTINED');

/** I11: its certificates are on hold and it is out of use until it is resumed. */
export function suspend({ reason, by }: Of<DeviceCommand, 'SuspendDevice'>, state: LivingDevice): Events {
  if (state.status === 'SUSPENDED') return [];
  requireStatus(state, connectable, 'suspending', 'DEVICE_STATE');
  if (!state.provisioned) refuse('DEVICE_STATE', 'the unit is still in production');
  return [{ type: 'DeviceSuspended', data: { reason, by } }];
}

/** Back to where it was; a device that nobody suspended stays as it is. */
export function resume({ by }: Of<DeviceCommand, 'ResumeDevice'>, state: LivingDevice): Events {
  requireStatus(state, [...connectable, 'SUSPENDED'], 'resuming', 'DEVICE_STATE');
  return state.status === 'SUSPENDED' ? [{ type: 'DeviceResumed', data: { by } }] : [];
}
