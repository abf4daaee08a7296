/** Decisions about a device that leaves the field: repair and return as a new generation, decommissioning. */

import { type Of, requireStatus } from './decider.ts';
import type { DeviceCommand } from './deviceCommands.ts';
import type { DeviceEvent } from './deviceEvents.ts';
import { connectable } from './deviceField.ts';
import { revokeAll } from './deviceManufacture.ts';
import type { LivingDevice } from './deviceState.ts';
import { refuse, requireTwoPeople } from './rules.ts';

type Events = readonly DeviceEvent[];

export function takeForRepair({ reason, by }: Of<DeviceCommand, 'TakeForRepair'>, state: LivingDevice): Events {
  if (state.status === 'RMA') return [];
  requireStatus(state, connectable, 'repair', 'DEVICE_STATE');
  if (!state.provisioned) refuse('DEVICE_STATE', 'the unit is still in production');
  return [{ type: 'DeviceTakenForRepair', data: { reason, by } }];
}

/** I16: two approvers; the password is disclosed once per repair. */
export function orderDebugUnlock({ orderSha256, approvers }: Of<DeviceCommand, 'OrderDebugUnlock'>, state: LivingDevice): Events {
  if (state.debugUnlockSha256 === orderSha256) return [];
  requireStatus(state, ['RMA'], 'a debug unlock', 'DEVICE_STATE');
  requireTwoPeople(approvers, 'a debug unlock');
  if (state.debugUnlockSha256 !== undefined) refuse('DEVICE_STATE', 'the unlock password of this repair has been disclosed');
  return [{ type: 'DebugUnlockOrdered', data: { orderSha256, approvers } }];
}

/** A new generation: new key, new registration id, same ROTPK. Older certificates are superseded. */
export function returnToService({ type: _, objId, by, ...certificate }: Of<DeviceCommand, 'ReturnToService'>, state: LivingDevice): Events {
  if (state.objId === objId && state.serial === certificate.serial) return [];
  requireStatus(state, ['RMA'], 'returning to service', 'DEVICE_STATE');
  if (state.objIds.includes(objId)) refuse('UID_CONFLICT', 'a new generation needs a new registration id');
  if (state.certificates.some(({ publicKeySha256 }) => publicKeySha256 === certificate.publicKeySha256)) {
    refuse('WEAK_OR_CLONED_KEY', 'a new generation needs a new key');
  }
  const data = { ...certificate, objId, generation: state.generation + 1 };
  return [...revokeAll(state, 'superseded', by), { type: 'DeviceReturnedToService', data }];
}

export function orderDecommission({ reason, by, orderSha256 }: Of<DeviceCommand, 'OrderDecommission'>, state: LivingDevice): Events {
  if (state.decommissionOrderSha256 !== undefined) return [];
  requireStatus(state, [...connectable, 'SUSPENDED', 'RMA', 'REVOKED'], 'decommissioning', 'DEVICE_STATE');
  if (!state.provisioned) refuse('DEVICE_STATE', 'the unit is still in production');
  return [{ type: 'DeviceDecommissionOrdered', data: { reason, by, orderSha256 } }];
}

/** RULE-17: decommissioning revokes. With the wipe receipt, or without once the order timed out. */
export function completeDecommission(command: Of<DeviceCommand, 'CompleteDecommission'>, state: LivingDevice): Events {
  if (state.status === 'DECOMMISSIONED') return [];
  requireStatus(state, [...connectable, 'SUSPENDED', 'RMA', 'REVOKED'], 'decommissioning', 'DEVICE_STATE');
  if (state.decommissionOrderSha256 === undefined && state.status !== 'REVOKED') refuse('DEVICE_STATE', 'decommissioning was not ordered');
  const proof = 'timedOut' in command ? { withoutReceipt: 'timed out' } : { wipeReceiptSha256: command.wipeReceiptSha256 };
  return [...revokeAll(state, 'cessationOfOperation', command.by), { type: 'DeviceDecommissioned', data: proof }];
}

export function destroyCustody({ keyIds }: Of<DeviceCommand, 'DestroyCustody'>, state: LivingDevice): Events {
  if (state.custodyDestroyed) return [];
  requireStatus(state, ['DECOMMISSIONED', 'SCRAPPED'], 'destroying the keys', 'DEVICE_STATE');
  return [{ type: 'KeyCustodyDestroyed', data: { keyIds } }];
}
