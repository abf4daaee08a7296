import { type Of, requireStatus } from './decider.ts';
import type { DeviceCommand } from './deviceCommands.ts';
import type { DeviceEvent } from './deviceEvents.ts';
import { connectable } from './deviceField.ts';
import { revokeAll } from './deviceManufacture.ts';
import type { LivingDevice } from './deviceState.ts';
import { refuse } from './rules.ts';

/** Decisions about the end of a device: decommissioning, and the destruction of its keys. */

type Events = readonly DeviceEvent[];

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
