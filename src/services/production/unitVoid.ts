import type { Actor } from '../../domain/actor.ts';
import { allotment, allotmentStream } from '../../domain/allotment.ts';
import type { UidUse } from '../../domain/allotmentCommands.ts';
import type { AllotmentState, OpenedAllotment } from '../../domain/allotmentState.ts';
import { getEntry } from '../../domain/bucketMap.ts';
import { device, deviceStream } from '../../domain/device.ts';
import type { DeviceState, LivingDevice } from '../../domain/deviceState.ts';
import { type GrantState, grant, grantStream } from '../../domain/grant.ts';
import type { Read } from '../../eventstore/handle.ts';
import { historyOf } from '../../eventstore/recorded.ts';
import { type Context, execute, executeOn, stateOf } from '../base/context.ts';
import { allotmentOf } from './allotments.ts';

/** Ends a unit without building it: the reservation first, then the device. An interruption between the two is mended by what comes
 *  next: the same call again, the sweep, or a new reservation of the chip. */

export type VoidReason = {
  readonly reason: string;
  /** Whether an OTP write or the lock was done or begun; `unknown` when the programmer did not say. */
  readonly otpTouched: boolean | 'unknown';
  /** The chip has signed that nothing is burned. */
  readonly isProvenEmpty?: boolean;
};

/** Idempotent. A unit whose OTP may have been touched is scrapped and its certificate revoked.
 *  @throws NusecError GRANT_USED (committed), NOT_FOUND */
export async function voidUnit(ctx: Context, state: OpenedAllotment, grantId: string, why: VoidReason, by: Actor): Promise<void> {
  const uid = getEntry(state.open, grantId)?.uid ?? (await uidOfGrant(ctx, grantId));
  const stream = allotmentStream(state.jobId, state.programmer);
  // Read for this very decision: the bootloader may be given out, or a burn be recorded, meanwhile.
  const commandOf = async (read: Read) => {
    const unit = uid === undefined ? undefined : ownDevice(await read(device, deviceStream(uid)), grantId);
    const isGiven = why.isProvenEmpty !== true && hasBootloader(await read(grant, grantStream(grantId)));
    const otpTouched = why.otpTouched === true || isGiven || hasBurned(unit);
    return { type: 'VoidUnit', grantId, reason: why.reason, otpTouched } as const;
  };
  await executeOn(ctx, allotment, stream, commandOf, by);
  const unit = uid === undefined ? undefined : ownDevice(await stateOf(ctx, device, deviceStream(uid)), grantId);
  if (unit !== undefined) await finishVoid(ctx, unit, by);
}

const ownDevice = (state: DeviceState, grantId: string): LivingDevice | undefined =>
  state.status !== 'NONE' && state.grantId === grantId ? state : undefined;

async function uidOfGrant(ctx: Context, grantId: string): Promise<string | undefined> {
  const state = await stateOf(ctx, grant, grantStream(grantId));
  return state.status === 'NONE' ? undefined : state.uid;
}

/** Whether the bootloader of a unit was given out. */
export const hadBootloader = async (ctx: Context, grantId: string): Promise<boolean> =>
  hasBootloader(await stateOf(ctx, grant, grantStream(grantId)));

/** With the bootloader's answer came the key to burn. Whether it was burned only the chip can prove; the word of the programmer is none (T1). */
const hasBootloader = (signed: GrantState): boolean => signed.status === 'SIGNED' && signed.trailers.bl2 !== undefined;

const hasBurned = (unit: LivingDevice | undefined): boolean =>
  unit !== undefined && (unit.debugLocked || Object.values(unit.bootKeys).some(key => key.burned));

/** What the stream of a chip says about a new reservation of it (I3, silence 18). Nothing is changed by the question.
 *  @param grantId of the live reservation, when this is a repeated request */
export async function uidUseOf(ctx: Context, uid: string, grantId: string | undefined): Promise<UidUse> {
  const state = await stateOf(ctx, device, deviceStream(uid));
  if (state.status === 'NONE' || state.status === 'FAILED' || state.grantId === grantId) return 'free';
  if (['REVOKED', 'DECOMMISSIONED', 'SCRAPPED'].includes(state.status)) return 'ended';
  const voided = await unfinishedVoid(ctx, state);
  if (voided === undefined) return 'inUse';
  return voided.scrapped ? 'ended' : 'free';
}

/** Finishes a void of this chip that was cut off between its allotment and its device. */
export async function settleVoid(ctx: Context, uid: string, by: Actor): Promise<void> {
  const state = await stateOf(ctx, device, deviceStream(uid));
  if (state.status !== 'NONE' && (await unfinishedVoid(ctx, state)) !== undefined) await finishVoid(ctx, state, by);
}

type Voided = { readonly reason: string; readonly scrapped: boolean };

/** The void that its allotment has recorded and the device does not know yet. */
async function unfinishedVoid(
  ctx: Context,
  { status, provisioned, jobId, programmer, grantId }: LivingDevice,
): Promise<Voided | undefined> {
  if (status === 'FAILED' || status === 'SCRAPPED' || provisioned) return undefined;
  if (outcomeOf(await allotmentOf(ctx, jobId, programmer), grantId) !== 'voided') return undefined;
  return recordedVoid(ctx, { jobId, programmer }, grantId);
}

type ShareOf = Pick<OpenedAllotment, 'jobId' | 'programmer'>;

async function recordedVoid(ctx: Context, { jobId, programmer }: ShareOf, grantId: string): Promise<Voided | undefined> {
  const voids = await historyOf(ctx.store, allotmentStream(jobId, programmer), 'UnitVoided');
  return voids.findLast(({ data }) => data.grantId === grantId)?.data;
}

/** How a voided unit counts. */
export const wasScrapped = async (ctx: Context, share: ShareOf, grantId: string): Promise<boolean> =>
  (await recordedVoid(ctx, share, grantId))?.scrapped === true;

/** The allotment says that the unit was voided, the device does not know it yet. */
export async function finishVoid(ctx: Context, state: LivingDevice, by: Actor): Promise<void> {
  const voided = await unfinishedVoid(ctx, state);
  if (voided === undefined) return;
  const command = { type: 'FailUnit', reason: voided.reason, otpTouched: voided.scrapped, by } as const;
  await execute(ctx, device, deviceStream(state.uid), command, by);
}

/** What became of a grant; undefined while it is open. */
export const outcomeOf = (state: AllotmentState, grantId: string): 'committed' | 'voided' | undefined =>
  state.status === 'NONE' ? undefined : getEntry(state.used, grantId);
