import { equalBytes } from '../bytes.ts';
import { array, bytes, type CodecType, field, optionalField, record } from '../cbor/schema.ts';
import { NusecError } from '../errors.ts';
import { type ConfigWords, configImage } from './configWords.ts';
import { configWords, debugState, hash32, id16, lifeCycle, stage, tuple, u8, u32, uid, version } from './fields.ts';
import { type SignedFormat, type Signer, signAs, verifyAs } from './signed.ts';

/** Receipt: what a target says of itself, signed with its AUTH key. It proves the lock (T29), the installed firmware (RULE-18) and a wipe. */

const maxImages = 8;

const receipt = record({
  uid: field(1, uid),
  /** Absent before the registration id was provisioned. */
  objId: optionalField(2, id16),
  /** The asker's nonce; in the receipt of a wipe, the nonce of the order. */
  nonce: field(3, id16),
  stage: field(4, stage),
  lifeCycle: field(5, lifeCycle),
  debugState: field(6, debugState),
  otpMask: field(7, u8),
  images: field(8, array(tuple({ image: u8, version, sha256: hash32, securityCounter: u32 }), maxImages)),
  /** SHA-256 of the device certificate (DER); absent when there is none. */
  certificateSha256: optionalField(9, hash32),
  bootCount: field(10, u32),
  /** SHA-256 of `publicOtp`: not only that slots are burned, but with what. Absent from bootloaders that are older than it. */
  otpSha256: optionalField(11, hash32),
  /** X ‖ Y of the key that images are encrypted for (P-256); absent when the device has none. */
  encryptionKey: optionalField(12, bytes(64)),
  /** SHA-256 of the unit data that the device keeps; absent when it has none. */
  unitDataSha256: optionalField(13, hash32),
  /** CONFIG0 to CONFIG3 as they are in the chip; absent when nothing was written there. */
  configWords: optionalField(14, configWords),
  /** SHA-256 of OTP slot 5, which holds a hash itself; absent when it is not burned, and from bootloaders that are older than it. */
  secretOtpSha256: optionalField(15, hash32),
});
export type Receipt = CodecType<typeof receipt>;

const format: SignedFormat<Receipt> = { type: 'application/nusec-receipt', codec: receipt };

export const signReceipt = (value: Receipt, signer: Signer): Promise<Uint8Array> => signAs(format, value, signer);

export type ReceiptExpectation = {
  /** AUTH key of the target: SubjectPublicKeyInfo (91 bytes) or point (65 bytes). */
  readonly publicKey: Uint8Array;
  readonly uid: Uint8Array;
  readonly nonce: Uint8Array;
  readonly objId?: Uint8Array;
};

/** @throws NusecError COSE_MALFORMED, COSE_SIGNATURE, CBOR_MALFORMED, RECEIPT_REFUSED (other unit, other registration, other nonce) */
export async function verifyReceipt(bytes: Uint8Array, expected: ReceiptExpectation): Promise<Receipt> {
  const value = await verifyAs(format, bytes, () => expected.publicKey);
  const isFresh = equalBytes(value.uid, expected.uid) && equalBytes(value.nonce, expected.nonce);
  const isGeneration = expected.objId === undefined || (value.objId !== undefined && equalBytes(value.objId, expected.objId));
  if (!isFresh || !isGeneration) throw new NusecError('RECEIPT_REFUSED', 'the receipt is of something else');
  return value;
}

/** Whether the receipt proves that the debug port is closed (RULE-14, T29). */
export const provesLock = (value: Receipt): boolean => value.debugState === 'locked';

/** Whether the receipt proves that this very image is installed (I18). */
export const provesImage = (value: Receipt, image: number, imageSha256: Uint8Array): boolean =>
  value.images.some(entry => entry.image === image && equalBytes(entry.sha256, imageSha256));

/** Whether the receipt proves these configuration words. */
export const provesConfig = (value: Receipt, words: ConfigWords): boolean =>
  value.configWords !== undefined && equalBytes(configImage(value.configWords), configImage(words));
