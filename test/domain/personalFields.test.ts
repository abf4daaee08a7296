import { expect, it } from 'vitest';
import type { EventMap, EventType } from '../../src/domain/events.ts';
import { personalFields } from '../../src/domain/personalFields.ts';

/** Every text field of every event, but for those whose name says that it is an id, a hash, a time or an actor. What is added to an event does not
 *  compile here until somebody has thought about whom it names. */

type Machine =
  | `${string}Id`
  | `${string}Id${'s' | 'Hex'}`
  | `${string}Sha256`
  | `${string}At`
  | `${string}By`
  | `${string}Until`
  | `${string}After`
  | `${string}Before`
  | `${string}${'Key' | 'Keys' | 'Hash' | 'Hashes' | 'Head' | 'Update' | 'Certificate'}`
  | 'by'
  | 'at'
  | 'id'
  | 'uid'
  | 'serial'
  | 'sha256'
  | 'publicKey'
  | 'certificate'
  | 'programmer'
  | 'day'
  | 'lastDay';
type TextIn<Data> = Data extends string | number | boolean | null | undefined
  ? never
  : Data extends readonly (infer One)[]
    ? TextIn<One>
    : { [Name in keyof Data & string]: TextAt<Name, NonNullable<Data[Name]>> }[keyof Data & string];
type TextAt<Name extends string, Value> = string extends Value
  ? Name extends Machine
    ? never
    : Name
  : Value extends readonly (infer One)[]
    ? TextAt<Name, One>
    : Value extends object
      ? `${Name}.${TextIn<Value>}`
      : never;
type Place = { [Type in EventType]: `${Type}.${TextIn<EventMap[Type]>}` }[EventType];

/** personal: as personalFields says · actor: `operator:{name}`, which is replaced wherever it stands · alarm: see personalAlarms · thing: the name, the
 *  version or the code of a thing, or what a machine says */
const considered: { readonly [One in Place]: 'personal' | 'actor' | 'alarm' | 'thing' } = {
  'AddressesForgotten.before': 'thing',
  'AlarmAcknowledged.code': 'thing',
  'AlarmAcknowledged.note': 'personal',
  'AlarmAcknowledged.subject': 'alarm',
  'AlarmAssigned.code': 'thing',
  'AlarmAssigned.subject': 'alarm',
  'AlarmAssigned.to': 'personal',
  'AlarmRaised.code': 'thing',
  'AlarmRaised.detail': 'alarm',
  'AlarmRaised.subject': 'alarm',
  'AlarmSilenced.code': 'thing',
  'AlarmSilenced.reason': 'personal',
  'AlarmSilenced.subject': 'alarm',
  'AlarmSilenced.until': 'thing',
  'AllotmentClosed.withoutReceipt': 'personal',
  'AllotmentFrozen.reason': 'thing',
  'AllotmentThawed.reason': 'personal',
  'AttestationFailed.reason': 'thing',
  'AttestationFailed.via': 'thing',
  'AttestationOfAllAsked.since': 'thing',
  'AttestationPassed.via': 'thing',
  'AttestationsSealed.note': 'thing',
  'AttestationsSealed.root': 'thing',
  'BootloaderInstalled.version': 'thing',
  'BulkRevocationProposed.note': 'personal',
  'CeremonyProposed.action.line': 'thing',
  'CeremonyProposed.action.reason': 'personal',
  'CertificateExpiryNoticed.kind': 'thing',
  'CertificateExpiryNoticed.subject': 'thing',
  'CertificateRenewed.previousSerial': 'thing',
  'CertificateRevocationRestored.reason': 'thing',
  'CertificateRevocationRestored.subject': 'thing',
  'CloneSuspected.evidence': 'thing',
  'CloneSuspected.reason': 'thing',
  'CrlIssued.urls': 'thing',
  'DebugUnlockOrdered.approvers': 'actor',
  'DebugUnlockRequested.reason': 'personal',
  'DeviceDecommissionOrdered.reason': 'personal',
  'DeviceDecommissioned.withoutReceipt': 'personal',
  'DeviceFailed.reason': 'personal',
  'DeviceMinted.line': 'thing',
  'DevicePutInService.via': 'thing',
  'DeviceQuarantined.reason': 'personal',
  'DeviceReleased.reason': 'personal',
  'DeviceScrapped.reason': 'personal',
  'DeviceSuspended.reason': 'personal',
  'DeviceTagged.tags': 'thing',
  'DeviceTakenForRepair.reason': 'personal',
  'EffectAllowanceProposed.note': 'personal',
  'EffectReturned.subject': 'thing',
  'EffectUsed.subject': 'thing',
  'EventParked.follower': 'thing',
  'EventParked.reason': 'personal',
  'EventParkingProposed.follower': 'thing',
  'EventParkingProposed.reason': 'personal',
  'FirmwareBoundToJob.version': 'thing',
  'FirmwareInstalled.version': 'thing',
  'FirmwareOffered.version': 'thing',
  'FirmwareUpgraded.version': 'thing',
  'FirmwareUploaded.classUuid': 'thing',
  'FirmwareUploaded.line': 'thing',
  'FirmwareUploaded.vendorUuid': 'thing',
  'FirmwareUploaded.version': 'thing',
  'GatewayEvidenceRefused.code': 'thing',
  'GatewayEvidenceRefused.reason': 'thing',
  'GatewayRegistered.name': 'thing',
  'GatewayRevoked.reason': 'personal',
  'GatewaySuspended.reason': 'personal',
  'IssuingCaCompromised.reason': 'personal',
  'IssuingCaEstablished.line': 'thing',
  'JobCancelled.reason': 'personal',
  'JobCreated.line': 'thing',
  'JobCreated.site': 'personal',
  'JobCreated.unitData.name': 'thing',
  'JobCreated.unitData.series': 'thing',
  'JobDiscrepancyFound.detail': 'thing',
  'JobReconciled.findings.detail': 'thing',
  'JobSuspended.reason': 'personal',
  'KeystoreMigrated.newKeks': 'thing',
  'KeystoreMigrated.token': 'thing',
  'KeystoreRotated.retired': 'thing',
  'LineDefined.classUuid': 'thing',
  'LineDefined.line': 'thing',
  'LineDefined.oem': 'thing',
  'LineDefined.vendorUuid': 'thing',
  'OperatorAdded.name': 'personal',
  'OperatorAdded.scope.jobs': 'thing',
  'OperatorAdded.scope.lines': 'thing',
  'OperatorAdded.scope.sites': 'personal',
  'OperatorChangeProposed.change.identity.issuer': 'thing',
  'OperatorChangeProposed.change.identity.subject': 'personal',
  'OperatorChangeProposed.change.name': 'personal',
  'OperatorChangeProposed.change.scope.jobs': 'thing',
  'OperatorChangeProposed.change.scope.lines': 'thing',
  'OperatorChangeProposed.change.scope.sites': 'personal',
  'OperatorCredentialEnded.name': 'personal',
  'OperatorIdentityBound.issuer': 'thing',
  'OperatorIdentityBound.name': 'personal',
  'OperatorIdentityBound.subject': 'personal',
  'OperatorRemoved.name': 'personal',
  'OperatorRolesSet.name': 'personal',
  'OperatorRolesSet.scope.jobs': 'thing',
  'OperatorRolesSet.scope.lines': 'thing',
  'OperatorRolesSet.scope.sites': 'personal',
  'OperatorTokenAdded.label': 'personal',
  'OperatorTokenAdded.name': 'personal',
  'OperatorTokenAdded.scope.jobs': 'thing',
  'OperatorTokenAdded.scope.lines': 'thing',
  'OperatorTokenAdded.scope.sites': 'personal',
  'OperatorTokenRotated.name': 'personal',
  'PackageKeyCompromised.reason': 'personal',
  'ProgrammerCheckedIn.firmwareVersion': 'thing',
  'ProgrammerFirmwareInstalled.version': 'thing',
  'ProgrammerFirmwareSigned.version': 'thing',
  'ProgrammerRegistered.model': 'thing',
  'ProgrammerReportedStolen.note': 'personal',
  'ProgrammerRevoked.reason': 'personal',
  'ProgrammerShipped.to': 'personal',
  'ProgrammerSuspended.reason': 'personal',
  'ProjectCreated.name': 'thing',
  'ProjectCreated.project': 'thing',
  'RecoveryCodesMade.codes.hash': 'thing',
  'RecoveryCodesMade.codes.salt': 'thing',
  'RecoveryCodesMade.validFrom': 'thing',
  'RecoveryCodesUsed.name': 'personal',
  'RecoveryCodesUsed.second': 'personal',
  'ReleaseWithdrawn.reason': 'personal',
  'SessionBegun.address': 'personal',
  'SessionBegun.agent': 'personal',
  'SessionBegun.until': 'thing',
  'RollbackRefused.version': 'thing',
  'RolloutAborted.reason': 'personal',
  'RolloutHalted.reason': 'thing',
  'RolloutPaused.reason': 'personal',
  'RolloutPlanned.deadline': 'thing',
  'RolloutPlanned.fromRelease': 'thing',
  'RolloutPlanned.groups.devices': 'thing',
  'RolloutPlanned.groups.name': 'thing',
  'RolloutPlanned.groups.selector.gateways': 'thing',
  'RolloutPlanned.groups.selector.sites': 'personal',
  'RolloutPlanned.groups.selector.tags': 'thing',
  'RolloutPlanned.groups.selector.versions': 'thing',
  'RolloutPlanned.line': 'thing',
  'RolloutPlanned.selector.gateways': 'thing',
  'RolloutPlanned.selector.sites': 'personal',
  'RolloutPlanned.selector.tags': 'thing',
  'RolloutPlanned.selector.versions': 'thing',
  'RolloutPlanned.windows.from': 'thing',
  'RolloutPlanned.windows.timeZone': 'thing',
  'RolloutPlanned.windows.to': 'thing',
  'RootCaEstablished.approvers': 'personal',
  'RootCaRolled.approvers': 'personal',
  'SbomAttached.format': 'thing',
  'SbomComponentsListed.components.name': 'thing',
  'SbomComponentsListed.components.purl': 'thing',
  'SbomComponentsListed.components.version': 'thing',
  'SeriesBlockTaken.name': 'thing',
  'SeriesDefined.name': 'thing',
  'SeriesExtended.name': 'thing',
  'SeriesExtended.segment.from': 'thing',
  'ServerCertificateIssued.names': 'thing',
  'SubjectErasureProposed.reason': 'personal',
  'ThawProposed.frozenReason': 'thing',
  'ThawProposed.reason': 'personal',
  'UidListAttached.merkleRoot': 'thing',
  'UnitReserved.unitData.values.name': 'thing',
  'UnitReserved.unitData.values.value': 'thing',
  'UnitVoided.reason': 'personal',
  'UpgradeFailed.reason': 'thing',
  'VulnerabilityClosed.reason': 'personal',
  'VulnerabilityNoteReplaced.affected.name': 'thing',
  'VulnerabilityNoteReplaced.affected.purl': 'thing',
  'VulnerabilityNoteReplaced.affected.ranges.fixed': 'thing',
  'VulnerabilityNoteReplaced.affected.ranges.introduced': 'thing',
  'VulnerabilityNoteReplaced.affected.ranges.lastAffected': 'thing',
  'VulnerabilityNoteReplaced.affected.versions': 'thing',
  'VulnerabilityNoteReplaced.aliases': 'thing',
  'VulnerabilityNoteReplaced.format': 'thing',
  'VulnerabilityNoteReplaced.title': 'thing',
  'VulnerabilityOpened.affected.name': 'thing',
  'VulnerabilityOpened.affected.purl': 'thing',
  'VulnerabilityOpened.affected.ranges.fixed': 'thing',
  'VulnerabilityOpened.affected.ranges.introduced': 'thing',
  'VulnerabilityOpened.affected.ranges.lastAffected': 'thing',
  'VulnerabilityOpened.affected.versions': 'thing',
  'VulnerabilityOpened.aliases': 'thing',
  'VulnerabilityOpened.format': 'thing',
  'VulnerabilityOpened.title': 'thing',
  'VulnerabilityReported.note': 'personal',
  'WebhookAdded.actors': 'actor',
  'WebhookAdded.caCertificates': 'thing',
  'WebhookAdded.name': 'thing',
  'WebhookAdded.streams': 'thing',
  'WebhookAdded.types': 'thing',
  'WebhookAdded.url': 'thing',
  'WebhookAdvanced.name': 'thing',
  'WebhookDeadLetterDelivered.name': 'thing',
  'WebhookDeadLettered.eventType': 'thing',
  'WebhookDeadLettered.failure': 'thing',
  'WebhookDeadLettered.name': 'thing',
  'WebhookDeadLettersDropped.name': 'thing',
  'WebhookDeadLettersDropped.reason': 'personal',
  'WebhookRemoved.name': 'thing',
  'WebhookReplayFailed.failure': 'thing',
  'WebhookReplayFailed.name': 'thing',
  'WebhookReplayOrdered.name': 'thing',
  'WebhookSecretRotated.name': 'thing',
  'OperatorAuthenticatorAdded.label': 'personal',
  'OperatorAuthenticatorAdded.name': 'personal',
  'OperatorAuthenticatorUsed.name': 'personal',
};

it('every text of an event is either encrypted or names nobody', () => {
  const personal = Object.entries(personalFields).flatMap(([type, fields]) => Object.keys(fields).map(field => `${type}.${field}`));
  const claimed = Object.entries(considered).filter(([, what]) => what === 'personal');
  expect(personal.toSorted()).toEqual(claimed.map(([place]) => place).toSorted());
});
