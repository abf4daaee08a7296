import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { allotment } from '../../src/domain/allotment.ts';
import type { AllotmentEvent } from '../../src/domain/allotmentEvents.ts';
import { authority } from '../../src/domain/authority.ts';
import type { AuthorityEvent } from '../../src/domain/authorityEvents.ts';
import { type BucketMap, emptyBucketMap, getEntry, withEntry, withoutEntry } from '../../src/domain/bucketMap.ts';
import { type BulkRevocationEvent, bulkRevocations } from '../../src/domain/bulkRevocations.ts';
import { type CeremoniesEvent, ceremonies } from '../../src/domain/ceremonies.ts';
import { type CertificationEvent, certification } from '../../src/domain/certification.ts';
import { type Decider, fold } from '../../src/domain/decider.ts';
import { device } from '../../src/domain/device.ts';
import type { DeviceEvent } from '../../src/domain/deviceEvents.ts';
import type { DomainEvent } from '../../src/domain/events.ts';
import { type ExpiryEvent, expiry } from '../../src/domain/expiry.ts';
import { type GatewayEvent, gateway } from '../../src/domain/gateway.ts';
import { job } from '../../src/domain/job.ts';
import type { JobEvent } from '../../src/domain/jobEvents.ts';
import { type LineEvent, line } from '../../src/domain/line.ts';
import { operators } from '../../src/domain/operators.ts';
import type { OperatorsEvent } from '../../src/domain/operatorsState.ts';
import { type ParkedEventsEvent, parkedEvents } from '../../src/domain/parkedEvents.ts';
import { type ProgrammerEvent, programmer } from '../../src/domain/programmer.ts';
import { type PublicKeyEvent, publicKey } from '../../src/domain/publicKey.ts';
import { type ReleaseEvent, release } from '../../src/domain/release.ts';
import { type ReleaseVersionEvent, releaseVersion } from '../../src/domain/releaseVersion.ts';
import { type RolloutEvent, rollout } from '../../src/domain/rollout.ts';
import { type SeriesEvent, series } from '../../src/domain/series.ts';
import { type SubjectsEvent, subjects } from '../../src/domain/subjects.ts';
import { type VulnerabilityEvent, vulnerability } from '../../src/domain/vulnerability.ts';
import { type WebhookEvent, webhook } from '../../src/domain/webhook.ts';
import type { JsonObject } from '../../src/eventstore/port.ts';

/** `true` for a table that names every type of the union: a new event without its name here does not compile. */
type Named<Event extends { readonly type: string }> = Record<Event['type'], true>;

/** Every event's data fits the store as it is. */
const storable: DomainEvent['data'] extends JsonObject ? true : false = true;

const allotmentEvents: Named<AllotmentEvent> = {
  AllotmentOpened: true,
  AllotmentRaised: true,
  PackageExported: true,
  PackageSuperseded: true,
  PackageImported: true,
  UnitReserved: true,
  ReservationRefused: true,
  GrantRenewed: true,
  UnitCommitted: true,
  UnitVoided: true,
  LedgerSegmentAccepted: true,
  LedgerGapDetected: true,
  AllotmentExhausted: true,
  AllotmentFrozen: true,
  AllotmentThawed: true,
  ThawProposed: true,
  AllotmentClosed: true,
};
const authorityEvents: Named<AuthorityEvent> = {
  ProjectCreated: true,
  RootCaEstablished: true,
  RootCaRolled: true,
  RootCaRetired: true,
  IssuingCaEstablished: true,
  IssuingCaActivated: true,
  IssuingCaRetired: true,
  IssuingCaCompromised: true,
  PackageKeyEstablished: true,
  PackageKeyCompromised: true,
  TrustBundlePublished: true,
  CrlIssued: true,
  ServerCertificateIssued: true,
  OcspSignerEstablished: true,
};
const deviceEvents: Named<DeviceEvent> = {
  DeviceMinted: true,
  CertificationRequested: true,
  DeviceCertified: true,
  CertificateInstalled: true,
  BootKeyAssigned: true,
  BootKeyBurned: true,
  BootloaderInstalled: true,
  DebugLocked: true,
  EncryptionKeyCertified: true,
  ProgrammingSessionAuthenticated: true,
  FirmwareInstalled: true,
  ProvisioningCompleted: true,
  DeviceFailed: true,
  DeviceScrapped: true,
  DevicePutInService: true,
  AttestationPassed: true,
  AttestationFailed: true,
  FirmwareOffered: true,
  UpgradeStarted: true,
  UpgradeAnnounced: true,
  UpgradeAdvanced: true,
  UpgradeCancelled: true,
  FirmwareUpgraded: true,
  UpgradeFailed: true,
  CounterProven: true,
  RollbackRefused: true,
  CertificateRenewed: true,
  OperationalCertificateIssued: true,
  TrustBundleFollowed: true,
  CertificateExpired: true,
  CertificateRevoked: true,
  CloneSuspected: true,
  DeviceQuarantined: true,
  DeviceTagged: true,
  AttestationKeyEnrolled: true,
  DeviceReleased: true,
  DeviceSuspended: true,
  DeviceResumed: true,
  DeviceTakenForRepair: true,
  DebugUnlockRequested: true,
  DebugUnlockApproved: true,
  DebugUnlockOrdered: true,
  DeviceReturnOrdered: true,
  NextGenerationCertified: true,
  DeviceReturnedToService: true,
  DeviceDecommissionOrdered: true,
  DeviceDecommissioned: true,
  KeyCustodyDestroyed: true,
};
const gatewayEvents: Named<GatewayEvent> = {
  GatewayRegistered: true,
  GatewayCertified: true,
  GatewayCertificateRevoked: true,
  GatewayKeyProposed: true,
  DeviceAttached: true,
  DeviceDetached: true,
  TrustBundleApplied: true,
  GatewayEvidenceRefused: true,
  GatewaySuspended: true,
  GatewayResumed: true,
  GatewayRevoked: true,
};
const jobEvents: Named<JobEvent> = {
  JobCreated: true,
  FirmwareBoundToJob: true,
  UidListAttached: true,
  JobReleased: true,
  AllotmentMade: true,
  AllotmentSettled: true,
  JobSuspended: true,
  JobResumed: true,
  JobClosed: true,
  JobCancelled: true,
  JobReconciled: true,
  JobDiscrepancyFound: true,
};
const lineEvents: Named<LineEvent> = {
  LineDefined: true,
  LineEncryptionSet: true,
  RollbackFloorRaised: true,
  LineChangeProposed: true,
  LineChangeApproved: true,
  AttestationRetentionSet: true,
  SupportPeriodSet: true,
  AttestationOfAllAsked: true,
  AttestationPolicySet: true,
};
const operatorsEvents: Named<OperatorsEvent> = {
  OperatorAdded: true,
  OperatorTokenRotated: true,
  OperatorRolesSet: true,
  OperatorRemoved: true,
  OperatorTokenAdded: true,
  OperatorCredentialEnded: true,
  OperatorIdentityBound: true,
  OperatorAuthenticatorAdded: true,
  OperatorAuthenticatorUsed: true,
  OperatorChangeProposed: true,
  OperatorChangeApproved: true,
  OperatorChangeWithdrawn: true,
};
const programmerEvents: Named<ProgrammerEvent> = {
  ProgrammerRegistered: true,
  KeyEnrolled: true,
  ProgrammerCertified: true,
  ProgrammerCertificateRenewed: true,
  ProgrammerBootKeyAssigned: true,
  ProgrammerBootKeyBurned: true,
  ProgrammerFirmwareSigned: true,
  ProgrammerFirmwareInstalled: true,
  ProgrammerLocked: true,
  KekAgreed: true,
  ProgrammerShipped: true,
  ProgrammerCheckedIn: true,
  ProgrammerSuspended: true,
  ProgrammerResumed: true,
  ProgrammerReportedStolen: true,
  ProgrammerRevoked: true,
  ProgrammerReturned: true,
  ProgrammerRetired: true,
};
const bulkRevocationEvents: Named<BulkRevocationEvent> = {
  BulkRevocationProposed: true,
  BulkRevocationApproved: true,
  BulkRevocationProgressed: true,
  BulkRevocationDone: true,
  BulkRevocationCancelled: true,
};
const ceremoniesEvents: Named<CeremoniesEvent> = {
  CeremonyProposed: true,
  CeremonyApproved: true,
  CeremonyDone: true,
  CeremonyWithdrawn: true,
};
const certificationEvents: Named<CertificationEvent> = { CertificateIntended: true, CertificateIntentDone: true };
const expiryEvents: Named<ExpiryEvent> = { CertificateExpiryNoticed: true, CertificateEnded: true };
const parkedEventsEvents: Named<ParkedEventsEvent> = { EventParkingProposed: true, EventParked: true };
const subjectsEvents: Named<SubjectsEvent> = {
  SubjectErasureProposed: true,
  SubjectErasureApproved: true,
  SubjectErased: true,
  AddressesForgotten: true,
};
const publicKeyEvents: Named<PublicKeyEvent> = { PublicKeyReserved: true };
const releaseVersionEvents: Named<ReleaseVersionEvent> = { ReleaseVersionReserved: true };
const releaseEvents: Named<ReleaseEvent> = {
  FirmwareUploaded: true,
  SbomAttached: true,
  EncryptedVariantAdded: true,
  SbomComponentsListed: true,
  ReleaseApproved: true,
  ReleasePublished: true,
  ReleaseWithdrawn: true,
};
const rolloutEvents: Named<RolloutEvent> = {
  RolloutPlanned: true,
  RolloutApproved: true,
  RolloutStarted: true,
  GroupStarted: true,
  DevicesJoined: true,
  OffersCounted: true,
  GroupPassed: true,
  RolloutPaused: true,
  RolloutResumed: true,
  RolloutHalted: true,
  RolloutCompleted: true,
  RolloutAborted: true,
};

const seriesEvents: Named<SeriesEvent> = { SeriesDefined: true, SeriesExtended: true, SeriesBlockTaken: true };
const webhookEvents: Named<WebhookEvent> = {
  WebhookAdded: true,
  WebhookSecretRotated: true,
  WebhookRemoved: true,
  WebhookReplayOrdered: true,
  WebhookDeadLettersDropped: true,
};
const vulnerabilityEvents: Named<VulnerabilityEvent> = {
  VulnerabilityOpened: true,
  VulnerabilityNoteReplaced: true,
  VulnerabilityReachedDevices: true,
  VulnerabilityFixAvailable: true,
  VulnerabilityReportDue: true,
  VulnerabilityReportMissed: true,
  VulnerabilityReported: true,
  VulnerabilityClosed: true,
  VulnerabilityReopened: true,
};

const field = fc.constantFrom(
  'uid',
  'grantId',
  'slot',
  'status',
  'serial',
  'reason',
  'icaId',
  'keyId',
  'name',
  'programmer',
  'image',
  'offerId',
  'quota',
);
const value = fc.oneof(
  fc.string(),
  fc.integer(),
  fc.boolean(),
  fc.constant(null),
  fc.constant([]),
  fc.constantFrom('bl2', 'app', 'superseded'),
);
const data = fc.dictionary(field, value);

/** Any events in any order with any fields, unknown types among them. */
function neverThrows<Command, State, Event extends { readonly type: string }>(
  decider: Decider<Command, State, Event>,
  names: Named<Event>,
) {
  const events = fc.array(fc.record({ type: fc.constantFrom(...Object.keys(names), 'FromTheFuture', '__proto__'), data }), {
    maxLength: 30,
  });
  fc.assert(
    fc.property(events, history => {
      expect(fold(decider, history as unknown as readonly Event[])).toBeDefined();
    }),
  );
  const unknown = { type: 'FromTheFuture', data: {} } as unknown as Event;
  expect(decider.evolve(decider.initialState, unknown)).toBe(decider.initialState);
}

describe('every fold is total', () => {
  it('whatever the stream holds', () => {
    neverThrows(allotment, allotmentEvents);
    neverThrows(authority, authorityEvents);
    neverThrows(bulkRevocations, bulkRevocationEvents);
    neverThrows(ceremonies, ceremoniesEvents);
    neverThrows(certification, certificationEvents);
    neverThrows(expiry, expiryEvents);
    neverThrows(device, deviceEvents);
    neverThrows(gateway, gatewayEvents);
    neverThrows(job, jobEvents);
    neverThrows(line, lineEvents);
    neverThrows(operators, operatorsEvents);
    neverThrows(parkedEvents, parkedEventsEvents);
    neverThrows(programmer, programmerEvents);
    neverThrows(publicKey, publicKeyEvents);
    neverThrows(releaseVersion, releaseVersionEvents);
    neverThrows(release, releaseEvents);
    neverThrows(rollout, rolloutEvents);
    neverThrows(vulnerability, vulnerabilityEvents);
    neverThrows(series, seriesEvents);
    neverThrows(webhook, webhookEvents);
    neverThrows(subjects, subjectsEvents);
  });

  it('and every event is named once over all streams and fits the store', () => {
    const all = [allotmentEvents, authorityEvents, deviceEvents, gatewayEvents, jobEvents, lineEvents, operatorsEvents, programmerEvents];
    const pki = [bulkRevocationEvents, ceremoniesEvents, certificationEvents, expiryEvents];
    const names = [
      ...all,
      ...pki,
      parkedEventsEvents,
      publicKeyEvents,
      releaseEvents,
      releaseVersionEvents,
      rolloutEvents,
      seriesEvents,
      vulnerabilityEvents,
      webhookEvents,
      subjectsEvents,
    ].flatMap(Object.keys);
    expect(new Set(names).size).toBe(names.length);
    expect(storable).toBe(true);
  });
});

describe('a bucket map', () => {
  const entriesOf = (map: BucketMap<number>) => map.buckets.flatMap(bucket => [...(bucket ?? [])]);

  it('behaves as a map and never changes an older version', () => {
    const step = fc.record({ key: fc.string({ maxLength: 2 }), value: fc.option(fc.nat()) });
    fc.assert(
      fc.property(fc.array(step), steps => {
        const model = new Map<string, number>();
        let map: BucketMap<number> = withEntry<number>(emptyBucketMap, 'first', 0);
        const first = map;
        model.set('first', 0);
        for (const { key, value } of steps) {
          map = value === null ? withoutEntry(map, key) : withEntry(map, key, value);
          if (value === null) model.delete(key);
          else model.set(key, value);
          expect(getEntry(map, key)).toBe(model.get(key));
        }
        expect(map.size).toBe(model.size);
        expect(new Map(entriesOf(map))).toEqual(model);
        expect(entriesOf(first)).toEqual([['first', 0]]);
      }),
    );
  });
});
