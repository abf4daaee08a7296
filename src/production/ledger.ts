import { equalBytes } from '../bytes.ts';
import { bool, type Codec, type CodecType, field, oneOf, optionalField, record, refine, text, uint } from '../cbor/schema.ts';
import type { KeyResolver } from '../cose/sign1.ts';
import { sha256 } from '../digest.ts';
import { NusecError } from '../errors.ts';
import { hash32, id16, u32, uid } from './fields.ts';
import { type SignedFormat, type Signer, signAs, verifyAs } from './signed.ts';

/** The programmer's ledger: every step that counts, numbered, linked by hash and signed with the programmer's AUTH key (I14, T2, T19). */

const firstLedgerNumber = 1;
/** The head of a ledger without records. */
const emptyLedgerHead: Uint8Array = new Uint8Array(32);
export const maxSegmentRecords = 256;
const _maxRecordBytes = 512;

const fields = record({
  number: field(1, uint(Number.MAX_SAFE_INTEGER, firstLedgerNumber)),
  type: field(2, oneOf({ import: 1, reserve: 2, commit: 3, void: 4, zeroise: 5, boot: 6 })),
  jobId: optionalField(3, id16),
  packageId: optionalField(4, id16),
  /** Units left of the package after this record. */
  remaining: optionalField(5, u32),
  uid: optionalField(6, uid),
  objId: optionalField(7, id16),
  grantId: optionalField(8, id16),
  receiptSha256: optionalField(9, hash32),
  previousSha256: field(10, hash32),
  /** Since the programmer started: programmers have no trusted clock. */
  uptimeSeconds: field(11, uint()),
  reason: optionalField(12, text(128)),
  /** Of a void: the chip is scrap, as far as the programmer knows. Records of older firmware do not say it. */
  scrap: optionalField(13, bool),
});
export type LedgerRecord = CodecType<typeof fields>;

/** What a record of each type must say. */
const required: Readonly<Record<LedgerRecord['type'], readonly (keyof LedgerRecord)[]>> = {
  import: ['jobId', 'packageId', 'remaining'],
  reserve: ['jobId', 'packageId', 'remaining', 'uid'],
  commit: ['jobId', 'packageId', 'remaining', 'uid', 'grantId', 'receiptSha256'],
  void: ['jobId', 'packageId', 'remaining', 'uid', 'reason'],
  zeroise: ['jobId', 'packageId', 'remaining'],
  boot: [],
};

const codec: Codec<LedgerRecord> = refine(fields, 'the fields of this type of record', value =>
  required[value.type].every(name => value[name] !== undefined),
);
const format: SignedFormat<LedgerRecord> = { type: 'application/nusec-ledger', codec };

/** @throws NusecError CBOR_MALFORMED when the record lacks a field of its type */
export const signLedgerRecord = (value: LedgerRecord, signer: Signer): Promise<Uint8Array> => signAs(format, value, signer);

/** The hash that the next record carries: SHA-256 over the whole signed record. */
export const ledgerHeadOf = (signedRecord: Uint8Array): Uint8Array => sha256(signedRecord);

/** The end of a ledger: the number that comes next and the hash it must link to. */
export type LedgerHead = { readonly nextNumber: number; readonly headSha256: Uint8Array };

export const emptyLedger: LedgerHead = { nextNumber: firstLedgerNumber, headSha256: emptyLedgerHead };

/** Verifies records: contiguous, hash-linked, signed (I14).
 *  @param records signed records, oldest first, at most 256
 *  @param head what they must follow; undefined: they may begin anywhere
 *  @returns the records read, and the new head
 *  @throws NusecError LEDGER_SIGNATURE (a record not genuine or not readable), LEDGER_GAP (missing, repeated, reordered, other history),
 *    BODY_TOO_LARGE */
export async function verifyLedgerSegment(
  records: readonly Uint8Array[],
  head: LedgerHead | undefined,
  resolveKey: KeyResolver,
): Promise<{ readonly records: readonly LedgerRecord[]; readonly head: LedgerHead }> {
  if (records.length > maxSegmentRecords) throw new NusecError('BODY_TOO_LARGE', `a segment has at most ${maxSegmentRecords} records`);
  const read = await Promise.all(records.map(bytes => readLedgerRecord(bytes, resolveKey)));
  const [oldest] = read;
  const begin = oldest && { nextNumber: oldest.number, headSha256: oldest.previousSha256 };
  let { nextNumber, headSha256 } = head ?? begin ?? emptyLedger;
  for (const [index, bytes] of records.entries()) {
    const entry = read[index];
    if (entry?.number !== nextNumber || !equalBytes(entry.previousSha256, headSha256)) {
      throw new NusecError('LEDGER_GAP', `record ${nextNumber} does not follow`);
    }
    nextNumber += 1;
    headSha256 = ledgerHeadOf(bytes);
  }
  return { records: read, head: { nextNumber, headSha256 } };
}

/** One record, at any position. @throws NusecError LEDGER_SIGNATURE (not genuine or not readable) */
export function readLedgerRecord(bytes: Uint8Array, resolveKey: KeyResolver): Promise<LedgerRecord> {
  return verifyAs(format, bytes, resolveKey).catch((error: unknown) => {
    throw error instanceof NusecError ? new NusecError('LEDGER_SIGNATURE', 'a ledger record is not genuine', { cause: error }) : error;
  });
}
