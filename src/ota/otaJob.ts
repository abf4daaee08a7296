import { equalBytes } from '../bytes.ts';
import {
  array,
  bytes,
  bytesUpTo,
  type CodecType,
  decodeAs,
  encodeAs,
  field,
  literal,
  optionalField,
  record,
  refine,
  text,
  uint,
} from '../cbor/schema.ts';
import { type KeyResolver, type RawSigner, sign1, verifySign1 } from '../cose/sign1.ts';
import { sha256 } from '../digest.ts';
import { hash32, id16, timeSeconds, u32, uid, version } from '../production/fields.ts';
import type { Seconds } from '../times.ts';

/** The signed order to install one image on one device: COSE_Sign1 (ES256) over a deterministic CBOR map. It says what comes before a
 *  byte of it comes, and names every block by its hash, so that a wrong block is found, and only that block is fetched again (R92–R95). */

export const jobContentType = 'application/nusec-ota-job';

/** Limits of a job. A block with its tag and message head fits a packet of 128 KiB. */
const minBlockBytes = 256;
export const maxBlockBytes = 64 * 1024;
const maxJobBlocks = 4096;
export const blockHashBytes = 32;
const maxDependencies = 8;
const [minApprovers, maxApprovers] = [2, 4];
const maxNameChars = 100;

const uuid = bytes(16);
const dependency = record({ imageId: field(1, uint(0xff)), minVersion: field(2, version) });

const jobFields = record({
  format: field(1, literal(1)),
  otaJobId: field(2, id16),
  uid: field(3, uid),
  /** MCUboot image hash: what the device must measure in the end. */
  imageHash: field(4, hash32),
  /** Length of the file as it is delivered: body and trailer, encrypted or not. */
  imageBytes: field(5, uint(maxBlockBytes * maxJobBlocks, 1)),
  version: field(6, version),
  securityCounter: field(7, u32),
  blockBytes: field(8, uint(maxBlockBytes, minBlockBytes)),
  /** SHA-256 of each block, one after the other. */
  blockHashes: field(9, bytesUpTo(maxJobBlocks * blockHashBytes, blockHashBytes)),
  expiresAtSeconds: field(10, timeSeconds),
  /** Strictly rises per device. */
  sequence: field(11, uint()),
  dependencies: field(12, array(dependency, maxDependencies)),
  vendorUuid: field(13, uuid),
  classUuid: field(14, uuid),
  /** Permit for an older version at the same counter: who planned it and who approved it. Absent where the version rises. */
  downgradeApprovers: optionalField(15, array(text(maxNameChars), maxApprovers, minApprovers)),
});

const jobCodec = refine(jobFields, 'one hash per block', job => job.blockHashes.length === blockCount(job) * blockHashBytes);

export type OtaJob = CodecType<typeof jobFields>;

/** Blocks of a job; the last one may be shorter. */
export const blockCount = (job: Pick<OtaJob, 'imageBytes' | 'blockBytes'>): number => Math.ceil(job.imageBytes / job.blockBytes);

/** @param kid  names the key that signs jobs @returns COSE_Sign1 @throws NusecError CBOR_MALFORMED when a value breaks a limit */
export const signJob = (job: OtaJob, kid: Uint8Array, sign: RawSigner): Promise<Uint8Array> =>
  sign1({ kid, type: jobContentType, payload: encodeAs(jobCodec, job) }, sign);

export type SignedJob = { readonly job: OtaJob; readonly jobDigest: Uint8Array };

/** @returns the job and the digest that the block key is bound to @throws NusecError COSE_MALFORMED, COSE_SIGNATURE, CBOR_MALFORMED */
export async function verifyJob(signed: Uint8Array, resolveKey: KeyResolver): Promise<SignedJob> {
  const { payload } = await verifySign1(signed, { resolveKey, expectedType: jobContentType });
  return { job: decodeAs(jobCodec, payload), jobDigest: jobDigestOf(signed) };
}

/** SHA-256 of the signed job. It fixes the content, block by block. */
export const jobDigestOf = (signed: Uint8Array): Uint8Array => sha256(signed);

export type JobRefusal = 'other-device' | 'other-product' | 'expired' | 'replayed' | 'rollback' | 'too-large';

/** What the device knows of itself. */
export type JobTarget = {
  readonly uid: Uint8Array;
  readonly vendorUuid: Uint8Array;
  readonly classUuid: Uint8Array;
  readonly securityCounter: number;
  readonly slotBytes: number;
  /** The newest job taken so far; the same one may be resumed. */
  readonly lastJob?: { readonly sequence: number; readonly otaJobId: Uint8Array };
  /** Absent on a device without a clock. */
  readonly nowSeconds?: Seconds;
};

/** The device's own judgement of a job with a valid signature, before the first block (T12, T13, I9). */
export function judgeJob(job: OtaJob, target: JobTarget): JobRefusal | undefined {
  if (!equalBytes(job.uid, target.uid)) return 'other-device';
  if (!equalBytes(job.vendorUuid, target.vendorUuid) || !equalBytes(job.classUuid, target.classUuid)) return 'other-product';
  if (target.nowSeconds !== undefined && target.nowSeconds >= job.expiresAtSeconds) return 'expired';
  if (isReplay(job, target.lastJob)) return 'replayed';
  if (job.securityCounter < target.securityCounter) return 'rollback';
  return job.imageBytes > target.slotBytes ? 'too-large' : undefined;
}

function isReplay(job: OtaJob, last: JobTarget['lastJob']): boolean {
  if (!last || job.sequence > last.sequence) return false;
  return job.sequence < last.sequence || !equalBytes(job.otaJobId, last.otaJobId);
}
