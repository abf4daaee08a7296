import { bytesUpTo, field, optionalField, record } from '../../cbor/schema.ts';
import { hash32, u8, u32, version } from '../fields.ts';
import { define, onlySealed } from './command.ts';
import { ops } from './header.ts';
import { maxReceiptBytes } from './state.ts';

/** Firmware, always inside an SPDM session (R54–R56, RULE-3, RULE-13): in the factory and for upgrades in the field. */

/** Body of one chunk; HELLO reports how much a device accepts in one message. */
const maxChunkBytes = 32 * 1024;

/** Of a signed job that permits an older version; it has to fit the message of a device. */
const maxPermitBytes = 32 * 1024;

/** Write: announces an image. The same image again resumes at the device's position; another one starts at 0. */
export const fwBegin = define({
  id: 5,
  op: ops.write,
  request: record({
    image: field(1, u8),
    sizeBytes: field(2, u32),
    sha256: field(3, hash32),
    version: field(4, version),
    securityCounter: field(5, u32),
    /** The signed job, where it permits an older version at the same counter. */
    permit: optionalField(6, bytesUpTo(maxPermitBytes, 1)),
  }),
  response: record({ resumeOffset: field(1, u32) }),
  refusal: onlySealed,
});

/** Write: one piece at exactly the next offset. */
export const fwChunk = define({
  id: 6,
  op: ops.write,
  request: record({ offset: field(1, u32), data: field(2, bytesUpTo(maxChunkBytes, 1)) }),
  response: record({ nextOffset: field(1, u32) }),
  refusal: onlySealed,
});

/** Write: all bytes are there; the device checks hash, signature, version and counter and answers with a receipt. */
export const fwEnd = define({
  id: 7,
  op: ops.write,
  request: record({ sha256: field(1, hash32) }),
  /** COSE_Sign1 as `verifyReceipt` reads it */
  response: record({ receipt: field(1, bytesUpTo(maxReceiptBytes, 1)) }),
  refusal: onlySealed,
});
