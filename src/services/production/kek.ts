import { timingSafeEqual } from 'node:crypto';
import { fromHex, toHex } from '../../bytes.ts';
import type { Actor } from '../../domain/actor.ts';
import { programmer, programmerStream } from '../../domain/programmer.ts';
import { pointOf } from '../../ecKey.ts';
import { NusecError } from '../../errors.ts';
import { type KekAgreement, kekConfirmation, kekKdf, kekNonceBytes } from '../../production/kek.ts';
import { type Context, execute } from '../base/context.ts';
import type { Machine } from '../identity/machines.ts';
import { programmerOf } from './programmers.ts';

/** AES_NuLink3 (R27–R34): agreed by ephemeral ECDH inside the keystore, used for packages only once the programmer has confirmed it.
 *  Every attempt has an epoch of its own, as a programmer never goes back to one; a key nobody confirmed is destroyed by the next attempt. */

export type KekAnswer = { readonly publicKey: Uint8Array; readonly nonce: Uint8Array; readonly mac: Uint8Array; readonly epoch: number };
type Pending = { readonly agreement: KekAgreement; readonly answer: KekAnswer };

const maxPending = 1000;
/** Agreements that wait for the programmer's confirmation. They do not outlive the processes: the programmer begins again. */
const pendingOf = new WeakMap<Context, Map<string, Pending>>();

/** To the other server processes. */
type Notices = {
  notify(topic: string, value: unknown): void;
  onNotice<Value>(topic: string, listener: (value: Value) => void): void;
};
const noticeTopic = 'key agreement';
const noticesOf = new WeakMap<Context, Notices>();

/** The halves of an agreement may come to different processes: what is between them, all of it public, is sent to all. The key itself is in the
 *  keystore, which they share. */
export function shareAgreements(ctx: Context, notices: Notices): void {
  noticesOf.set(ctx, notices);
  notices.onNotice<Pending>(noticeTopic, agreed => remember(ctx, toHex(agreed.agreement.progUid), agreed));
}

const kekId = (uid: string, epoch: number): string => `programmer-kek/${uid}/${epoch}`;

/** First half. The same request gets the same answer until it is confirmed.
 *  @param request.publicKey the programmer's ephemeral point, 65 bytes  @param request.nonce 16 bytes
 *  @throws NusecError BAD_REQUEST, KEY_REFUSED (not a point of P-256), STATE */
export async function agreeKek(ctx: Context, machine: Machine, request: { publicKey: Uint8Array; nonce: Uint8Array }): Promise<KekAnswer> {
  const pending = pendingMap(ctx);
  const known = pending.get(machine.id);
  const isSame =
    known !== undefined &&
    toHex(known.agreement.pointP) === toHex(request.publicKey) &&
    toHex(known.agreement.nonceP) === toHex(request.nonce);
  if (isSame) return known.answer;
  const { kek, status } = await programmerOf(ctx, machine.id);
  if (!['LOCKED', 'READY', 'SHIPPED', 'ACTIVE', 'RETURNED'].includes(status)) {
    throw new NusecError('STATE', `agreeing a key is not possible in state ${status}`);
  }
  const confirmed = kek?.epoch ?? 0;
  const unconfirmed = (await epochsOf(ctx, machine.id)).filter(epoch => epoch > confirmed);
  const epoch = Math.max(confirmed, ...unconfirmed) + 1;
  const agreed = await deriveKek(ctx, machine, request, epoch);
  for (const old of unconfirmed) await ctx.keystore.destroy(kekId(machine.id, old));
  remember(ctx, machine.id, agreed);
  noticesOf.get(ctx)?.notify(noticeTopic, agreed);
  return agreed.answer;
}

function remember(ctx: Context, uid: string, agreed: Pending): void {
  const pending = pendingMap(ctx);
  pending.delete(uid);
  if (pending.size >= maxPending) pending.delete(pending.keys().next().value ?? '');
  pending.set(uid, agreed);
}

async function deriveKek(
  ctx: Context,
  machine: Machine,
  request: { publicKey: Uint8Array; nonce: Uint8Array },
  epoch: number,
): Promise<Pending> {
  const ecdhId = `programmer-kek-ecdh/${machine.id}/${epoch}`;
  const stale = (await ctx.keystore.list()).some(key => key.id === ecdhId);
  if (stale) await ctx.keystore.destroy(ecdhId);
  const { publicKey } = await ctx.keystore.generate(ecdhId, 'P-256');
  try {
    const agreement: KekAgreement = {
      nonceP: request.nonce,
      nonceC: ctx.randomBytes(kekNonceBytes),
      pointP: request.publicKey,
      pointC: pointOf(publicKey ?? new Uint8Array()),
      progUid: fromHex(machine.id),
      certificateSha256: fromHex(machine.certificateSha256),
      epoch,
    };
    await ctx.keystore.derive(ecdhId, agreement.pointP, kekKdf(agreement), kekId(machine.id, epoch));
    const mac = await ctx.keystore.mac(kekId(machine.id, epoch), kekConfirmation('C', agreement));
    return { agreement, answer: { publicKey: agreement.pointC, nonce: agreement.nonceC, mac, epoch } };
  } finally {
    await ctx.keystore.destroy(ecdhId);
  }
}

/** Second half: the programmer shows that it has the key too. @param mac 32 bytes
 *  @throws NusecError NOT_FOUND (nothing was begun: begin again), KEY_REFUSED (not the same key) */
export async function confirmKek(ctx: Context, machine: Machine, epoch: number, mac: Uint8Array, by: Actor): Promise<void> {
  const { kek } = await programmerOf(ctx, machine.id);
  if (kek?.epoch === epoch) return;
  const known = pendingMap(ctx).get(machine.id);
  if (known?.agreement.epoch !== epoch) throw new NusecError('NOT_FOUND', `no agreement of epoch ${epoch} is under way`);
  const expected = await ctx.keystore.mac(kekId(machine.id, epoch), kekConfirmation('P', known.agreement));
  if (mac.length !== expected.length || !timingSafeEqual(mac, expected))
    throw new NusecError('KEY_REFUSED', 'the programmer has another key');
  await execute(ctx, programmer, programmerStream(machine.id), { type: 'AgreeKek', epoch, keyId: kekId(machine.id, epoch) }, by);
  pendingMap(ctx).delete(machine.id);
}

async function epochsOf(ctx: Context, uid: string): Promise<readonly number[]> {
  const prefix = kekId(uid, 0).slice(0, -1);
  return (await ctx.keystore.list()).flatMap(({ id }) => (id.startsWith(prefix) ? [Number(id.slice(prefix.length))] : []));
}

function pendingMap(ctx: Context): Map<string, Pending> {
  const known = pendingOf.get(ctx) ?? new Map<string, Pending>();
  pendingOf.set(ctx, known);
  return known;
}
