import type { Actor } from './actor.ts';
import { type Of, requireStatus } from './decider.ts';
import type { DeviceCommand } from './deviceCommands.ts';
import type { DeviceEvent } from './deviceEvents.ts';
import { attestationKeyOf, type DeviceState, type LivingDevice, offersOf } from './deviceState.ts';
import type { DeviceStatus } from './deviceStatus.ts';
import { cancellation } from './deviceUpgrade.ts';
import { type InstalledFirmware, judgeReport } from './offer.ts';
import { refuse } from './rules.ts';

/** Decisions about a device in the field: contact, attestation, suspicion, quarantine, suspension. */

type Events = readonly DeviceEvent[];

/** Statuses in which a device may connect and attest (I11). */
export const connectable = ['STOCK', 'IN_SERVICE', 'UPGRADING', 'QUARANTINED'] as const;
const outOfUse: readonly DeviceStatus[] = ['REVOKED', 'DECOMMISSIONED', 'FAILED', 'SCRAPPED'];

/** I11: no connection for a device that is not in use (any more).
 *  @throws NusecError DEVICE_STATE */
export function requireConnectable(state: DeviceState): asserts state is LivingDevice {
  requireStatus(state, connectable, 'a connection', 'DEVICE_STATE');
}

/** The first contact from the field puts the device in service. */
export function connect({ via }: Of<DeviceCommand, 'ConnectDevice'>, state: LivingDevice): Events {
  requireConnectable(state);
  return state.status === 'STOCK' ? [{ type: 'DevicePutInService', data: { via } }] : [];
}

/** Only a change is an event; what repeats the known state is telemetry. */
export function recordAttestation(command: Of<DeviceCommand, 'RecordAttestation'>, state: LivingDevice): Events {
  requireConnectable(state);
  const { evidenceSha256, via, verdictSha256 } = command;
  const attested = { evidenceSha256, via, ...(verdictSha256 !== undefined && { verdictSha256 }) };
  const known = state.attestation;
  if (!command.passed) {
    if (known?.passed === false && known.reason === command.reason) return [];
    return [{ type: 'AttestationFailed', data: { ...attested, reason: command.reason } }];
  }
  const inService = state.status === 'STOCK' ? [{ type: 'DevicePutInService', data: { via } } as const] : [];
  const { measurementSha256 } = command;
  if (known?.passed === true && known.measurementSha256 === measurementSha256) return inService;
  return [...inService, { type: 'AttestationPassed', data: { ...attested, measurementSha256 } }];
}

/** Whether it reports less than was proven before. An older version that it was offered at the same counter, with the permit of two people, is none. */
export function isBelowRegistry(state: LivingDevice, reported: InstalledFirmware): boolean {
  const { firmware } = state;
  if (firmware === undefined || !judgeReport(firmware, reported).lower) return false;
  const isOffered = offersOf(state).some(({ imageHashes }) => imageHashes.includes(reported.imageHash));
  return !isOffered || reported.securityCounter < firmware.securityCounter;
}

/** A device that reports less than was proven before is a clone or was rolled back. */
export function reportFirmware({ type: _, ...reported }: Of<DeviceCommand, 'ReportFirmware'>, state: LivingDevice): Events {
  if (!isBelowRegistry(state, reported)) return [];
  const evidence = `reported ${reported.version}, counter ${reported.securityCounter}`;
  return suspect({ reason: 'firmware-below-registry', evidence, by: 'system:clone-detector' }, state);
}

/** OTP only rises: a chip that measures less than it has proven is another one. */
export function recordCounter({ counter, evidenceSha256, by }: Of<DeviceCommand, 'RecordCounter'>, state: LivingDevice): Events {
  const { provenCounter = -1 } = state;
  if (counter < provenCounter) return suspect({ reason: 'counter-below-proven', evidence: evidenceSha256, by }, state);
  return counter === provenCounter ? [] : [{ type: 'CounterProven', data: { counter, evidenceSha256 } }];
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
  return [suspected, { type: 'DeviceQuarantined', data: { reason, by } }, ...cancellation(state, 'quarantined')];
}

export function quarantine({ reason, by }: Of<DeviceCommand, 'QuarantineDevice'>, state: LivingDevice): Events {
  if (isQuarantined(state)) return [];
  if (outOfUse.includes(state.status)) refuse('DEVICE_STATE', `the device is ${state.status} already`);
  return [{ type: 'DeviceQuarantined', data: { reason, by } }, ...cancellation(state, 'quarantined')];
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
  return [{ type: 'DeviceSuspended', data: { reason, by } }, ...cancellation(state, 'suspended')];
}

/** Back to where it was; a device that nobody suspended stays as it is. */
export function resume({ by }: Of<DeviceCommand, 'ResumeDevice'>, state: LivingDevice): Events {
  requireStatus(state, [...connectable, 'SUSPENDED'], 'resuming', 'DEVICE_STATE');
  return state.status === 'SUSPENDED' ? [{ type: 'DeviceResumed', data: { by } }] : [];
}

/** The key comes from who built the device; a device that has ended gets none. */
export function enrolAttestationKey({ type: _, ...key }: Of<DeviceCommand, 'EnrolAttestationKey'>, state: LivingDevice): Events {
  if (outOfUse.includes(state.status)) refuse('DEVICE_STATE', `a device that is ${state.status} gets no key`);
  const known = attestationKeyOf(state, state.repair?.next?.generation);
  const isKnown = known?.publicKeySha256 === key.publicKeySha256 && known.instanceId === key.instanceId;
  return isKnown ? [] : [{ type: 'AttestationKeyEnrolled', data: key }];
}

const maxTags = 20;
const tagPattern = /^[a-z0-9][a-z0-9._-]{0,39}$/;

/** Words of people; they prove nothing and change nothing but what a selector finds. */
export function tag({ add, remove, by }: Of<DeviceCommand, 'TagDevice'>, state: LivingDevice): Events {
  const wrong = add.find(name => !tagPattern.test(name));
  if (wrong !== undefined) refuse('BAD_REQUEST', `a tag is 1 to 40 of a–z, 0–9, ., _ and -: ${wrong}`);
  const before = state.tags ?? [];
  const tags = [...new Set([...before, ...add])].filter(name => !remove.includes(name)).sort();
  if (tags.length > maxTags) refuse('BAD_REQUEST', `a device has at most ${maxTags} tags`);
  return tags.join() === before.join() ? [] : [{ type: 'DeviceTagged', data: { tags, by } }];
}
