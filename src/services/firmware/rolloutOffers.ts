import { device, deviceStream } from '../../domain/device.ts';
import type { LivingDevice } from '../../domain/deviceState.ts';
import { encryptionPointOf } from '../../domain/encryption.ts';
import { layoutOf, line, lineStream } from '../../domain/line.ts';
import { release, releaseStream } from '../../domain/release.ts';
import { type PlannedRollout, rollout, rolloutStream } from '../../domain/rollout.ts';
import { isPaced, offersAllowed } from '../../domain/rolloutPace.ts';
import { type ErrorCode, NusecError } from '../../errors.ts';
import type { Read } from '../../eventstore/handle.ts';
import { type Context, execute, executeOn, nowIso, oneCommit, stateOf } from '../base/context.ts';
import { livingDevice } from '../base/livingDevice.ts';
import type { OtaImages } from './otaImage.ts';
import { releaseOf } from './releases.ts';
import { offerIdOf } from './rolloutPlan.ts';
import type { Member, RolloutProgress } from './rolloutProgress.ts';

/** Offers the release of a rollout to its devices, by the one offer decision, not faster than the plan allows. */

const by = 'system:rollouts';

/** Offers that are stored in one commit, and commits that are prepared beside each other. */
const offersTogether = 256;
const groupsAtOnce = 4;

export type OfferParts = { readonly ctx: Context; readonly images: Pick<OtaImages, 'hashesOn'> };

/** While a window is open. @returns whether the rate of the plan holds some back */
export async function offerToAll(
  parts: OfferParts,
  state: PlannedRollout,
  progress: RolloutProgress,
): Promise<{ readonly isLimited: boolean }> {
  const wanting = progress.toOffer(parts.ctx.clock().getTime());
  if (isPaced(state)) return { isLimited: await offerPaced(parts, state, wanting, progress) };
  const groups = Array.from({ length: Math.ceil(wanting.length / offersTogether) }, (_, i) =>
    wanting.slice(i * offersTogether, (i + 1) * offersTogether),
  );
  const run = async (): Promise<void> => {
    for (let group = groups.shift(); group !== undefined; group = groups.shift()) await offerTogether(parts, state, group, progress);
  };
  await Promise.all(Array.from({ length: groupsAtOnce }, run));
  return { isLimited: false };
}

/** Not more than the plan allows in a minute, whoever makes them: they are counted in the log, and what another process has counted meanwhile makes all of a
 *  commit be judged again. @returns whether some are held back */
async function offerPaced(
  parts: OfferParts,
  state: PlannedRollout,
  wanting: readonly Member[],
  progress: RolloutProgress,
): Promise<boolean> {
  const stream = rolloutStream(state.rolloutId);
  for (let next = 0; next < wanting.length; ) {
    const made = await oneCommit(parts.ctx, async ctx => {
      const plan = await stateOf(ctx, rollout, stream);
      if (plan.status !== 'RUNNING') return [];
      const together = Math.min(offersAllowed(plan, nowIso(ctx)), offersTogether);
      const outcomes = await Promise.all(wanting.slice(next, next + together).map(member => offer({ ...parts, ctx }, state, member)));
      const count = outcomes.filter(outcome => 'offerId' in outcome && outcome.isNew).length;
      await execute(ctx, rollout, stream, { type: 'CountOffers', count, at: nowIso(ctx) }, by);
      return outcomes;
    });
    if (made.length === 0) return true;
    for (const outcome of made) await note(parts.ctx, state, outcome, progress);
    next += made.length;
  }
  return false;
}

/** Their offers in one commit; one after the other where a device was busy with something else at each try. */
async function offerTogether(
  parts: OfferParts,
  state: PlannedRollout,
  members: readonly Member[],
  progress: RolloutProgress,
): Promise<void> {
  try {
    const made = await oneCommit(parts.ctx, ctx => Promise.all(members.map(member => offer({ ...parts, ctx }, state, member))));
    for (const outcome of made) await note(parts.ctx, state, outcome, progress);
  } catch (error) {
    if (members.length === 1 || !(error instanceof NusecError) || error.code !== 'REVISION_CONFLICT') throw error;
    for (const member of members) await offerTogether(parts, state, [member], progress);
  }
}

type OfferOutcome =
  | { readonly member: Member; readonly offerId: string; readonly isNew: boolean }
  | { readonly member: Member; readonly refusal: NusecError };

async function offer(parts: OfferParts, state: PlannedRollout, member: Member): Promise<OfferOutcome> {
  const { ctx } = parts;
  const { uid } = member;
  try {
    const target = await livingDevice(ctx, uid);
    const offerId = offerIdOf(state.rolloutId, uid, member.offerId === undefined ? 0 : member.attempt + 1);
    const command = (read: Read) => offerCommand(read, parts, state, offerId, target);
    const { events } = await executeOn(ctx, device, deviceStream(uid), command, by);
    return { member, offerId, isNew: events.length > 0 };
  } catch (error) {
    if (!(error instanceof NusecError) || error.code === 'REVISION_CONFLICT') throw error;
    return { member, refusal: error };
  }
}

/** A refusal is remembered with its code until something happens to the device; one for the counter is an event (RULE-11, T12). */
async function note(ctx: Context, { releaseId }: PlannedRollout, outcome: OfferOutcome, progress: RolloutProgress): Promise<void> {
  const { member } = outcome;
  if (!('refusal' in outcome)) return progress.offered(member, outcome.offerId, ctx.clock().getTime());
  const { code } = outcome.refusal;
  // The rollout was paused, halted or aborted meanwhile: nothing is said about this device.
  if (code === 'STATE') return;
  progress.refuse(member, code, await outcomeOf(ctx, member.uid, code));
  if (code === 'ROLLBACK') await recordRollback(ctx, member.uid, releaseId);
}

/** The offer as release, line and rollout are now. @throws NusecError STATE (the rollout does not run), NOT_FOUND */
async function offerCommand(
  read: Read,
  { ctx, images }: OfferParts,
  { rolloutId, releaseId, securityUpdate }: PlannedRollout,
  offerId: string,
  target: LivingDevice,
) {
  const lineName = target.line;
  const plan = await read(rollout, rolloutStream(rolloutId));
  if (plan.status !== 'RUNNING') throw new NusecError('STATE', `rollout ${rolloutId} is ${plan.status}`);
  const candidate = await read(release, releaseStream(releaseId));
  const own = await read(line, lineStream(lineName));
  if (candidate.status === 'NONE' || own.status === 'NONE') throw new NusecError('NOT_FOUND', `there is no ${releaseId} or no ${lineName}`);
  const { status, vendorUuid, classUuid, version, securityCounter } = candidate;
  const { rollbackFloor, counterMaximum } = own;
  const approvers = [plan.plannedBy, ...(plan.approvedBy === undefined ? [] : [plan.approvedBy])];
  const isJumpApproved =
    (candidate.counterJump === true && candidate.approvedBy !== undefined) ||
    (plan.permitCounterJump === true && plan.approvedBy !== undefined);
  return {
    type: 'OfferFirmware' as const,
    offerId,
    rolloutId,
    releaseId,
    release: {
      line: candidate.line,
      vendorUuid,
      classUuid,
      status,
      version,
      securityCounter,
      imageHashes: await images.hashesOn(target.uid, candidate),
      isEncrypted: candidate.encrypted !== undefined,
    },
    line: { line: own.line, vendorUuid: own.vendorUuid, classUuid: own.classUuid },
    decrypts: encryptionPointOf(own.encryption, target) !== undefined,
    rules: {
      rollbackFloor,
      counterMaximum,
      counterStep: layoutOf(own).counterStep,
      ...(own.encryption?.only && { encryptedOnly: true }),
      ...(isJumpApproved && { counterJumpApproved: true }),
      ...(plan.permitDowngrade && { downgradePermit: { approvers } }),
    },
    ...(securityUpdate && { securityUpdate }),
    now: nowIso(ctx),
  };
}

async function recordRollback(ctx: Context, uid: string, releaseId: string): Promise<void> {
  const { version, securityCounter } = await releaseOf(ctx, releaseId);
  const refusal = { type: 'RecordRollbackRefusal', releaseId, version, securityCounter, hop: 'cloud' } as const;
  await execute(ctx, device, deviceStream(uid), refusal, by);
}

/** ALREADY is evidence from before. A device that is busy with another upgrade, or was offered the same release by another rollout, waits. A device
 *  out of use, or one that another upgrade has brought beyond this release, does not count. Any other refusal is a failure of the plan. */
async function outcomeOf(ctx: Context, uid: string, code: ErrorCode): Promise<Member['outcome']> {
  switch (code) {
    case 'ALREADY':
      return 'succeeded';
    case 'OFFER_STANDS':
      return 'waiting';
    case 'SUPERSEDED':
      return 'out';
    case 'DEVICE_STATE':
      return (await livingDevice(ctx, uid)).status === 'UPGRADING' ? 'waiting' : 'out';
    case 'DOWNGRADE':
    case 'ROLLBACK':
      return (await livingDevice(ctx, uid)).upgradedOfferId === undefined ? 'failed' : 'out';
    default:
      return 'failed';
  }
}
