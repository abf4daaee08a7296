import { equalBytes } from '../bytes.ts';
import { array, type CodecType, field, oneOf, record, text } from '../cbor/schema.ts';
import type { KeyResolver } from '../cose/sign1.ts';
import { NusecError } from '../errors.ts';
import type { Seconds } from '../times.ts';
import { id16, timeSeconds, uid } from './fields.ts';
import { type SignedFormat, type Signer, signAs, verifyAs } from './signed.ts';

/** Order: an operation that a device executes only when the owner signed it for this device, this registration and this nonce (T31). */

const maxApprovers = 8;

const order = record({
  operation: field(1, oneOf({ wipe: 1, debugUnlock: 2, lock: 3, rekey: 4 })),
  uid: field(2, uid),
  objId: field(3, id16),
  /** The device's nonce (HELLO), so that an order serves once. */
  nonce: field(4, id16),
  expiresAtSeconds: field(5, timeSeconds),
  reason: field(6, text(128)),
  /** Who agreed; two for a debug unlock (I16). */
  approvers: field(7, array(text(64), maxApprovers)),
});
export type Order = CodecType<typeof order>;

const format: SignedFormat<Order> = { type: 'application/nusec-order', codec: order };
const fourEyes = 2;

export const signOrder = (value: Order, signer: Signer): Promise<Uint8Array> => signAs(format, value, signer);

/** The device's own state. `nowSeconds` is absent where there is no trusted clock. */
export type OrderExpectation = Pick<Order, 'operation' | 'uid' | 'objId'> & {
  /** Absent for an operation that a device can execute only once (wipe) and that was signed while it was offline. */
  readonly nonce?: Uint8Array;
  readonly nowSeconds?: Seconds;
};

/** @throws NusecError COSE_MALFORMED, COSE_SIGNATURE, CBOR_MALFORMED, ORDER_REFUSED (other device, registration, nonce or operation, expired,
 *    a debug unlock without two different approvers) */
export async function verifyOrder(bytes: Uint8Array, expected: OrderExpectation, orderKeys: KeyResolver): Promise<Order> {
  const value = await verifyAs(format, bytes, orderKeys);
  const isMine = equalBytes(value.uid, expected.uid) && equalBytes(value.objId, expected.objId);
  const isFresh = expected.nonce === undefined ? expected.operation === 'wipe' : equalBytes(value.nonce, expected.nonce);
  const isForMe = value.operation === expected.operation && isMine && isFresh;
  const isExpired = expected.nowSeconds !== undefined && expected.nowSeconds >= value.expiresAtSeconds;
  const isApproved = value.operation !== 'debugUnlock' || new Set(value.approvers).size >= fourEyes;
  if (!isForMe || isExpired || !isApproved) throw new NusecError('ORDER_REFUSED', 'the order is refused');
  return value;
}
