import { bytes, bytesUpTo, field, oneOf, record } from '../../cbor/schema.ts';
import { debugState, hash32, id16, lifeCycle } from '../fields.ts';
import { anywhere, define, inStages, onlySealed } from './command.ts';
import { ops } from './header.ts';

/** Commands on the state of the device: lock, receipt, reset, and the two that need an order signed by the owner (R43–R44, R96). */

export const maxReceiptBytes = 2048;
const maxOrderBytes = 1024;
const maxDevAuthTokenBytes = 4096;

const signedReceipt = record({ receipt: field(1, bytesUpTo(maxReceiptBytes, 1)) });

/** Write: closes the debug port and moves the life cycle on. Irreversible. */
export const lock = define({
  id: 8,
  op: ops.write,
  request: record({ debugState: field(1, debugState), lifeCycle: field(2, lifeCycle) }),
  response: record({ debugState: field(1, debugState), lifeCycle: field(2, lifeCycle) }),
  refusal: inStages('bl2'),
});

/** Read: a COSE_Sign1 receipt over the state, by the AUTH key, with the asker's nonce. */
export const receipt = define({
  id: 9,
  op: ops.read,
  request: record({ nonce: field(1, id16) }),
  response: signedReceipt,
  refusal: inStages('devauth', 'bl2', 'app'),
});

/** Read: a PSA attestation token with the asker's nonce (RFC 9783), of a device that gives such. */
export const attest = define({
  id: 15,
  op: ops.read,
  request: record({ nonce: field(1, hash32) }),
  response: record({ token: field(1, bytesUpTo(maxDevAuthTokenBytes, 1)) }),
  refusal: inStages('app'),
});

/** Write: answers, then restarts into the application or stays in the bootloader. */
export const reset = define({
  id: 12,
  op: ops.write,
  request: record({ mode: field(1, oneOf({ normal: 0, bootloader: 1 })) }),
  response: record({}),
  refusal: anywhere,
});

/** Write: erases keys and firmware on a signed `wipe` order (T31); the receipt carries the order's nonce. */
export const wipe = define({
  id: 13,
  op: ops.write,
  request: record({ order: field(1, bytesUpTo(maxOrderBytes, 1)) }),
  response: signedReceipt,
  refusal: onlySealed,
});

/** Write: opens the debug port until the next reset, on a signed `debugUnlock` order and the unit's password. */
export const debugUnlock = define({
  id: 14,
  op: ops.write,
  request: record({ order: field(1, bytesUpTo(maxOrderBytes, 1)), password: field(2, bytes(32)) }),
  response: record({ debugState: field(1, debugState) }),
  refusal: onlySealed,
});
