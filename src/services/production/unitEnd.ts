import { fromHex, toHex } from '../../bytes.ts';
import { sha256Hex } from '../../digest.ts';
import type { Actor } from '../../domain/actor.ts';
import { allotment, allotmentStream } from '../../domain/allotment.ts';
import { type OpenedAllotment, remainingUnits } from '../../domain/allotmentState.ts';
import { getEntry } from '../../domain/bucketMap.ts';
import { device, deviceStream } from '../../domain/device.ts';
import { requireReadyForApplication } from '../../domain/deviceManufacture.ts';
import type { LivingDevice } from '../../domain/deviceState.ts';
import { type GrantState, grant, grantStream } from '../../domain/grant.ts';
import { job, jobStream } from '../../domain/job.ts';
import type { BoundFirmware } from '../../domain/jobEvents.ts';
import { requireBoundFirmware } from '../../domain/jobState.ts';
import { formatVersion } from '../../domain/version.ts';
import { NusecError } from '../../errors.ts';
import { imageIds } from '../../production/fields.ts';
import { provesImage, type Receipt } from '../../production/receipt.ts';
import type { Parts } from '../base/alarms.ts';
import { always, type Condition, type Context, execute, executeAllIf, executeIf, nowIso, reader, stateOf } from '../base/context.ts';
import { livingDevice } from '../base/livingDevice.ts';
import { allotmentOf } from './allotments.ts';
import { inFinish, type StepOf } from './conditions.ts';
import { jobOf } from './jobs.ts';
import { acceptLedger, type Ledger, readLedger } from './ledger.ts';
import { opened } from './packages.ts';
import { activeProgrammer, authKeyOf, programmerOf } from './programmers.ts';
import { readReceipt, requireLocked, requireOwnOtp, requireSameConfig, watchUnit } from './unitSteps.ts';
import { grantOf, receiptNonce } from './units.ts';
import { outcomeOf, type VoidReason, voidUnit, wasScrapped } from './unitVoid.ts';

/** The end of a unit: committed with the proof of what runs on it, or voided (R82, RULE-18). */

export type CommitAnswer = { readonly committed: number; readonly remaining: number };

/** The allotment commits first, as it cannot be taken back; then the device completes. Both are repeated without harm.
 *  @throws NusecError RECEIPT_REFUSED (other image, version, counter or unit data; not locked), DEVICE_STATE (R69, I7), GRANT_EXPIRED, JOB_NOT_RUNNING,
 *  LEDGER_GAP … */
export async function commitUnit(
  parts: Parts,
  programmer: string,
  grantId: string,
  proof: { readonly receipt: Uint8Array; readonly ledger: readonly Uint8Array[] },
  by: Actor,
): Promise<CommitAnswer> {
  const { ctx } = parts;
  const caller = await activeProgrammer(ctx, programmer);
  const signed = await grantOf(ctx, programmer, grantId);
  const state = opened(await allotmentOf(ctx, signed.jobId, programmer));
  const unit = await livingDevice(ctx, signed.uid);
  const owner = await jobOf(ctx, signed.jobId);
  const firmware = await ownFirmware(ctx, grantId, requireBoundFirmware(owner, 'app'));
  const receiptSha256 = sha256Hex(proof.receipt);
  const condition = outcomeOf(state, grantId) === 'committed' ? always : mayCommit(ctx, { ...signed, grantId });
  await condition(reader(ctx));
  const receipt = await watchUnit(parts, signed, async () => {
    const shown = await readReceipt(ctx, unit, proof.receipt, receiptNonce('NuSEC commit receipt', grantId));
    requireInstalled(shown, firmware);
    requireUnitData(shown, getEntry(state.open, grantId)?.unitData?.sha256);
    requireSameConfig(shown, owner);
    return shown;
  });
  await requireOwnOtp(parts, unit, receipt, programmer);
  const ledger = await readLedger(parts, state, authKeyOf(caller), proof.ledger, by);
  requireCommitRecord(ledger, grantId, receiptSha256);
  await ctx.blobs.put(proof.receipt);
  const stream = allotmentStream(signed.jobId, programmer);
  const command = { type: 'CommitUnit', grantId, uid: signed.uid, receiptSha256, now: nowIso(ctx) } as const;
  await executeIf(ctx, condition, allotment, stream, command, by);
  await completeDevice(ctx, unit, grantId, firmware, receiptSha256, by);
  await acceptLedger(parts, signed.jobId, programmer, ledger, by);
  const after = opened(await allotmentOf(ctx, signed.jobId, programmer));
  return { committed: after.committed, remaining: remainingUnits(after) };
}

/** With the image hash of this unit's own image, where that names its UID: the one that was signed under the grant. */
export async function ownFirmware(ctx: Context, grantId: string, bound: BoundFirmware): Promise<BoundFirmware> {
  if (bound.uidBound !== true) return bound;
  const signed = await stateOf(ctx, grant, grantStream(grantId));
  const imageHash = signed.status === 'SIGNED' ? signed.trailers.app?.imageHash : undefined;
  if (imageHash === undefined) throw new NusecError('DEVICE_STATE', 'no application was signed for this unit');
  return { ...bound, imageHash };
}

/** Grant and programmer as for every step, the job not over, and the device was locked and has shown its key (R69, I7). In a suspended job a unit is
 *  finished whose application was given before: the receipt proves that it is there. */
const mayCommit =
  (ctx: Context, step: StepOf): Condition =>
  async read => {
    await inFinish(ctx, step)(read);
    const unit = await read(device, deviceStream(step.uid));
    const isBuilt = unit.status === 'PROVISIONED' || (unit.status !== 'NONE' && unit.provisioned);
    if (!isBuilt) requireReadyForApplication(unit, step.grantId);
    requireGiven(await read(grant, grantStream(step.grantId)));
  };

/** The receipt of a chip that was never given its application shows something else than ours. @throws NusecError DEVICE_STATE */
function requireGiven(signed: GrantState): void {
  const isGiven = signed.status === 'SIGNED' && signed.trailers.app !== undefined;
  if (!isGiven) throw new NusecError('DEVICE_STATE', 'no application was signed for this unit');
}

/** What the receipt must show: the application, by hash, version and counter, on a locked device (I18). */
function requireInstalled(receipt: Receipt, { imageHash, version, securityCounter }: BoundFirmware): void {
  requireLocked(receipt);
  const entry = receipt.images.find(({ image }) => image === imageIds.bl3);
  const isBound =
    receipt.stage === 'app' &&
    provesImage(receipt, imageIds.bl3, fromHex(imageHash)) &&
    entry?.securityCounter === securityCounter &&
    formatVersion(entry.version) === version;
  if (!isBound) throw new NusecError('RECEIPT_REFUSED', 'the receipt does not prove that the firmware of the job runs');
}

/** @param sha256 of what the unit was given to keep; undefined for nothing, and for a unit that is committed already */
function requireUnitData({ unitDataSha256 }: Receipt, sha256: string | undefined): void {
  if (sha256 !== undefined && (unitDataSha256 === undefined || toHex(unitDataSha256) !== sha256))
    throw new NusecError('RECEIPT_REFUSED', 'the receipt does not prove that the unit keeps its own data');
}

function requireCommitRecord({ last }: Ledger, grantId: string, receiptSha256: string): void {
  const { type, grantId: recorded, receiptSha256: proven } = last.record;
  const fits =
    type === 'commit' && recorded !== undefined && toHex(recorded) === grantId && proven !== undefined && toHex(proven) === receiptSha256;
  if (!fits) throw new NusecError('BAD_REQUEST', 'the last ledger record is not the commit of this unit with this receipt');
}

/** The device's part of a commit. */
export async function completeDevice(
  ctx: Context,
  { uid }: LivingDevice,
  grantId: string,
  { releaseId, version, securityCounter, imageHash }: BoundFirmware,
  receiptSha256: string,
  by: Actor,
): Promise<void> {
  const firmware = { releaseId, version, securityCounter, imageHash };
  const installed = { type: 'InstallFirmware', grantId, receiptSha256, ...firmware } as const;
  const commands = [installed, { type: 'CompleteProvisioning', grantId, receiptSha256 } as const];
  await executeAllIf(ctx, always, device, deviceStream(uid), commands, by);
}

/** `scrapped`: how the server counts it; the programmer follows (docs/decisions/028). */
export type VoidAnswer = CommitAnswer & { readonly scrapped: boolean };

/** @throws NusecError GRANT_USED (committed), NOT_FOUND, LEDGER_GAP … */
export async function voidByProgrammer(
  parts: Parts,
  programmer: string,
  grantId: string,
  why: VoidReason & { readonly ledger: readonly Uint8Array[]; readonly receipt?: Uint8Array | undefined },
  by: Actor,
): Promise<VoidAnswer> {
  const { ctx } = parts;
  const caller = await activeProgrammer(ctx, programmer);
  const { jobId, uid } = await grantOf(ctx, programmer, grantId);
  const state = opened(await allotmentOf(ctx, jobId, programmer));
  const ledger = await readLedger(parts, state, authKeyOf(caller), why.ledger, by);
  const { type, uid: recorded, scrap } = ledger.last.record;
  if (type !== 'void' || recorded === undefined || toHex(recorded) !== uid) {
    throw new NusecError('BAD_REQUEST', 'the last ledger record does not void this unit');
  }
  // What is signed counts, also when the request says less.
  const otpTouched = why.otpTouched === true || scrap === true;
  const isProvenEmpty = !otpTouched && why.receipt !== undefined && (await provesEmpty(ctx, uid, grantId, why.receipt));
  await voidUnit(ctx, state, grantId, { reason: why.reason, otpTouched, isProvenEmpty }, by);
  await acceptLedger(parts, jobId, programmer, ledger, by);
  const after = opened(await allotmentOf(ctx, jobId, programmer));
  return { committed: after.committed, remaining: remainingUnits(after), scrapped: await wasScrapped(ctx, state, grantId) };
}

/** The chip itself signs that nothing is burned and its debug port is open. Without a bootloader only the DevAuth code can. */
async function provesEmpty(ctx: Context, uid: string, grantId: string, receipt: Uint8Array): Promise<boolean> {
  const unit = await stateOf(ctx, device, deviceStream(uid));
  if (unit.status === 'NONE' || unit.grantId !== grantId) return false;
  try {
    const { stage, otpMask, debugState } = await readReceipt(ctx, unit, receipt, receiptNonce('NuSEC void receipt', grantId));
    return stage === 'devauth' && otpMask === 0 && debugState === 'open';
  } catch (error) {
    if (error instanceof NusecError) return false;
    throw error;
  }
}

/** The end of a job on a programmer: the signed zeroise record is the proof that count and images are gone (RULE-19, R82).
 *  @throws NusecError STATE (open units), LEDGER_GAP */
export async function zeroiseJob(parts: Parts, programmer: string, jobId: string, signed: readonly Uint8Array[], by: Actor): Promise<void> {
  const { ctx } = parts;
  const caller = await programmerOf(ctx, programmer);
  const state = opened(await allotmentOf(ctx, jobId, programmer));
  const ledger = await readLedger(parts, state, authKeyOf(caller), signed, by);
  if (ledger.last.record.type !== 'zeroise') throw new NusecError('BAD_REQUEST', 'the last ledger record is not the zeroise record');
  await acceptLedger(parts, jobId, programmer, ledger, by);
  const zeroise = { receiptSha256: ledger.last.hash, ledgerNumber: ledger.last.record.number };
  const closed = await execute(ctx, allotment, allotmentStream(jobId, programmer), { type: 'CloseAllotment', by, zeroise }, by);
  await settleAllotment(ctx, opened(closed.state), by);
}

/** What a closed share did not build is free for others. */
export async function settleAllotment(ctx: Context, state: OpenedAllotment, by: Actor): Promise<void> {
  const { jobId, programmer, committed, scrapped } = state;
  await execute(ctx, job, jobStream(jobId), { type: 'SettleAllotment', programmer, committed, scrapped }, by);
}
