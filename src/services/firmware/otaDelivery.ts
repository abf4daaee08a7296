import { setTimeout as sleep } from 'node:timers/promises';
import { device, deviceStream } from '../../domain/device.ts';
import type { Offer } from '../../domain/deviceEvents.ts';
import type { LivingDevice } from '../../domain/deviceState.ts';
import { isUpgradable } from '../../domain/deviceUpgrade.ts';
import { encryptionPointOf } from '../../domain/encryption.ts';
import type { EventType } from '../../domain/events.ts';
import { judgeOffer } from '../../domain/offer.ts';
import { release, releaseStream } from '../../domain/release.ts';
import { rollout, rolloutStream } from '../../domain/rollout.ts';
import { isWindowOpen } from '../../domain/rolloutPace.ts';
import { NusecError } from '../../errors.ts';
import type { Read } from '../../eventstore/handle.ts';
import { lru } from '../../lru.ts';
import { type BlockChannel, blockSecretBytes, blockSecretLabel, openBlockChannel, type SealedBlock, sealBlock } from '../../ota/blocks.ts';
import { blockCount, type OtaJob } from '../../ota/otaJob.ts';
import { deriveExporterKey } from '../../spdm/keySchedule.ts';
import { offerUnder } from '../../spdm/policy.ts';
import { patience } from '../../spdm/requester/patience.ts';
import { runSessionSetup } from '../../spdm/requester/run.ts';
import { acceptControl, controlRecord } from '../../spdm/requester/sessionControl.ts';
import type { SpdmSession } from '../../spdm/session.ts';
import { decodeTyped, encodeTyped } from '../../spdm/transport/mqtt.ts';
import { hourMs } from '../../times.ts';
import { type Context, execute, nowIso, reader } from '../base/context.ts';
import { livingDevice, livingDeviceIn } from '../base/livingDevice.ts';
import type { Answer, PerDeviceQueue } from '../base/perDeviceQueue.ts';
import { askedSpdm } from '../field/attestationPolicy.ts';
import { answeredThrough, type DeviceChannel } from '../field/deviceChannel.ts';
import { isOneOf } from '../field/evidenceGathering.ts';
import type { ChainJudge } from '../identity/chainJudge.ts';
import { type ByteLimits, createByteBudget, defaultByteLimits } from './byteBudget.ts';
import { lineIn } from './lines.ts';
import type { OtaImages, PreparedJob } from './otaImage.ts';

/** Delivery of offered firmware (R90–R95): an SPDM session gives the block key, the signed job says what comes, the device pulls blocks.
 *  Block keys live in memory only. After a restart, or when the device connects again, there is a new session and a newly signed job of the same
 *  id for the same image: the body's blocks that the device has stay valid, as their hashes are the same. */

type JobStatus = 'downloading' | 'written' | 'testing' | 'failed' | 'refused';

export type OtaDelivery = {
  /** Answers the question for a job, or announces one to a connected device. Works in the background of its caller.
   *  @param cid of the question; undefined when nobody asked */
  deliver(uid: string, cid?: number): Promise<void>;
  /** The device has connected again: its old block key is no longer there. */
  forget(uid: string): void;
  /** Waits until so many bytes may go to the device, in whatever way they go. @param gone the device no longer waits for them
   *  @returns false when that would be too long, or the device is gone: nothing is taken then */
  turn(uid: string, bytes: number, gone?: AbortSignal): Promise<boolean>;
  /** Of a turn, what could not be sent. */
  giveBack(uid: string, bytes: number): void;
  /** One block, sealed for this device. @throws NusecError STATE (no session: ask for the job again), BAD_REQUEST, PROJECTION_BEHIND (what would end the delivery is not seen) */
  block(uid: string, offerId: string, index: number, blockBytes: number): SealedBlock;
  /** The outstanding job of a device, for the machine that has it on a wire; the same one for an hour. @throws NusecError as OtaImages.prepare */
  prepared(uid: string): Promise<PreparedJob | undefined>;
  /** The delivery that is open for this device, as a file of sealed blocks. @throws NusecError STATE (no session: ask for the job again) */
  file(uid: string, offerId: string): { readonly job: OtaJob; readonly jobDigest: Uint8Array };
  /** Looks into the log itself, which the set of open deliveries follows a moment later. @throws NusecError STATE */
  requireStanding(uid: string, offerId: string): Promise<void>;
  /** What the device says of the job. Only evidence makes it an upgrade (RULE-18).
   *  @throws NusecError DEVICE_STATE when the offer has ended */
  reportStatus(uid: string, offerId: string, status: JobStatus, reason: string | undefined): Promise<void>;
  /** The device runs its old image again after it had restarted into the new one. */
  noteHello(state: LivingDevice, imageHash: string): Promise<void>;
  close(): Promise<void>;
};

export type OtaParts = {
  readonly ctx: Context;
  readonly channel: DeviceChannel;
  readonly chainJudge: ChainJudge;
  readonly queue: PerDeviceQueue;
  readonly images: OtaImages;
  /** Over `defaultByteLimits`. */
  readonly limits?: Partial<ByteLimits> | undefined;
};

type OpenDelivery = { readonly prepared: PreparedJob; readonly blocks: BlockChannel; readonly offer: Offer; readonly line: string };

const maxOpenDeliveries = 20_000;
const maxWired = 2_000;
/** So long a machine that was interrupted finds the same image, signature included, and the device goes on where it was. */
const wiredMs = hourMs;
const by = 'system:ota';

export function createOtaDelivery(parts: OtaParts): OtaDelivery {
  const { ctx, channel } = parts;
  const open = lru<OpenDelivery>(maxOpenDeliveries);
  const wired = lru<{ readonly prepared: PreparedJob; readonly untilMs: number }>(maxWired);
  const budget = createByteBudget({ ...defaultByteLimits, ...parts.limits });
  const underway = new Map<string, { cid: number | undefined; done: Promise<void> }>();
  /** Rises with every event that ends deliveries: what was judged before it is judged again. */
  let endings = 0;
  /** @param cancelled the job that the device is to forget, unless a better one has come; without it the device waits */
  const end = (uid: string, cancelled?: string): void => {
    if (cancelled !== undefined && (open.get(uid)?.offer.offerId ?? cancelled) !== cancelled) return;
    open.delete(uid);
    if (!channel.isConnected(uid)) return;
    channel.offerJob(uid, null, undefined, cancelled).catch(error => ctx.log.info({ uid, error: (error as Error).message }, 'not told'));
  };
  const endAll = (isOver: (offer: Offer, line: string) => boolean): void => {
    for (const [uid, { offer, line }] of open.entries()) if (isOver(offer, line)) end(uid);
  };
  /** The right to every block is looked up where it is served: here, kept up by the log. What ends a delivery ends it between two blocks, and the
   *  device is informed. */
  const follower = ctx.followers.follow('deliveries', ctx.store.seen(), events => {
    for (const { type, stream, data } of events) {
      const id = stream.slice(stream.indexOf('-') + 1);
      if (isEnding(type)) endings += 1;
      if (type === 'ReleaseWithdrawn') endAll(({ releaseId }) => releaseId === id);
      if (type === 'RolloutPaused' || type === 'RolloutHalted' || type === 'RolloutAborted') endAll(({ rolloutId }) => rolloutId === id);
      if (type === 'RollbackFloorRaised') endAll(({ securityCounter }, line) => line === id && securityCounter < data.floor);
      if (type === 'UpgradeCancelled' || type === 'UpgradeFailed') end(id, data.offerId);
    }
  });
  /** The decision as it is now, though the log may grow while it is taken. */
  const standsStill = async (uid: string, offerId: string): Promise<boolean> => {
    for (;;) {
      const [seen, read] = [endings, reader(ctx)];
      const offer = await deliverableOffer(ctx, read, await livingDeviceIn(read, uid));
      if (seen === endings) return offer?.offerId === offerId;
    }
  };

  const work = async (uid: string, cid: () => number | undefined): Promise<void> => {
    const read = reader(ctx);
    const state = await livingDeviceIn(read, uid);
    const offer = await deliverableOffer(ctx, read, state);
    if (offer === undefined) {
      if (cid() !== undefined) await channel.offerJob(uid, null, cid(), (await livingDevice(ctx, uid)).cancelledOfferId);
      return;
    }
    if (!channel.isConnected(uid)) return;
    const known = open.get(uid);
    if (known?.prepared.offerId === offer.offerId) return void (await channel.offerJob(uid, known.prepared.signed, cid()));
    const prepared = await parts.images.prepare(read, state, offer);
    await parts.queue.run(uid, async answer => {
      const asking = { ...parts, channel: answeredThrough(channel, answer) };
      const session = await openSession(asking, state, answer);
      const secret = deriveExporterKey(session.exporterSecret(), blockSecretLabel, prepared.job.otaJobId, blockSecretBytes);
      const stands = await standsStill(uid, offer.offerId);
      if (stands) open.set(uid, { prepared, blocks: openBlockChannel(secret, prepared), offer, line: state.line });
      await channel.offerJob(uid, stands ? prepared.signed : null, cid());
      await endSession(asking, uid, session);
    });
  };

  const openOf = (uid: string, offerId: string): OpenDelivery => {
    if (follower.failure !== undefined)
      throw new NusecError('PROJECTION_BEHIND', 'nobody knows at the moment whether the job still stands: ask again later');
    const delivery = open.get(uid);
    if (delivery?.prepared.offerId !== offerId) throw new NusecError('STATE', 'no delivery of this job is open: ask for the job again');
    return delivery;
  };

  return {
    deliver(uid, cid) {
      const running = underway.get(uid);
      if (running !== undefined) {
        if (cid !== undefined) running.cid = cid;
        return running.done;
      }
      const mine = { cid, done: Promise.resolve() };
      underway.set(uid, mine);
      mine.done = work(uid, () => mine.cid).finally(() => underway.delete(uid));
      return mine.done;
    },
    forget: uid => open.delete(uid),
    async turn(uid, bytes, gone) {
      const waitMs = budget.take(uid, bytes, performance.now());
      if (!waitMs) return waitMs !== undefined;
      const isOurs = await sleep(waitMs, true, gone && { signal: gone }).catch(() => false);
      if (!isOurs) budget.giveBack(uid, bytes);
      return isOurs;
    },
    giveBack: budget.giveBack,
    block(uid, offerId, index, blockBytes) {
      const delivery = openOf(uid, offerId);
      const { job, delivery: image } = delivery.prepared;
      if (blockBytes !== job.blockBytes || index >= blockCount(job)) throw new NusecError('BAD_REQUEST', 'the job has no such block');
      return sealBlock(delivery.blocks, image, index);
    },
    async prepared(uid) {
      const read = reader(ctx);
      const state = await livingDeviceIn(read, uid);
      const offer = await deliverableOffer(ctx, read, state, state.announcedOfferId);
      if (offer === undefined) return undefined;
      const [known, nowMs] = [wired.get(uid), performance.now()];
      if (known?.prepared.offerId === offer.offerId && nowMs < known.untilMs) return known.prepared;
      const prepared = await parts.images.prepare(read, state, offer);
      wired.set(uid, { prepared, untilMs: nowMs + wiredMs });
      return prepared;
    },
    file: (uid, offerId) => openOf(uid, offerId).prepared,
    async requireStanding(uid, offerId) {
      if (!(await standsStill(uid, offerId))) throw new NusecError('STATE', 'this job does not stand any more: ask for the job again');
    },
    async reportStatus(uid, offerId, status, reason) {
      if (status === 'failed' || status === 'refused') return giveUp(ctx, uid, offerId, reason ?? status);
      const { givenUp } = await livingDevice(ctx, uid);
      if (givenUp.some(known => known.offerId === offerId)) end(uid, offerId);
      const command =
        status === 'downloading'
          ? ({ type: 'StartUpgrade', offerId } as const)
          : ({ type: 'AdvanceUpgrade', offerId, phase: status } as const);
      await execute(ctx, device, deviceStream(uid), command, `device:${uid}`);
    },
    async noteHello({ uid, offer, upgradePhase, firmware }, imageHash) {
      if (offer === undefined || upgradePhase !== 'testing' || imageHash !== firmware?.imageHash) return;
      await execute(ctx, device, deviceStream(uid), { type: 'FailUpgrade', offerId: offer.offerId, reason: 'reverted' }, by);
    },
    close: () => follower.close(),
  };
}

const endingTypes: ReadonlySet<EventType> = new Set([
  'ReleaseWithdrawn',
  'RolloutPaused',
  'RolloutHalted',
  'RolloutAborted',
  'RollbackFloorRaised',
  'UpgradeCancelled',
  'UpgradeFailed',
]);
const isEnding = (type: EventType): boolean => endingTypes.has(type);

/** The current offer, when it may still be executed and is not held back by its rollout.
 *  @param announced for a machine that has the device on a wire: what it said it has begun */
async function deliverableOffer(ctx: Context, read: Read, state: LivingDevice, announced?: string): Promise<Offer | undefined> {
  const { offer } = state;
  const able = offer !== undefined && (isUpgradable(state) || state.status === 'UPGRADING') && state.decommissionOrderSha256 === undefined;
  if (!able) return undefined;
  const hasBegun = state.status === 'UPGRADING' || offer.offerId === announced;
  if (!(await isRolledOut(read, offer, { hasBegun, now: nowIso(ctx) }))) return undefined;
  const refusal = await refusalNow(read, state, offer);
  if (refusal === undefined) return offer;
  if (refusal === 'RELEASE_STATE') await cancel(ctx, state.uid, offer.offerId);
  else await giveUp(ctx, state.uid, offer.offerId, refusal, 'cloud');
  return undefined;
}

/** A paused, halted or aborted rollout delivers nothing; the offers of a completed one remain. A device begins within a window of the plan;
 *  an upgrade under way continues. */
async function isRolledOut(
  read: Read,
  { rolloutId }: Offer,
  { hasBegun, now }: { readonly hasBegun: boolean; readonly now: string },
): Promise<boolean> {
  if (rolloutId === undefined) return true;
  const state = await read(rollout, rolloutStream(rolloutId));
  if (state.status !== 'RUNNING' && state.status !== 'COMPLETED') return false;
  return hasBegun || isWindowOpen(state.windows, now);
}

/** The decision is taken again at delivery: the floor may have risen and the release may have been withdrawn since the offer (RULE-11). */
async function refusalNow(read: Read, state: LivingDevice, offer: Offer): Promise<string | undefined> {
  const known = await read(release, releaseStream(offer.releaseId));
  if (known.status === 'NONE' || state.firmware === undefined) return 'RELEASE_STATE';
  const line = await lineIn(read, state.line);
  const { rollbackFloor, counterMaximum } = line;
  const candidate = { ...known, imageHashes: offer.imageHashes, isEncrypted: known.encrypted !== undefined };
  // Jumps and permits were decided with the offer.
  const rules = { rollbackFloor, counterMaximum, counterJumpApproved: true, encryptedOnly: line.encryption?.only === true };
  const { firmware, provenCounter } = state;
  const decrypts = encryptionPointOf(line.encryption, state) !== undefined;
  const refusal = judgeOffer({ ...line, able: true, firmware, provenCounter, decrypts }, candidate, rules);
  return refusal === 'DOWNGRADE' || refusal === 'ALREADY' ? undefined : refusal;
}

const cancel = (ctx: Context, uid: string, offerId: string) =>
  execute(ctx, device, deviceStream(uid), { type: 'CancelUpgrade', offerId, reason: 'release-withdrawn' }, by);

/** A refusal for the counter is recorded at the hop that refused (T12). */
async function giveUp(ctx: Context, uid: string, offerId: string, reason: string, hop: 'cloud' | 'device' = 'device'): Promise<void> {
  const stream = deviceStream(uid);
  const state = await livingDevice(ctx, uid);
  const offer = state.offer;
  if (offer?.offerId === offerId && /rollback/i.test(reason)) {
    const { releaseId, version, securityCounter } = offer;
    await execute(ctx, device, stream, { type: 'RecordRollbackRefusal', releaseId, version, securityCounter, hop }, by);
  }
  await execute(ctx, device, stream, { type: 'FailUpgrade', offerId, reason }, by);
}

async function openSession({ ctx, channel, chainJudge }: OtaParts, state: LivingDevice, answer: Answer): Promise<SpdmSession> {
  const { uid } = state;
  const { spdm, publicKey } = await askedSpdm(ctx, state);
  const knownChain = chainJudge.knownChain(uid);
  const options = {
    ...offerUnder(spdm),
    nonce: ctx.randomBytes(32),
    randomBytes: ctx.randomBytes,
    uidHex: uid,
    trust: (certificates: readonly Uint8Array[]) => chainJudge.judge(state, certificates),
    isOurs: isOneOf(state),
    ...(publicKey && { publicKey, trustKey: (key: Uint8Array) => chainJudge.judgeKey(state, key) }),
    wait: patience(ms => answer(sleep(ms))),
    ...(knownChain && { knownChain }),
  };
  return runSessionSetup(options, async wire => decodeTyped(await channel.spdm(uid, encodeTyped(wire)))).then(({ session }) => session);
}

/** The keys of the session are gone here whatever the device answers. */
async function endSession({ ctx, channel }: OtaParts, uid: string, session: SpdmSession): Promise<void> {
  try {
    const answer = decodeTyped(await channel.spdm(uid, encodeTyped({ kind: 'secured', message: controlRecord(session, 'endSession') })));
    if (answer.kind === 'secured') acceptControl(session, 'endSession', answer.message);
  } catch (error) {
    ctx.log.debug({ uid, error: (error as Error).message }, 'END_SESSION was not answered');
  } finally {
    session.end();
  }
}
