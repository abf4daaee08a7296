import type { DeviceEvent } from './deviceEvents.ts';

/** The walk of a device through its life: what each event does to its status, and where an interruption leads back to. The fold (deviceState.ts)
 *  and the read model of the devices both use it, so the walk is written once. `docs/lifecycle.md` draws it. */

export const deviceStatuses = [
  'MINTED',
  'CERTIFIED',
  'ROOTED',
  'LOCKED',
  'PROVISIONED',
  'STOCK',
  'IN_SERVICE',
  'UPGRADING',
  'QUARANTINED',
  'SUSPENDED',
  'RMA',
  'REVOKED',
  'DECOMMISSIONED',
  'FAILED',
  'SCRAPPED',
] as const;

export type DeviceStatus = (typeof deviceStatuses)[number];

export type DeviceStanding = {
  readonly status: DeviceStatus;
  /** Of the certificate the device uses now. */
  readonly serial?: string;
  /** Where an upgrade, a quarantine, a suspension leads back to. */
  readonly upgradeFrom?: DeviceStatus;
  readonly quarantineFrom?: DeviceStatus;
  readonly suspendedFrom?: DeviceStatus;
};

type DataOf<Type extends DeviceEvent['type']> = Extract<DeviceEvent, { readonly type: Type }>['data'];
type Moves = { readonly [Type in DeviceEvent['type']]?: (at: DeviceStanding, data: DataOf<Type>) => Partial<DeviceStanding> };

const moves = {
  DeviceCertified: (_, { serial }) => ({ status: 'CERTIFIED', serial }),
  BootKeyBurned: (at, { slot }) => (slot === 'bl2' && at.status === 'CERTIFIED' ? { status: 'ROOTED' } : {}),
  DebugLocked: () => ({ status: 'LOCKED' }),
  FirmwareInstalled: () => ({ status: 'PROVISIONED' }),
  ProvisioningCompleted: () => ({ status: 'STOCK' }),
  DeviceFailed: () => ({ status: 'FAILED' }),
  DeviceScrapped: () => ({ status: 'SCRAPPED' }),
  DevicePutInService: () => ({ status: 'IN_SERVICE' }),
  UpgradeStarted: at => (at.status === 'UPGRADING' ? {} : { status: 'UPGRADING', upgradeFrom: at.status }),
  FirmwareUpgraded: at => ({ status: outOfUpgrade(at) }),
  UpgradeFailed: at => ({ status: outOfUpgrade(at) }),
  UpgradeCancelled: at => ({ status: outOfUpgrade(at) }),
  CertificateRenewed: (_, { serial }) => ({ serial }),
  CertificateRevoked: revoke,
  DeviceQuarantined: quarantine,
  DeviceReleased: at => ({ status: at.quarantineFrom ?? at.status }),
  DeviceSuspended: at => (at.status === 'SUSPENDED' ? {} : { status: 'SUSPENDED', suspendedFrom: outOfUpgrade(at) }),
  DeviceResumed: at => (at.status === 'SUSPENDED' ? { status: at.suspendedFrom ?? 'IN_SERVICE' } : {}),
  DeviceTakenForRepair: () => ({ status: 'RMA' }),
  DeviceReturnedToService: (_, { serial }) => ({ status: 'IN_SERVICE', serial }),
  DeviceDecommissioned: () => ({ status: 'DECOMMISSIONED' }),
} as const satisfies Moves;

/** Whether events of this type can move a minted device. */
export const movesDevice = (type: string): type is keyof typeof moves => Object.hasOwn(moves, type);

/** What changes with an event; nothing for one that moves no device. DeviceMinted begins a walk and is not a move. */
export function deviceMove(at: DeviceStanding, { type, data }: DeviceEvent): Partial<DeviceStanding> {
  if (!movesDevice(type)) return {};
  return (moves[type] as (at: DeviceStanding, data: unknown) => Partial<DeviceStanding>)(at, data);
}

/** An upgrade that a quarantine or a suspension interrupts is not taken up again; its evidence still counts. */
function outOfUpgrade({ status, upgradeFrom }: DeviceStanding): DeviceStatus {
  return status === 'UPGRADING' ? (upgradeFrom ?? 'IN_SERVICE') : status;
}

/** Revocation leaves these as they are: the unit is already out of use. */
const unmovedByRevocation: readonly DeviceStatus[] = ['FAILED', 'SCRAPPED', 'DECOMMISSIONED'];

/** An older certificate that is merely superseded leaves the device in use, and so does any that its return from repair supersedes; any other
 *  revocation ends it. */
function revoke(at: DeviceStanding, { serial, reason }: DataOf<'CertificateRevoked'>): Partial<DeviceStanding> {
  const isSuperseded = reason === 'superseded' && (serial !== at.serial || at.status === 'RMA');
  return isSuperseded || unmovedByRevocation.includes(at.status) ? {} : { status: 'REVOKED' };
}

/** A device on hold stays so: the quarantine is what it comes back to. */
function quarantine(at: DeviceStanding): Partial<DeviceStanding> {
  const isQuarantined = at.status === 'QUARANTINED' || (at.status === 'SUSPENDED' && at.suspendedFrom === 'QUARANTINED');
  if (isQuarantined) return { quarantineFrom: at.quarantineFrom ?? 'IN_SERVICE' };
  if (at.status === 'SUSPENDED') return { quarantineFrom: at.suspendedFrom ?? 'IN_SERVICE', suspendedFrom: 'QUARANTINED' };
  return { status: 'QUARANTINED', quarantineFrom: outOfUpgrade(at) };
}
