import { timingSafeEqual } from 'node:crypto';
import { sha256 } from '../../src/digest.ts';
import { NusecError } from '../../src/errors.ts';
import { DevAuthError } from '../../src/production/devauth/error.ts';
import type { DevAuthHandlers } from '../../src/production/devauth/responder.ts';
import { type Order, verifyOrder } from '../../src/production/order.ts';
import { otpMap } from '../../src/production/otpMap.ts';
import { signingKeysOf } from '../../src/production/trustBundle.ts';
import type { Seconds } from '../../src/times.ts';
import type { StageContext } from './board.ts';
import type { Chip } from './chip.ts';
import { type OrderNonce, receiptOf } from './handlers.ts';
import { trustBundleOf } from './trust.ts';

/** Executes orders of the owner (R96, T31): wipe and debug unlock. The order for a new key is in nextGeneration.ts. */

/** @param expected  `nonce`: the one that the order must name; only a wipe may come without one
 *  @throws NusecError ORDER_REFUSED, COSE_MALFORMED, COSE_SIGNATURE, CBOR_MALFORMED */
export async function checkedOrder(
  { chip }: StageContext,
  order: Uint8Array,
  expected: { readonly operation: Order['operation']; readonly nonce?: Uint8Array; readonly nowSeconds?: Seconds },
): Promise<Order> {
  const objId = chip.data.get('objId');
  if (!objId) throw new NusecError('ORDER_REFUSED', 'the device is not registered');
  return verifyOrder(order, { uid: chip.uid, objId, ...expected }, signingKeysOf(await trustBundleOf(chip), 'order'));
}

/** Signs the receipt, then erases keys and firmware permanently. @returns the receipt, to be sent after that */
export async function carryOutWipe(context: StageContext, nonce: Uint8Array): Promise<Uint8Array> {
  const receipt = await receiptOf(context, nonce, { lifeCycle: 'decommissioned', images: [] });
  context.chip.wipe();
  context.chip.sync();
  context.tell({ event: 'wiped' });
  return receipt;
}

/** A nonce serves once, whatever comes of it. @throws DevAuthError unauthenticated */
export function takeNonce(orderNonce: OrderNonce): Uint8Array {
  const nonce = orderNonce.current;
  orderNonce.current = undefined;
  if (!nonce) throw new DevAuthError('unauthenticated');
  return nonce;
}

/** Opens the debug port until the next start, on an order of two people and the unit's password. */
export function debugUnlockHandler(context: StageContext, orderNonce: OrderNonce): NonNullable<DevAuthHandlers['debugUnlock']> {
  return async ({ order, password }) => {
    await checkedOrder(context, order, { operation: 'debugUnlock', nonce: takeNonce(orderNonce) });
    if (!sameSecret(context.chip, password)) throw new DevAuthError('unauthenticated');
    context.chip.unlockDebug();
    context.tell({ event: 'debugUnlocked' });
    return { debugState: context.chip.debugState() };
  };
}

/** Whether SHA-256 of this password is what OTP 5 holds. A chip without one is never unlocked. */
function sameSecret({ otp }: Chip, password: Uint8Array): boolean {
  const { slot } = otpMap.deviceSecret;
  return otp.slot(slot) === 'burned' && timingSafeEqual(sha256(password), otp.read(slot));
}
