import { allotment, allotmentStream } from '../../domain/allotment.ts';
import type { AllotmentState, OpenedAllotment } from '../../domain/allotmentState.ts';
import { getEntry } from '../../domain/bucketMap.ts';
import { device, deviceStream } from '../../domain/device.ts';
import type { DeviceState, LivingDevice } from '../../domain/deviceState.ts';
import { grant, grantStream } from '../../domain/grant.ts';
import { NusecError } from '../../errors.ts';
import type { Parts } from '../base/alarms.ts';
import { type Context, execute, stateOf } from '../base/context.ts';
import { allotmentOf } from './jobs.ts';

/** Ends a unit without building it: the reservation first, then the device. What was cut off between the two is finished by whoever comes
 *  next: the same call again, the sweep, or a new reservation of the chip. */

export type VoidReason = {
  readonly reason: string;
  /** Whether an OTP write or the lock was done or begun; `unknown` when the programmer did not say. */
  readonly otpTouched: boolean | 'unknown';
};

/** Idempotent. A unit whose OTP may have been touched is scrapped and its certificate revoked.
 *  @throws NusecError GRANT_USED (committed), NOT_FOUND */
export async function voidUnit(ctx: Context, state: OpenedAllotment, grantId: string, why: VoidReason, by: string): Promise<void> {
  const uid = getEntry(state.open, grantId)?.uid ?? (await uidOfGrant(ctx, grantId));
  const unit = uid === undefined ? undefined : ownDevice(await stateOf(ctx, device, deviceStream(uid)), grantId);
  const told = why.otpTouched === 'unknown' ? await hasBootloader(ctx, grantId) : why.otpTouched;
  const otpTouched = told || hasBurned(unit);
  const stream = allotmentStream(state.jobId, state.programmer);
  await execute(ctx, allotment, stream, { type: 'VoidUnit', grantId, reason: why.reason, otpTouched }, by);
  if (unit !== undefined) await execute(ctx, device, deviceStream(unit.uid), { type: 'FailUnit', reason: why.reason, otpTouched, by }, by);
}

const ownDevice = (state: DeviceState, grantId: string): LivingDevice | undefined =>
  state.status !== 'NONE' && state.grantId === grantId ? state : undefined;

async function uidOfGrant(ctx: Context, grantId: string): Promise<string | undefined> {
  const state = await stateOf(ctx, grant, grantStream(grantId));
  return state.status === 'NONE' ? undefined : state.uid;
}

/** With the bootloader's answer came the key to burn: whether it was, nobody knows. */
async function hasBootloader(ctx: Context, grantId: string): Promise<boolean> {
  const signed = await stateOf(ctx, grant, grantStream(grantId));
  return signed.status === 'SIGNED' && signed.trailers.bl2 !== undefined;
}

const hasBurned = (unit: LivingDevice | undefined): boolean =>
  unit !== undefined && (unit.debugLocked || Object.values(unit.bootKeys).some(key => key.burned));

/** Refuses a UID that another live device has: that one goes into quarantine, the new one is not begun (I3, T25, silence 5). A chip whose
 *  life is over is refused with an alarm (silence 18).
 *  @param grantId of the live reservation, when this is a repeated request
 *  @throws NusecError UID_CONFLICT, DEVICE_STATE */
export async function requireFreeUid({ ctx, alarms }: Parts, uid: string, grantId: string | undefined, by: string): Promise<void> {
  const state = await settled(ctx, uid, by);
  if (state.status === 'NONE' || state.status === 'FAILED' || state.grantId === grantId) return;
  if (['REVOKED', 'DECOMMISSIONED', 'SCRAPPED'].includes(state.status)) {
    await alarms.raise({ code: 'DEVICE_STATE', subject: uid, detail: `a chip that is ${state.status} was offered for production` });
    throw new NusecError('DEVICE_STATE', `this chip is ${state.status} and gets no grant`);
  }
  await execute(ctx, device, deviceStream(uid), { type: 'QuarantineDevice', reason: 'uid-conflict', by: 'system:production' }, by);
  await alarms.raise({ code: 'UID_CONFLICT', subject: uid, detail: 'the UID of a live device was offered for production' });
  throw new NusecError('UID_CONFLICT', 'a live device has this UID');
}

/** The device, after a void that was cut off has been finished. */
async function settled(ctx: Context, uid: string, by: string): Promise<DeviceState> {
  const state = await stateOf(ctx, device, deviceStream(uid));
  if (state.status === 'NONE' || state.status === 'FAILED' || state.provisioned) return state;
  const own = await allotmentOf(ctx, state.jobId, state.programmer);
  if (own.status === 'NONE' || outcomeOf(own, state.grantId) !== 'voided') return state;
  await finishVoid(ctx, state, by);
  return stateOf(ctx, device, deviceStream(uid));
}

/** The allotment says that the unit was voided, the device does not know it yet. */
export async function finishVoid(ctx: Context, { uid, jobId, programmer, grantId }: LivingDevice, by: string): Promise<void> {
  const events = await ctx.store.readStream(allotmentStream(jobId, programmer));
  const voided = events.findLast(event => event.type === 'UnitVoided' && event.data.grantId === grantId);
  if (voided === undefined) return;
  const command = { type: 'FailUnit', reason: String(voided.data.reason), otpTouched: voided.data.scrapped === true, by } as const;
  await execute(ctx, device, deviceStream(uid), command, by);
}

/** What became of a grant; undefined while it is open. */
export const outcomeOf = (state: AllotmentState, grantId: string): 'committed' | 'voided' | undefined =>
  state.status === 'NONE' ? undefined : getEntry(state.used, grantId);
