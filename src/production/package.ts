import { createHash } from 'node:crypto';
import { concat, equalBytes, utf8 } from '../bytes.ts';
import { array, type CodecType, field, literal, oneOf, optionalField, record, text, uint } from '../cbor/schema.ts';
import { assembleEncrypt0, encodeEncrypt0Protected, encrypt0Aad, openEncrypt0, type Sealed } from '../cose/encrypt0.ts';
import type { KeyResolver } from '../cose/sign1.ts';
import { NusecError } from '../errors.ts';
import type { Seconds } from '../times.ts';
import { configWords, flags, hash32, id16, timeSeconds, tuple, u8, u32, uid, version } from './fields.ts';
import { type SignedFormat, type Signer, signAs, verifyAs } from './signed.ts';
import { uidRule } from './uidList.ts';
import { unitDataRule } from './unitData.ts';

/** Production package `*.njp`: how many units of which firmware one programmer may build, safe on any channel (R57–R63, RULE-6).
 *
 *      "NJP1" ‖ packageId[16] ‖ epoch u32 BE ‖ COSE_Encrypt0(COSE_Sign1(payload))
 *
 *  Encrypted under AES_NuLink3 of that programmer and epoch, signed inside by a key for packages. */

const magic = utf8('NJP1');
const headBytes = 24;
export const maxPackageBytes = 64 * 1024;
const maxImages = 16;
const contentKeyInfo = utf8('NuSEC NJP-1 CEK v1');
const outerType = 'application/nusec-njp';

/** What the programmer must do besides counting. */
const policyBits = { requireUidList: 1, lockDebug: 2, deployedLifeCycle: 4, requireSpdm: 8, verifyBootBeforeLock: 16 } as const;

const packageImage = record({
  id: field(1, u8),
  version: field(2, version),
  sha256: field(3, hash32),
  sizeBytes: field(4, u32),
  securityCounter: field(5, u32),
  format: field(6, oneOf({ mcuboot: 1, raw: 2 })),
});

const payload = record({
  version: field(1, literal(1)),
  packageId: field(2, id16),
  /** The token: no signed firmware without it (RULE-5). */
  jobId: field(3, id16),
  progUid: field(4, uid),
  /** Units that may be committed. */
  count: field(5, u32),
  /** Strictly rises per job and programmer (I13). */
  sequence: field(6, uint(Number.MAX_SAFE_INTEGER, 1)),
  issuedAtSeconds: field(7, timeSeconds),
  expiresAtSeconds: field(8, timeSeconds),
  images: field(9, array(packageImage, maxImages, 1)),
  uids: field(10, uidRule),
  /** Where the programmer finds the server, and the key that its TLS chain must end in. */
  server: field(11, tuple({ baseUrl: text(256), tlsRootKeySha256: hash32 })),
  policy: field(12, flags(policyBits)),
  vendorId: field(13, id16),
  classId: field(14, id16),
  /** Units that may be scrapped beyond the count. */
  scrapAllowance: field(15, u32),
  /** Lowest security counter that may be installed. */
  rollbackFloor: field(16, u32),
  /** The package that this one replaces. */
  supersedes: optionalField(17, id16),
  icaId: field(18, text(64)),
  otpMapVersion: field(19, u8),
  /** Values that each unit gets for itself. */
  unitData: optionalField(20, unitDataRule),
  /** What the chip reads at a reset before any code; absent: it stays as it came. */
  configWords: optionalField(21, configWords),
});
export type PackagePayload = CodecType<typeof payload>;

/** Every bit set: what the server asks for in each package. */
export const strictestPolicy: PackagePayload['policy'] = {
  requireUidList: true,
  lockDebug: true,
  deployedLifeCycle: true,
  requireSpdm: true,
  verifyBootBeforeLock: true,
};

/** Locking, SPDM and a bootloader that has proven itself before the lock are rules (RULE-14, I7), not choices: a package without one of these
 *  bits asks for less than a unit must have. */
export const loosensRules = ({ lockDebug, requireSpdm, verifyBootBeforeLock }: PackagePayload['policy']): boolean =>
  !(lockDebug && requireSpdm && verifyBootBeforeLock);

const format: SignedFormat<PackagePayload> = { type: 'application/nusec-njp-payload', codec: payload };

/** HKDF-SHA-256 parameters (RFC 5869) that make the content key from AES_NuLink3. */
type ContentKdf = { readonly salt: Uint8Array; readonly info: Uint8Array };

/** AES-256-GCM under HKDF(AES_NuLink3, kdf, 32); iv 12 bytes. @returns ciphertext ‖ tag[16] */
export type ContentSeal = (kdf: ContentKdf, iv: Uint8Array, aad: Uint8Array, plaintext: Uint8Array) => Promise<Uint8Array>;

/** The same, opening. @returns undefined when the tag does not fit */
export type ContentOpen = (kdf: ContentKdf, sealed: Sealed) => Uint8Array | undefined | Promise<Uint8Array | undefined>;

/** Signs and seals a package. The same input and signature give the same bytes, so a re-export keeps the stored file (never a second iv).
 *  @param iv 12 bytes, used once
 *  @throws NusecError CBOR_MALFORMED when the payload does not keep its limits, BODY_TOO_LARGE */
export async function sealPackage(
  content: { readonly payload: PackagePayload; readonly epoch: number; readonly iv: Uint8Array },
  signer: Signer,
  seal: ContentSeal,
): Promise<Uint8Array> {
  const { packageId, progUid } = content.payload;
  const head = encodeHead(packageId, content.epoch);
  const protectedBytes = encodeEncrypt0Protected({ kid: contentKeyId(progUid, content.epoch), type: outerType });
  const signed = await signAs(format, content.payload, signer);
  const ciphertext = await seal(contentKdf(packageId), content.iv, encrypt0Aad(protectedBytes, head), signed);
  const file = concat(head, assembleEncrypt0({ protectedBytes, iv: content.iv, ciphertext }));
  if (file.length > maxPackageBytes) throw new NusecError('BODY_TOO_LARGE', 'the package is too large');
  return file;
}

export type PackageReader = {
  /** AES_NuLink3 of an epoch, as an operation; undefined when this programmer has none of that epoch. */
  readonly contentOpenOf: (epoch: number) => ContentOpen | undefined;
  readonly progUid: Uint8Array;
  readonly packageKeys: KeyResolver;
  /** Absent where there is no trusted clock. */
  readonly nowSeconds?: Seconds;
  /** Sequence of the last package imported for this job, if any. */
  readonly lastSequence: (jobId: Uint8Array) => number | undefined;
};

/** Opens a package: head, epoch key, decryption, signature, addressee, expiry, sequence, in this order. Nothing is stored here.
 *  @throws NusecError PACKAGE_REFUSED with one constant text for whatever is not genuine or not mine (T4, T5, T6);
 *    PACKAGE_EXPIRED, PACKAGE_REPLAYED (T3, I13) for a genuine one that comes too late */
export async function openPackage(file: Uint8Array, reader: PackageReader): Promise<PackagePayload> {
  const opened = await authenticPayload(file, reader).catch((error: unknown) => {
    throw error instanceof NusecError ? refused() : error;
  });
  if (reader.nowSeconds !== undefined && reader.nowSeconds >= opened.expiresAtSeconds) {
    throw new NusecError('PACKAGE_EXPIRED', 'the package has expired');
  }
  if (opened.sequence <= (reader.lastSequence(opened.jobId) ?? 0)) {
    throw new NusecError('PACKAGE_REPLAYED', 'a package of this or a later sequence was imported before');
  }
  return opened;
}

async function authenticPayload(file: Uint8Array, reader: PackageReader): Promise<PackagePayload> {
  const { head, packageId, epoch } = decodeHead(file);
  const contentOpen = reader.contentOpenOf(epoch);
  if (!contentOpen) throw refused();
  const { plaintext, headers } = await openEncrypt0(file.slice(headBytes), {
    open: sealed => contentOpen(contentKdf(packageId), sealed),
    externalAad: head,
    expectedType: outerType,
  });
  const opened = await verifyAs(format, plaintext, reader.packageKeys);
  const isMine = equalBytes(opened.progUid, reader.progUid) && equalBytes(headers.kid ?? head, contentKeyId(reader.progUid, epoch));
  if (!isMine || !equalBytes(opened.packageId, packageId)) throw refused();
  return opened;
}

const refused = (): NusecError => new NusecError('PACKAGE_REFUSED', 'the package is refused');

function encodeHead(packageId: Uint8Array, epoch: number): Uint8Array {
  return concat(magic, packageId, u32be(epoch));
}

/** What a package shows to everybody; the rest is sealed. @throws NusecError PACKAGE_REFUSED when it is no package */
export function packageHead(file: Uint8Array): { readonly packageId: Uint8Array; readonly epoch: number } {
  const { packageId, epoch } = decodeHead(file);
  return { packageId, epoch };
}

function decodeHead(file: Uint8Array) {
  if (file.length < headBytes || file.length > maxPackageBytes || !equalBytes(file.subarray(0, 4), magic)) throw refused();
  const head = file.slice(0, headBytes);
  return { head, packageId: head.slice(4, 20), epoch: new DataView(head.buffer).getUint32(20) };
}

const contentKdf = (packageId: Uint8Array): ContentKdf => ({ salt: packageId, info: contentKeyInfo });

/** Names the key without naming the programmer: SHA-256(progUid ‖ epoch)[0..8]. */
const contentKeyId = (progUid: Uint8Array, epoch: number): Uint8Array =>
  new Uint8Array(
    createHash('sha256')
      .update(concat(progUid, u32be(epoch)))
      .digest(),
  ).slice(0, 8);

function u32be(value: number): Uint8Array {
  const out = new Uint8Array(4);
  new DataView(out.buffer).setUint32(0, value);
  return out;
}
