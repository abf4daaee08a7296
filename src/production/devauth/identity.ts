import { bytes, bytesUpTo, field, literal, oneOf, optionalField, record, refine, uint } from '../../cbor/schema.ts';
import { debugState, hash32, id16, lifeCycle, stage, u8, u32, uid, version } from '../fields.ts';
import { otpKindOf, otpKinds, otpSlotCount } from '../otpMap.ts';
import { anywhere, define, devauthOrSealed } from './command.ts';
import { ops } from './header.ts';

/** Commands that give a device its identity: who are you, make a key, sign a request, take certificates, burn hashes (R5–R17, R72–R79). */

const protocolVersion = 1;
const maxCriBytes = 2048;
const maxOrderBytes = 1024;
/** The largest object is the trust bundle. */
const maxPutBytes = 64 * 1024;
const maxPieceBytes = 32 * 1024;
/** COSE algorithms (RFC 9053): for signatures, and for the agreement of keys that images are encrypted under. */
const keyAlgorithms = { es256: -7, ecdhEs: -25 } as const;
const minEntropyBits = 256;
const maxKeySlot = 7;

/** Read: reports everything that is public about the device. The device's nonce goes into orders. */
export const hello = define({
  id: 0,
  op: ops.read,
  request: record({ version: field(1, literal(protocolVersion)), nonce: field(2, id16) }),
  response: record({
    version: field(1, literal(protocolVersion)),
    stage: field(2, stage),
    uid: field(3, uid),
    productId: field(4, u32),
    lifeCycle: field(5, lifeCycle),
    debugState: field(6, debugState),
    /** Bit n = slot n is burned. */
    otpMask: field(7, u8),
    firmwareVersion: field(8, version),
    securityCounter: field(9, u32),
    /** Longest CBOR map that the device takes or sends. */
    maxBodyBytes: field(10, uint(0xffff)),
    nonce: field(11, id16),
    objId: optionalField(12, id16),
  }),
  refusal: anywhere,
});

/** Write: makes a key inside the device: AUTH, or the one that images are encrypted for. Each only once, unless the device was erased; sealed and
 *  with a signed `rekey` order, the AUTH key of the next generation. A device that has no encryption key refuses the second with `bad-arg`. */
export const keygen = define({
  id: 1,
  op: ops.write,
  request: record({
    keySlot: field(1, uint(maxKeySlot)),
    algorithm: field(2, oneOf(keyAlgorithms)),
    minEntropyBits: field(3, uint(0xffff, minEntropyBits)),
    order: optionalField(4, bytesUpTo(maxOrderBytes, 1)),
  }),
  response: record({
    /** X ‖ Y */
    publicKey: field(1, bytes(64)),
    keySlot: field(2, uint(maxKeySlot)),
    entropyBits: field(3, uint(0xffff, minEntropyBits)),
  }),
  refusal: devauthOrSealed,
});

/** Write: signs a whole CertificationRequestInfo (RFC 2986 §4.1), never a hash: the device checks that it contains its own key and UID (T28). */
export const signCri = define({
  id: 2,
  op: ops.write,
  request: record({ cri: field(1, bytesUpTo(maxCriBytes, 1)) }),
  /** r ‖ s over SHA-256 of the request */
  response: record({ signature: field(1, bytes(64)) }),
  refusal: devauthOrSealed,
});

const putTypes = {
  deviceCertificate: 1,
  icaCertificate: 2,
  rootCertificate: 3,
  programmerCertificate: 4,
  objId: 5,
  bundle: 6,
  /** `unitObject` of production/unitData.ts. */
  unitData: 7,
} as const;
export type PutType = keyof typeof putTypes;

const putRequest = record({
  type: field(1, oneOf(putTypes)),
  offset: field(2, uint(maxPutBytes)),
  totalBytes: field(3, uint(maxPutBytes, 1)),
  data: field(4, bytesUpTo(maxPieceBytes, 1)),
  /** Of the whole object; in the first piece only. */
  sha256: optionalField(5, hash32),
});

/** Write: stores a certificate, the registration id, the trust bundle or unit data, in pieces. The first piece starts again. */
export const put = define({
  id: 3,
  op: ops.write,
  request: refine(
    putRequest,
    'a piece inside the object, with its hash at offset 0 only',
    ({ offset, totalBytes, data, sha256: hash }) => offset + data.length <= totalBytes && (offset === 0) === (hash !== undefined),
  ),
  response: record({ nextOffset: field(1, uint(maxPutBytes)) }),
  refusal: devauthOrSealed,
});

/** Write: burns one slot and reads it back. Bits only go from 0 to 1, so the same value again is no harm. */
export const otp = define({
  id: 4,
  op: ops.write,
  request: refine(
    record({ slot: field(1, uint(otpSlotCount - 1)), kind: field(2, oneOf(otpKinds)), value: field(3, bytes(32)) }),
    'the kind of that slot',
    ({ slot, kind }) => otpKindOf(slot) === kind,
  ),
  /** Of the slot as read back. */
  response: record({ sha256: field(1, hash32) }),
  refusal: devauthOrSealed,
});
