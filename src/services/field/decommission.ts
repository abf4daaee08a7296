import type { Actor } from '../../domain/actor.ts';
import { device, deviceStream } from '../../domain/device.ts';
import { currentCertificate, type LivingDevice, mayDestroyKeys } from '../../domain/deviceState.ts';
import { type ErrorCode, NusecError } from '../../errors.ts';
import { endDryRun } from '../../eventstore/dryRun.ts';
import { signOrder, verifyOrder } from '../../production/order.ts';
import { verifyReceipt } from '../../production/receipt.ts';
import { decommissionQueries } from '../../projections/decommissions.ts';
import { dayMs, secondsOf } from '../../times.ts';
import { authorityOf, ownKeysFor, signerFor } from '../authority/authority.ts';
import type { Alarms } from '../base/alarms.ts';
import { type Context, execute } from '../base/context.ts';
import { eachAlone } from '../base/eachAlone.ts';
import { idBytesOf, livingDevice } from '../base/livingDevice.ts';
import { storedCertificate } from '../identity/storedCertificate.ts';
import type { Revocations } from '../revocation/revocations.ts';
import { putRevocationInForce } from '../revocation/revokeDevice.ts';
import type { DeviceChannel } from './deviceChannel.ts';

/** The end of a device (R96, RULE-17): a signed order to wipe, the device's signed receipt, then its certificates are revoked and its boot keys
 *  destroyed. A device that is not reached gets the order when it connects; after the time-out it is decommissioned without a receipt, and its
 *  keys are kept: nothing proves the wipe, so two people destroy them (I16).
 *  Every step can be repeated: after a crash in between the decommissioning resumes. */

type DecommissionStatus = { readonly status: string; readonly receipt: 'received' | 'none' | 'awaited' };

export type Decommissions = {
  /** Orders it, and completes it when the device answers immediately. @param withoutReceipt the device is gone, say two people: do not wait
   *  for it @throws NusecError NOT_FOUND, DEVICE_STATE, FOUR_EYES_REQUIRED (no receipt can come any more) */
  decommission(uid: string, reason: string, by: Actor, withoutReceipt?: boolean): Promise<DecommissionStatus>;
  /** A device has connected: it gets the outstanding order. @returns whether it was wiped */
  resume(uid: string): Promise<boolean>;
  /** A receipt has come, asked for by this process or by one that died since. Resolves when the end of the device is recorded; what follows
   *  from it is done behind. A receipt that proves nothing is an alarm. @param brought `order`: one of `orderFor`, instead of the standing one;
   *  `messenger`: who brought it, when it was not the device itself */
  receive(uid: string, receipt: Uint8Array, brought?: { readonly order: Uint8Array; readonly messenger: Actor }): Promise<void>;
  /** The standing order, signed once more for the nonce that the device has named on its wire (T31): it serves once.
   *  @throws NusecError NOT_FOUND */
  orderFor(uid: string, nonce: Uint8Array): Promise<Uint8Array>;
  /** Ends what has waited longer than the time-out, and finishes what was cut off. */
  sweep(stop?: AbortSignal): Promise<void>;
};

export type DecommissionParts = {
  readonly ctx: Context;
  readonly alarms: Alarms;
  readonly channel: DeviceChannel;
  readonly revocations: Revocations;
};

/** How long the order waits for the device; the order itself expires with it. */
const decommissionTimeoutDays = 7;
const nonceBytes = 16;
const maxReasonChars = 128;
/** Oldest first: what has timed out is among them. */
const sweepRows = 1000;
const by = 'system:decommission';

export function createDecommissions(parts: DecommissionParts, timeoutDays = decommissionTimeoutDays): Decommissions {
  const { ctx, channel } = parts;
  const timeoutMs = timeoutDays * dayMs;

  const order = async (state: LivingDevice, reason: string, who: string): Promise<void> => {
    if (state.decommissionOrderSha256 !== undefined) return;
    const signed = await signOrder(
      {
        operation: 'wipe',
        ...idBytesOf(state),
        nonce: ctx.randomBytes(nonceBytes),
        expiresAtSeconds: secondsOf(ctx.clock().getTime() + timeoutMs),
        reason: reason.slice(0, maxReasonChars),
        approvers: [who],
      },
      await signerFor(ctx, await authorityOf(ctx), 'order'),
    );
    const orderSha256 = await ctx.blobs.put(signed);
    await execute(ctx, device, deviceStream(state.uid), { type: 'OrderDecommission', reason, by: who, orderSha256 }, who);
  };
  /** @returns false when the device was not reached: it will be, or the time-out comes */
  const wipe = async (uid: string): Promise<boolean> => {
    const state = await livingDevice(ctx, uid);
    if (state.status === 'DECOMMISSIONED' || state.decommissionOrderSha256 === undefined || !channel.isConnected(uid)) return false;
    try {
      await record(uid, await channel.order(uid, await ctx.blobs.get(state.decommissionOrderSha256)));
      await settle(parts, uid);
      return true;
    } catch (error) {
      await tellRefusal(parts, uid, error);
      return false;
    }
  };
  const record = async (uid: string, receipt: Uint8Array, order?: Uint8Array): Promise<void> => {
    const state = await livingDevice(ctx, uid);
    if (state.status === 'DECOMMISSIONED' || state.decommissionOrderSha256 === undefined) return;
    const wipeReceiptSha256 = await acceptReceipt(ctx, state, order ?? (await ctx.blobs.get(state.decommissionOrderSha256)), receipt);
    await execute(ctx, device, deviceStream(uid), { type: 'CompleteDecommission', by, wipeReceiptSha256 }, by);
  };

  const sweepOne = async (uid: string, isLate: boolean): Promise<void> => {
    const { status } = await livingDevice(ctx, uid);
    if (status === 'DECOMMISSIONED') await destroyKeys(ctx, uid);
    else if (isLate) await giveUp(parts, uid, { timedOut: true });
  };

  return {
    async decommission(uid, reason, who, withoutReceipt = false) {
      const before = await livingDevice(ctx, uid);
      if (before.status === 'DECOMMISSIONED' && !withoutReceipt) {
        // What was cut off behind the end is finished.
        endDryRun();
        if (mayDestroyKeys(before)) await settle(parts, uid);
        return endOf(before);
      }
      await order(before, reason, who);
      endDryRun();
      if (withoutReceipt) await giveUp(parts, uid, { byTwoPeople: true });
      else if (!(await wipe(uid))) {
        const { status, certificates } = await livingDevice(ctx, uid);
        if (cannotBringReceipt({ status, certificates }))
          throw new NusecError('FOUR_EYES_REQUIRED', 'the device is revoked and can bring no receipt: give it up with a second person');
        if (status !== 'DECOMMISSIONED') return { status, receipt: 'awaited' };
      }
      return endOf(await livingDevice(ctx, uid));
    },
    resume: wipe,
    async orderFor(uid, nonce) {
      const state = await livingDevice(ctx, uid);
      if (state.decommissionOrderSha256 === undefined) throw new NusecError('NOT_FOUND', 'nothing is ordered for this device');
      const standing = await ctx.blobs.get(state.decommissionOrderSha256);
      const authority = await authorityOf(ctx);
      const value = await verifyOrder(standing, { operation: 'wipe', ...idBytesOf(state) }, ownKeysFor(authority, 'order'));
      return signOrder({ ...value, nonce }, await signerFor(ctx, authority, 'order'));
    },
    async receive(uid, receipt, brought) {
      try {
        await record(uid, receipt, brought?.order);
      } catch (error) {
        await tellRefusal(parts, uid, error, brought?.messenger);
        return;
      }
      void settle(parts, uid).catch(error =>
        ctx.log.warn({ uid, error: (error as Error).message }, 'the end of a device is not settled yet'),
      );
    },
    async sweep(stop) {
      const now = ctx.clock();
      const isLate = (orderedAt: string): boolean => now.getTime() - Date.parse(orderedAt) >= timeoutMs;
      const ordered = await decommissionQueries(ctx.reads.db).orderedBefore(now.toISOString(), sweepRows);
      const failed = await eachAlone(ordered, ({ uid, ordered_at }) => sweepOne(uid, isLate(ordered_at)), { stop });
      for (const { item, error } of failed) ctx.log.warn({ uid: item.uid, error: String(error) }, 'the end of a device is not settled yet');
    },
  };
}

/** The receipt is signed by the key of the device's certificate, answers this order, and says that the wipe is done.
 *  @returns SHA-256 of the receipt's blob @throws NusecError RECEIPT_REFUSED, COSE_SIGNATURE … */
async function acceptReceipt(ctx: Context, state: LivingDevice, order: Uint8Array, receipt: Uint8Array): Promise<string> {
  const known = currentCertificate(state);
  if (known === undefined) throw new NusecError('RECEIPT_REFUSED', 'the device has no certificate');
  const { spki } = await storedCertificate(ctx, known.certificateSha256);
  const ids = idBytesOf(state);
  const { nonce } = await verifyOrder(order, { operation: 'wipe', ...ids }, ownKeysFor(await authorityOf(ctx), 'order'));
  const value = await verifyReceipt(receipt, { publicKey: spki, ...ids, nonce });
  if (value.lifeCycle !== 'decommissioned') throw new NusecError('RECEIPT_REFUSED', `the device says it is ${value.lifeCycle}`);
  return ctx.blobs.put(receipt);
}

const silent: readonly ErrorCode[] = ['DEVICE_UNREACHABLE', 'RATE_LIMITED'];

/** A messenger hands on what it got: a receipt that proves nothing may be its own or the device's, so both are named. */
async function tellRefusal({ ctx, alarms }: DecommissionParts, uid: string, error: unknown, messenger?: Actor): Promise<void> {
  if (!(error instanceof NusecError)) throw error;
  ctx.log.info({ uid, code: error.code }, 'the order to wipe was not executed');
  if (silent.includes(error.code)) return;
  const way = messenger === undefined ? '' : `, brought by ${messenger}`;
  await alarms.raise({ code: 'WIPE_REFUSED', subject: uid, detail: `${error.code}: ${error.message}${way}` });
}

const endOf = ({ status, end }: LivingDevice): DecommissionStatus => ({
  status,
  receipt: end?.wipeReceiptSha256 === undefined ? 'none' : 'received',
});

/** A revoked device cannot connect any more: nobody would ever bring its receipt. */
export const cannotBringReceipt = ({ status, certificates }: Pick<LivingDevice, 'status' | 'certificates'>): boolean =>
  status !== 'DECOMMISSIONED' && certificates.every(({ status }) => status === 'revoked');

/** The end without a receipt. The keys go with it only when two people agreed. */
async function giveUp(
  parts: DecommissionParts,
  uid: string,
  why: { readonly timedOut: true } | { readonly byTwoPeople: true },
): Promise<void> {
  await execute(parts.ctx, device, deviceStream(uid), { type: 'CompleteDecommission', by, ...why }, by);
  await putInForce(parts, uid);
  if ('byTwoPeople' in why) await destroyKeys(parts.ctx, uid, true);
  else
    await parts.alarms.raise({ code: 'KEYS_KEPT', subject: uid, detail: 'decommissioned without a receipt: two people destroy its keys' });
}

/** What follows from the end: the revocation is in force everywhere, the boot keys are destroyed. Can be done again. */
async function settle(parts: DecommissionParts, uid: string): Promise<void> {
  await putInForce(parts, uid);
  await destroyKeys(parts.ctx, uid);
}

async function putInForce({ ctx, revocations }: DecommissionParts, uid: string): Promise<void> {
  const { certificates } = await livingDevice(ctx, uid);
  await putRevocationInForce(ctx, revocations, certificates);
}

/** The private halves of the device's boot keys are erased; what they have signed stays verifiable. */
async function destroyKeys(ctx: Context, uid: string, byTwoPeople = false): Promise<void> {
  const state = await livingDevice(ctx, uid);
  const { custodyDestroyed, bootKeys } = state;
  if (custodyDestroyed) return;
  // Refused before anything is destroyed.
  device.decide({ type: 'DestroyCustody', keyIds: [], byTwoPeople }, state);
  const keyIds = Object.values(bootKeys).map(({ keyId }) => keyId);
  for (const keyId of keyIds) await ctx.bootKeys.destroy(keyId).catch(unlessUnknown);
  await execute(ctx, device, deviceStream(uid), { type: 'DestroyCustody', keyIds, byTwoPeople }, by);
}

function unlessUnknown(error: unknown): void {
  if (!(error instanceof NusecError) || error.code !== 'KEY_NOT_FOUND') throw error;
}
