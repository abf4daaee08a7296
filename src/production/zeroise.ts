import { array, type CodecType, field, record, uint } from '../cbor/schema.ts';
import type { KeyResolver } from '../cose/sign1.ts';
import { id16, sha256, u32, uid } from './fields.ts';
import { type SignedFormat, type Signer, signAs, verifyAs } from './signed.ts';

/** Zeroise receipt: the programmer's word that the rest of the count and every cached image of a job are gone (RULE-19, R82), signed with its AUTH key. */

const maxImages = 16;

const zeroise = record({
  progUid: field(1, uid),
  jobId: field(2, id16),
  packageId: field(3, id16),
  /** Units that were left and can no longer be built. */
  erasedCount: field(4, u32),
  /** SHA-256 of each image that was erased. */
  erasedImages: field(5, array(sha256, maxImages)),
  /** Number and hash of the zeroise record, the last of the job. */
  ledgerNumber: field(6, uint()),
  ledgerHead: field(7, sha256),
  /** The server's nonce. */
  nonce: field(8, id16),
});
export type ZeroiseReceipt = CodecType<typeof zeroise>;

const format: SignedFormat<ZeroiseReceipt> = { type: 'application/nusec-zeroise', codec: zeroise };

export const signZeroiseReceipt = (value: ZeroiseReceipt, signer: Signer): Promise<Uint8Array> => signAs(format, value, signer);

/** @throws NusecError COSE_MALFORMED, COSE_SIGNATURE, CBOR_MALFORMED */
export const verifyZeroiseReceipt = (bytes: Uint8Array, programmerKeys: KeyResolver): Promise<ZeroiseReceipt> =>
  verifyAs(format, bytes, programmerKeys);
