import { contentOfApproval } from './approval.ts';
import { contentText } from './contentText.ts';
import { type Of, requireStatus } from './decider.ts';
import type { DeviceCommand } from './deviceCommands.ts';
import type { DeviceEvent } from './deviceEvents.ts';
import { connectable } from './deviceField.ts';
import { revokeAll } from './deviceManufacture.ts';
import type { DeviceState, LivingDevice, Repair } from './deviceState.ts';
import { cancellation } from './deviceUpgrade.ts';
import { isWaiting, requireWaiting } from './proposals.ts';
import { refuse, requireOtherPerson } from './rules.ts';

/** Decisions about a device in repair: the one debug unlock, and the return to service as a new generation.
 *  IN_SERVICE → RMA: unlock requested → approved → ordered, once;  return ordered → certified → IN_SERVICE (generation + 1) */

type Events = readonly DeviceEvent[];
type DeviceInRepair = LivingDevice & { readonly status: 'RMA' };

/** Again with another programmer: that one takes over, and an unlock has to be approved for it. */
export function takeForRepair({ reason, programmer, by }: Of<DeviceCommand, 'TakeForRepair'>, state: LivingDevice): Events {
  if (state.status === 'RMA' && state.repair?.programmer === programmer) return [];
  requireStatus(state, [...connectable, 'RMA'], 'repair', 'DEVICE_STATE');
  if (!state.provisioned) refuse('DEVICE_STATE', 'the unit is still in production');
  if (state.decommissionOrderSha256 !== undefined) refuse('DEVICE_STATE', 'the device is to be decommissioned');
  return [{ type: 'DeviceTakenForRepair', data: { reason, by, programmer } }, ...cancellation(state, 'repair')];
}

/** @throws NusecError DEVICE_STATE unless the device is in repair @throws NusecError FORBIDDEN for another programmer than the one named */
export function requireRepairBy(state: DeviceState, programmer: string): asserts state is DeviceInRepair {
  requireRepair(state, 'this');
  if (state.repair?.programmer !== programmer) refuse('FORBIDDEN', 'the device is given to another programmer for repair');
}

function requireRepair(state: DeviceState, what: string): asserts state is DeviceInRepair {
  requireStatus(state, ['RMA'], what, 'DEVICE_STATE');
}

export function requestDebugUnlock({ reason, by, now: at }: Of<DeviceCommand, 'RequestDebugUnlock'>, state: LivingDevice): Events {
  requireRepair(state, 'a debug unlock');
  if (state.unlockKeyId === undefined) refuse('DEVICE_STATE', 'the chip was built without an unlock password');
  const unlock = state.repair?.unlock;
  const stands = unlock !== undefined && (unlock.approvedBy !== undefined || isWaiting(unlock.requestedAt, at));
  return stands ? [] : [{ type: 'DebugUnlockRequested', data: { reason, by, at } }];
}

/** I16: another person than the one who asked. */
export function approveDebugUnlock({ by, now, content }: Of<DeviceCommand, 'ApproveDebugUnlock'>, state: LivingDevice): Events {
  const unlock = requireUnlock(state);
  const approved = contentOfApproval(content, unlockContent(state));
  if (unlock.approvedBy === by) return [];
  requireOtherPerson(unlock.requestedBy, by, 'a debug unlock');
  if (unlock.approvedBy !== undefined) return [];
  requireWaiting(unlock.requestedAt, now, 'the debug unlock');
  return [{ type: 'DebugUnlockApproved', data: { by, ...approved } }];
}

/** What an approval approves, as one text: which device, at which programmer, why. Equal texts are equal content. */
export function unlockContent({ uid, objId, generation, repair }: LivingDevice): string {
  return contentText([uid, objId, generation, repair?.programmer ?? null, repair?.unlock?.reason ?? null]);
}

function requireUnlock(state: LivingDevice): NonNullable<Repair['unlock']> {
  requireRepair(state, 'a debug unlock');
  return state.repair?.unlock ?? refuse('DEVICE_STATE', 'no debug unlock was requested');
}

/** The password is disclosed once in a repair. */
export function orderDebugUnlock({ orderSha256, programmer }: Of<DeviceCommand, 'OrderDebugUnlock'>, state: LivingDevice): Events {
  requireRepairBy(state, programmer);
  const unlock = requireUnlock(state);
  if (unlock.orderSha256 === orderSha256) return [];
  if (unlock.approvedBy === undefined) refuse('FOUR_EYES_REQUIRED', 'a second person has not approved the debug unlock');
  if (unlock.orderSha256 !== undefined) refuse('PASSWORD_DISCLOSED', 'the unlock password of this repair has been disclosed');
  return [{ type: 'DebugUnlockOrdered', data: { orderSha256, approvers: [unlock.requestedBy, unlock.approvedBy], programmer } }];
}

/** The first registration id stays. */
export function orderReturn({ objId, by }: Of<DeviceCommand, 'OrderReturn'>, state: LivingDevice): Events {
  requireRepair(state, 'a return to service');
  if (state.repair?.next !== undefined) return [];
  if (state.objIds.includes(objId)) refuse('UID_CONFLICT', 'a new generation needs a new registration id');
  return [{ type: 'DeviceReturnOrdered', data: { objId, generation: state.generation + 1, by } }];
}

/** The registration id that a certificate may be asked for in repair: that of the next generation.
 *  @throws NusecError DEVICE_STATE */
export function requireNextGeneration(state: LivingDevice): NonNullable<Repair['next']> {
  return state.repair?.next ?? refuse('DEVICE_STATE', 'the return to service was not ordered');
}

/** A new generation: new key, new registration id, same ROTPK. Older certificates are superseded. */
export function returnToService({ objId, receiptSha256, by }: Of<DeviceCommand, 'ReturnToService'>, state: LivingDevice): Events {
  if (state.objId === objId) return [];
  requireRepair(state, 'a return to service');
  const { certificate, ...next } = requireNextGeneration(state);
  if (next.objId !== objId) refuse('UID_CONFLICT', 'this is not the registration id of the next generation');
  if (certificate === undefined) refuse('DEVICE_STATE', 'the next generation has no certificate');
  const older = { ...state, certificates: state.certificates.filter(({ serial }) => serial !== certificate.serial) };
  const data = { ...certificate, objId, generation: next.generation, receiptSha256 };
  return [...revokeAll(older, 'superseded', by), { type: 'DeviceReturnedToService', data }];
}
