import type { EventMap, EventType } from './events.ts';
import type { SubjectKind } from './subjects.ts';

/** Which fields of events name or describe people. The log keeps none of them in clear: see src/eventstore/personal.ts. `by` of an event and every
 *  `operator:{name}` in its data need no line here. test/domain/personalFields.test.ts fails for a text field that nobody has thought about. */

/** operator, site: a name, or a list of names · text: what somebody typed; it belongs to the operator who did */
export type PersonalField = 'operator' | 'site' | 'text';

/** Names of fields, with a dot for what is inside of another. */
type Path<Data> = Data extends string | number | boolean | null | undefined
  ? never
  : Data extends readonly (infer One)[]
    ? Path<One>
    : { [Name in keyof Data & string]: Name | `${Name}.${Path<Data[Name]>}` }[keyof Data & string];
type Fields<Data> = { readonly [One in Path<Data>]?: PersonalField };

const reason = { reason: 'text' } as const;
const note = { note: 'text' } as const;

export const personalFields: { readonly [Type in EventType]?: Fields<EventMap[Type]> } = {
  // People
  OperatorAdded: { name: 'operator', 'scope.sites': 'site' },
  OperatorTokenRotated: { name: 'operator' },
  OperatorRolesSet: { name: 'operator', 'scope.sites': 'site' },
  OperatorRemoved: { name: 'operator' },
  OperatorTokenAdded: { name: 'operator', label: 'text', 'scope.sites': 'site' },
  OperatorAuthenticatorAdded: { name: 'operator', label: 'text' },
  OperatorAuthenticatorUsed: { name: 'operator' },
  OperatorIdentityBound: { name: 'operator', subject: 'text' },
  OperatorCredentialEnded: { name: 'operator' },
  SessionBegun: { address: 'text', agent: 'text' },
  OperatorChangeProposed: { 'change.name': 'operator', 'change.identity.subject': 'text', 'change.scope.sites': 'site' },
  RecoveryCodesUsed: { name: 'operator', second: 'operator' },
  RootCaEstablished: { approvers: 'operator' },
  RootCaRolled: { approvers: 'operator' },
  EffectAllowanceProposed: note,
  EventParkingProposed: reason,
  EventParked: reason,
  SubjectErasureProposed: reason,
  AlarmAcknowledged: note,
  AlarmAssigned: { to: 'operator' },
  AlarmSilenced: reason,
  WebhookDeadLettersDropped: reason,
  // Authorities
  IssuingCaCompromised: reason,
  PackageKeyCompromised: reason,
  CeremonyProposed: { 'action.reason': 'text' },
  BulkRevocationProposed: note,
  // Production
  JobCreated: { site: 'site' },
  JobSuspended: reason,
  JobCancelled: reason,
  ThawProposed: reason,
  AllotmentThawed: reason,
  AllotmentClosed: { withoutReceipt: 'text' },
  UnitVoided: reason,
  ProgrammerShipped: { to: 'site' },
  ProgrammerSuspended: reason,
  ProgrammerReportedStolen: note,
  ProgrammerRevoked: reason,
  // Firmware
  ReleaseWithdrawn: reason,
  RolloutPlanned: { 'selector.sites': 'site', 'groups.selector.sites': 'site' },
  RolloutPaused: reason,
  RolloutAborted: reason,
  VulnerabilityReported: note,
  VulnerabilityClosed: reason,
  // Field
  DeviceFailed: reason,
  DeviceScrapped: reason,
  DeviceQuarantined: reason,
  DeviceReleased: reason,
  DeviceSuspended: reason,
  DeviceTakenForRepair: reason,
  DebugUnlockRequested: reason,
  DeviceDecommissionOrdered: reason,
  DeviceDecommissioned: { withoutReceipt: 'text' },
  GatewaySuspended: reason,
  GatewayRevoked: reason,
};

/** Streams that are named after somebody: what follows the beginning is the name. */
export const personalStreams: readonly (readonly [beginning: string, SubjectKind])[] = [
  ['effects-', 'operator'],
  ['sessions-', 'operator'],
  ['alarm-operator-', 'operator'],
  ['alarm-address-', 'address'],
];

/** The same for the subject of an alarm and of what people do about it; the text of an alarm about an operator belongs to that operator. */
export const personalAlarms: readonly (readonly [beginning: string, SubjectKind])[] = [
  ['operator-', 'operator'],
  ['address-', 'address'],
];
