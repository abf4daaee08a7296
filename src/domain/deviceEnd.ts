import { type Of, requireStatus } from './decider.ts';
import type { DeviceCommand } from './deviceCommands.ts';
import type { DeviceEvent } from './deviceEvents.ts';
import { connectable } from './deviceField.ts';
import { revokeAll } from './deviceManufacture.ts';
import { givenUpByTwo, type LivingDevice, mayDestroyKeys, timedOut } from './deviceState.ts';
import { cancellation } from './deviceUpgrade.ts';
import { refuse } from './rules.ts';

/** Decisions about the end of a device: decommissioning, and the destruction of its keys. */

type Events = readonly DeviceEvent[];

export function orderDecommission({ reason, by, orderSha256 }: Of<DeviceCommand, 'OrderDecommission'>, state: LivingDevice): Events {
  if (state.decommissionOrderSha256 !== undefined) return [];
  requireStatus(state, [...connectable, 'SUSPENDED', 'RMA', 'REVOKED'], 'decommissioning', 'DEVICE_STATE');
  if (!state.provisioned) refuse('DEVICE_STATE', 'the unit is still in production');
  return [{ type: 'DeviceDecommissionOrdered', data: { reason, by, orderSha256 } }, ...cancellation(state, 'decommission')];
}

/** RULE-17: decommissioning revokes. With the wipe receipt, or without once the order timed out or two people have given the device up. */
export function completeDecommission(command: Of<DeviceCommand, 'CompleteDecommission'>, state: LivingDevice): Events {
  if (state.status === 'DECOMMISSIONED') return [];
  requireStatus(state, [...connectable, 'SUSPENDED', 'RMA', 'REVOKED'], 'decommissioning', 'DEVICE_STATE');
  if (state.decommissionOrderSha256 === undefined && state.status !== 'REVOKED') refuse('DEVICE_STATE', 'decommissioning was not ordered');
  return [...revokeAll(state, 'cessationOfOperation', command.by), { type: 'DeviceDecommissioned', data: proofOf(command) }];
}

function proofOf(command: Of<DeviceCommand, 'CompleteDecommission'>) {
  if ('wipeReceiptSha256' in command) return { wipeReceiptSha256: command.wipeReceiptSha256 };
  return { withoutReceipt: 'timedOut' in command ? timedOut : givenUpByTwo };
}

/** The keys of a device that may still be whole are destroyed by two people only (I16). */
export function destroyCustody({ keyIds, byTwoPeople }: Of<DeviceCommand, 'DestroyCustody'>, state: LivingDevice): Events {
  if (state.custodyDestroyed) return [];
  requireStatus(state, ['DECOMMISSIONED', 'SCRAPPED'], 'destroying the keys', 'DEVICE_STATE');
  if (state.status === 'DECOMMISSIONED' && !mayDestroyKeys(state) && !byTwoPeople)
    refuse('FOUR_EYES_REQUIRED', 'nothing proves the wipe: two people destroy the keys');
  return [{ type: 'KeyCustodyDestroyed', data: { keyIds } }];
}
