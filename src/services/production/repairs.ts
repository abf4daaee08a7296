import { toHex } from '../../bytes.ts';
import { sha256Hex } from '../../digest.ts';
import type { Actor } from '../../domain/actor.ts';
import { device, deviceStream } from '../../domain/device.ts';
import type { DeviceCommand } from '../../domain/deviceCommands.ts';
import { requireNextGeneration, requireRepairBy, unlockContent } from '../../domain/deviceRepair.ts';
import { currentCertificate, type LivingDevice } from '../../domain/deviceState.ts';
import { programmerStream, programmer as programmers, requireActiveProgrammer } from '../../domain/programmer.ts';
import { importKey } from '../../ecKey.ts';
import { NusecError } from '../../errors.ts';
import { type Order, signOrder, verifyOrder } from '../../production/order.ts';
import { verifyReceipt } from '../../production/receipt.ts';
import { returnReceiptNonce, returnSessionNonce } from '../../production/returnProof.ts';
import { requirePolicy } from '../../spdm/policy.ts';
import { secondsOf } from '../../times.ts';
import { authorityOf, ownKeysFor, signerFor } from '../authority/authority.ts';
import { chainOf } from '../authority/issuingCa.ts';
import { trustBundleFor } from '../authority/olderRoots.ts';
import { currentTrustBundle } from '../authority/trustBundle.ts';
import { type Parts, watchKey } from '../base/alarms.ts';
import { type Approval, approve } from '../base/approval.ts';
import { asked } from '../base/askedDevices.ts';
import { type Condition, type Context, execute, executeIf, newHexId, nowIso, reader } from '../base/context.ts';
import { idBytesOf, livingDevice } from '../base/livingDevice.ts';
import { watchProof } from '../base/programmerProof.ts';
import { askedSpdm, wirePolicy } from '../field/attestationPolicy.ts';
import { type WiredIdentity, wiredIdentity } from '../field/wiredIdentity.ts';
import { certifyDevice } from '../identity/enrolment.ts';
import { storedCertificate } from '../identity/storedCertificate.ts';
import type { Revocations } from '../revocation/revocations.ts';
import { putRevocationInForce } from '../revocation/revokeDevice.ts';
import { encryptionKeyIn, requireLocked } from './unitSteps.ts';
import { unlockPassword } from './unlockPassword.ts';
import { provenSession } from './wiredSession.ts';

/** Repair: a device is taken out of use, its debug port may be unlocked once, and it returns to service as a new generation with new key and new
 *  registration id. People decide; the programmer that was named carries it out. Each step can be taken again and ends the same. */

export type RepairParts = Parts & { readonly revocations: Revocations };

const nonceBytes = 16;
/** An order is used immediately: the device is on the wires. */
const orderLifetimeSeconds = 900;

/** Its certificates are on hold, here when this returns. @param wish.programmer the one that will serve it
 *  @throws NusecError NOT_FOUND, DEVICE_STATE, PROGRAMMER_NOT_ACTIVE */
export async function takeForRepair(
  { ctx, revocations }: RepairParts,
  uid: string,
  wish: { readonly reason: string; readonly programmer: string },
  by: Actor,
): Promise<void> {
  await executeIf(ctx, isActive(wish.programmer), device, deviceStream(uid), { type: 'TakeForRepair', ...wish, by }, by);
  await inForce(ctx, revocations, await livingDevice(ctx, uid));
}

/** @throws NusecError NOT_FOUND, DEVICE_STATE (not in repair, or a chip without an unlock password) */
export const requestDebugUnlock = (ctx: Context, uid: string, reason: string, by: Actor): Promise<void> =>
  change(ctx, uid, { type: 'RequestDebugUnlock', reason, by, now: nowIso(ctx) }, by);

/** @throws NusecError NOT_FOUND, DEVICE_STATE, FOUR_EYES_REQUIRED (I16), CONFLICT (not what was seen) */
export async function approveDebugUnlock(ctx: Context, uid: string, by: Actor, approval?: Approval): Promise<void> {
  await approve(
    ctx,
    {
      decider: device,
      stream: deviceStream(uid),
      content: async () => unlockContent(await livingDevice(ctx, uid)),
      command: content => ({ type: 'ApproveDebugUnlock' as const, by, now: nowIso(ctx), content }),
    },
    by,
    approval,
  );
}

/** The next generation gets its registration id. @throws NusecError NOT_FOUND, DEVICE_STATE */
export const orderReturn = (ctx: Context, uid: string, by: Actor): Promise<void> =>
  change(ctx, uid, { type: 'OrderReturn', objId: newHexId(ctx), by }, by);

async function change(ctx: Context, uid: string, command: DeviceCommand, by: Actor): Promise<void> {
  await execute(ctx, device, deviceStream(uid), command, by);
}

export type RepairView = {
  readonly status: string;
  readonly generation: number;
  readonly programmer: string | null;
  readonly unlock: 'none' | 'requested' | 'approved' | 'disclosed';
  /** SHA-256 of what the approval of the unlock approves. */
  readonly contentSha256?: string;
  readonly returning: 'none' | 'ordered' | 'certified';
};

/** How far a repair is. @throws NusecError NOT_FOUND */
export async function repairView(ctx: Context, uid: string): Promise<RepairView> {
  const state = await livingDevice(ctx, uid);
  const { status, generation, repair } = state;
  const { unlock, next } = repair ?? {};
  const opened = unlock?.orderSha256 ? 'disclosed' : unlock?.approvedBy ? 'approved' : 'requested';
  return {
    status,
    generation,
    programmer: repair?.programmer ?? null,
    unlock: unlock === undefined ? 'none' : opened,
    ...(unlock !== undefined && { contentSha256: sha256Hex(unlockContent(state)) }),
    returning: next === undefined ? 'none' : next.certificate === undefined ? 'ordered' : 'certified',
  };
}

/** For the programmer: which identity the device shows now, and which one it will have.
 *  @throws NusecError NOT_FOUND, DEVICE_STATE, FORBIDDEN, PROGRAMMER_NOT_ACTIVE */
export async function deviceInRepair(
  parts: Parts,
  programmer: string,
  uid: string,
): Promise<{ readonly objId: string; readonly identity: WiredIdentity; readonly nextObjId?: string; readonly next?: WiredIdentity }> {
  const { ctx } = parts;
  const state = await given(parts, programmer, uid);
  const { objId, repair } = state;
  const next = repair?.next;
  return {
    objId,
    identity: await wiredIdentity(ctx, state, requireCertificate(currentCertificate(state))),
    ...(next && { nextObjId: next.objId }),
    ...(next?.certificate && { next: await wiredIdentity(ctx, state, next.certificate) }),
  };
}

/** Order and password for the device on the programmer's wires, once in a repair. The same question, after a lost answer, gets the same order.
 *  @param nonce the device's, of its last HELLO
 *  @throws NusecError FOUR_EYES_REQUIRED, PASSWORD_DISCLOSED, and as deviceInRepair */
export async function unlockOrder(
  parts: Parts,
  programmer: string,
  uid: string,
  nonce: Uint8Array,
  by: Actor,
): Promise<{ readonly order: Uint8Array; readonly password: Uint8Array }> {
  const { ctx } = parts;
  const state = await given(parts, programmer, uid);
  const unlock = state.repair?.unlock;
  const made = await sameOrder(ctx, state, unlock?.orderSha256, nonce);
  const command = { type: 'OrderDebugUnlock', programmer } as const;
  // Refused before anything is signed.
  if (made === undefined) device.decide({ ...command, orderSha256: '' }, state);
  const approvers = [unlock?.requestedBy ?? '', unlock?.approvedBy ?? ''];
  const order = made ?? (await signedOrder(ctx, state, { operation: 'debugUnlock', nonce, approvers }));
  const password = await unlockPassword(ctx, state.unlockKeyId ?? '', uid);
  const orderSha256 = await ctx.blobs.put(order);
  await executeIf(ctx, isActive(programmer), device, deviceStream(uid), { ...command, orderSha256 }, by);
  return { order, password };
}

async function sameOrder(
  ctx: Context,
  state: LivingDevice,
  sha256: string | undefined,
  nonce: Uint8Array,
): Promise<Uint8Array | undefined> {
  if (sha256 === undefined) return undefined;
  const order = await ctx.blobs.get(sha256);
  const nowSeconds = secondsOf(ctx.clock().getTime());
  const expected = { operation: 'debugUnlock', ...idBytesOf(state), nonce, nowSeconds } as const;
  const isSame = await verifyOrder(order, expected, ownKeysFor(await authorityOf(ctx), 'order')).then(
    () => true,
    () => false,
  );
  return isSame ? order : undefined;
}

/** The order that lets the device make the key of its next generation. @throws NusecError DEVICE_STATE (return not ordered), and as deviceInRepair */
export async function rekeyOrder(
  parts: Parts,
  programmer: string,
  uid: string,
  nonce: Uint8Array,
): Promise<{ readonly order: Uint8Array; readonly objId: string }> {
  const state = await given(parts, programmer, uid);
  const { objId } = requireNextGeneration(state);
  return { objId, order: await signedOrder(parts.ctx, state, { operation: 'rekey', nonce, approvers: [] }) };
}

async function signedOrder(ctx: Context, state: LivingDevice, wish: Pick<Order, 'operation' | 'nonce' | 'approvers'>): Promise<Uint8Array> {
  if (wish.nonce.length !== nonceBytes) throw new NusecError('BAD_REQUEST', `a nonce has ${nonceBytes} bytes`);
  const expiresAtSeconds = secondsOf(ctx.clock().getTime()) + orderLifetimeSeconds;
  const value: Order = { ...wish, ...idBytesOf(state), expiresAtSeconds, reason: 'repair' };
  return signOrder(value, await signerFor(ctx, await authorityOf(ctx), 'order'));
}

/** Certificate of the next generation. `bundles`: what the device needs to trust its authorities, in this order.
 *  @throws NusecError CSR_…, WEAK_OR_CLONED_KEY, CONFLICT (another key than before), and as deviceInRepair */
export async function certifyNextGeneration(
  { ctx, alarms }: Parts,
  programmer: string,
  uid: string,
  csr: Uint8Array,
  by: Actor,
): Promise<WiredIdentity & { readonly bundles: readonly Uint8Array[] }> {
  const state = await given({ ctx, alarms }, programmer, uid);
  const issued = await watchKey(alarms, uid, () => certifyDevice(ctx, uid, csr, by, isActive(programmer)));
  const authorities = await authorityOf(ctx);
  const known = sha256Hex(chainOf(authorities, requireCertificate(currentCertificate(state)).icaId).root);
  const root = sha256Hex(issued.root);
  const first = await trustBundleFor(ctx, authorities, [known], 0);
  const newest = root === known ? [] : [await currentTrustBundle(ctx, authorities, root)];
  const certified = await livingDevice(ctx, uid);
  const { certificate } = requireNextGeneration(certified);
  const spdm = wirePolicy(await askedSpdm(ctx, certified, requireCertificate(certificate)));
  return { ...issued, spdm, bundles: [...(first ? [first.bundle] : []), ...newest] };
}

/** The new identity proves itself: the bootloader is locked, holds the new certificate, and answers in a session with its key. The old certificates
 *  are superseded, here when this returns.
 *  @throws NusecError RECEIPT_REFUSED, COSE_…, SPDM_…, CHAIN_REFUSED, and as deviceInRepair */
export async function returnToService(
  { ctx, alarms, revocations }: RepairParts,
  programmer: string,
  uid: string,
  proof: { readonly objId: string; readonly receipt: Uint8Array; readonly evidence: Uint8Array },
  by: Actor,
): Promise<{ readonly status: string }> {
  const before = await asked({ ctx, alarms }, programmer, uid, () => livingDevice(ctx, uid));
  if (before.objId === proof.objId) return { status: before.status };
  const state = await given({ ctx, alarms }, programmer, uid);
  const next = requireNextGeneration(state);
  const own = requireCertificate(next.certificate);
  const { certificateSha256 } = own;
  const certificate = await storedCertificate(ctx, certificateSha256);
  const ids = idBytesOf({ uid, objId: next.objId });
  const expected = { publicKey: certificate.spki, ...ids, nonce: returnReceiptNonce(ids.objId) };
  const { spdm, publicKey } = await askedSpdm(ctx, state, own);
  const session = { leaf: certificate.der, leafKey: importKey(certificate.spki), publicKey, nonce: returnSessionNonce(ids.objId), uid };
  const { receipt, negotiated } = await watchProof(alarms, programmer, `of ${uid}`, async () => {
    const shown = await verifyReceipt(proof.receipt, expected);
    requireLocked(shown);
    const holds = shown.certificateSha256 !== undefined && toHex(shown.certificateSha256) === certificateSha256;
    if (!holds || shown.stage !== 'bl2' || shown.lifeCycle !== 'deployed')
      throw new NusecError('RECEIPT_REFUSED', 'the receipt does not prove the next generation');
    return { receipt: shown, negotiated: await provenSession(proof.evidence, session) };
  });
  requirePolicy(spdm, negotiated);
  await ctx.blobs.put(proof.evidence);
  const receiptSha256 = await ctx.blobs.put(proof.receipt);
  const certified = encryptionKeyIn(receipt, receiptSha256);
  if (certified !== undefined) await executeIf(ctx, isActive(programmer), device, deviceStream(uid), certified, by);
  const command = { type: 'ReturnToService', objId: next.objId, receiptSha256, by } as const;
  const { state: after } = await executeIf(ctx, isActive(programmer), device, deviceStream(uid), command, by);
  await inForce(ctx, revocations, await livingDevice(ctx, uid));
  return { status: after.status };
}

/** A device that this programmer, which is in use, was given for repair. */
async function given(parts: Parts, programmer: string, uid: string): Promise<LivingDevice> {
  const { ctx } = parts;
  await isActive(programmer)(reader(ctx));
  return asked(parts, programmer, uid, async () => {
    const state = await livingDevice(ctx, uid);
    requireRepairBy(state, programmer);
    return state;
  });
}

const isActive =
  (uid: string): Condition =>
  async read =>
    void requireActiveProgrammer(await read(programmers, programmerStream(uid)));

function requireCertificate<C>(certificate: C | undefined): C {
  if (certificate === undefined) throw new NusecError('DEVICE_STATE', 'the device has no certificate');
  return certificate;
}

const inForce = (ctx: Context, revocations: Revocations, { certificates }: LivingDevice): Promise<void> =>
  putRevocationInForce(ctx, revocations, certificates);
