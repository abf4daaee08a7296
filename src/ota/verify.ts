import { equalBytes } from '../bytes.ts';
import { sha256 } from '../digest.ts';
import type { Version } from '../domain/version.ts';
import { contentKey, cryptBody, type Decryption, isEncrypted } from './decrypt.ts';
import {
  bodyBytesOf,
  compressionFlags,
  encryptionFlags,
  type FormatFlaw,
  type ImageHeader,
  type ImageTlvs,
  imageFlag,
  readHeader,
  readImageTlvs,
  type SlotReader,
  securityCounterOf,
  slotReader,
} from './image.ts';
import { checkSignature, type SignatureFlaw, type SignaturePolicy } from './signature.ts';
import { findTlv, isAllowedUnprotected, type Tlv, tlvType } from './tlv.ts';

/** The bootloader's judgement of an image: the same answer as MCUboot 2.4.0's `boot_validate_slot`, and the reason.
 *  Stricter in two points that only a signer could reach: a header shorter than 32 bytes, and signatures that are not strict DER (OpenSSL
 *  compares them with their own encoding). */

export type BootPolicy = {
  readonly signature: SignaturePolicy;
  /** Size of the slot the image is written to; what the file does not fill is erased flash. */
  readonly slotBytes: number;
  /** End of the slot that belongs to the swap trailer. */
  readonly trailerBytes?: number;
  /** `primary`: where the bootloader keeps images in clear; nothing is decrypted there. Default `secondary`. */
  readonly slot?: 'primary' | 'secondary';
  readonly decryption?: Decryption;
  /** The bootloader decrypts, but its key is in another machine: for images in clear, in the primary slot. */
  readonly isKeyElsewhere?: boolean;
  /** The device's counter; absent: a bootloader without hardware rollback protection. */
  readonly securityCounter?: number;
  /** The highest counter the device can hold (MCUBOOT_HW_ROLLBACK_PROT_COUNTER_LIMITED). */
  readonly maxSecurityCounter?: number;
  /** 16 bytes each; set: the image must carry the same (MCUBOOT_UUID_VID, MCUBOOT_UUID_CID). */
  readonly vendorUuid?: Uint8Array;
  readonly classUuid?: Uint8Array;
  /** 16 bytes; set: an image bound to another UID is refused. */
  readonly uid?: Uint8Array;
};

export type VerdictReason =
  | FormatFlaw
  | SignatureFlaw
  | 'non-bootable-flag'
  | 'encrypted-but-no-enc-key-configured'
  | 'compressed-not-supported'
  | 'image-overlaps-trailer-or-too-large'
  | 'enc-key-unwrap-failed'
  | 'hash-tlv-missing'
  | 'hash-tlv-wrong-algorithm'
  | 'hash-mismatch'
  | 'tlv-not-allowed-in-unprotected-area'
  | 'security-counter-missing'
  | 'rollback-security-counter-too-low'
  | 'security-counter-exhausted'
  | 'wrong-vendor'
  | 'wrong-class'
  | 'wrong-uid';

export type ImageInfo = ImageTlvs & {
  readonly header: ImageHeader;
  readonly version: Version;
  readonly securityCounter: number | undefined;
  /** SHA-256 of `body`: the measurement of this image. */
  readonly imageHash: Uint8Array;
  /** header ‖ payload in clear ‖ protected TLV area. */
  readonly body: Uint8Array;
};

/** What an image uses and no bootloader of ours can: the one word for people, beside the reason that the bootloader gives. */
export const unsupportedFeatures = [
  'unsupported-sha384',
  'unsupported-sha512',
  'unsupported-rsa',
  'unsupported-p224',
  'unsupported-hmac512',
  'unsupported-key-wrap',
] as const;
export type UnsupportedFeature = (typeof unsupportedFeatures)[number];

export type Verdict =
  | { readonly ok: true; readonly info: ImageInfo }
  | {
      readonly ok: false;
      readonly reason: VerdictReason;
      /** Set when this is why, whatever check it fails first. A hash of SHA-384 is that of a P-384 image. */
      readonly unsupported?: UnsupportedFeature;
    };

/** @param bytes  the file as it would be written to the slot @returns what the bootloader would say; never throws */
export function verifyImage(bytes: Uint8Array, policy: BootPolicy): Verdict {
  const slot = slotReader(bytes, policy.slotBytes);
  const image = openImage(slot, policy);
  if (typeof image === 'string') return refusal(slot, image);
  const reason =
    checkHash(image, policy) ??
    checkAllowList(image, policy) ??
    checkSignature(image, policy.signature) ??
    checkCounter(image, policy) ??
    checkProduct(image, policy);
  return reason ? refusal(slot, reason) : { ok: true, info: image };
}

/** Reasons that an unknown algorithm hides behind. */
const hiding: ReadonlySet<VerdictReason> = new Set([
  'hash-tlv-wrong-algorithm',
  'hash-tlv-missing',
  'enc-key-unwrap-failed',
  'unknown-signing-key',
  'signature-tlv-missing',
  'key-tlv-missing',
]);
const unsupportedTypes: ReadonlyMap<number, UnsupportedFeature> = new Map([
  [tlvType.sha384, 'unsupported-sha384'],
  [tlvType.sha512, 'unsupported-sha512'],
  [tlvType.rsa2048Signature, 'unsupported-rsa'],
  [tlvType.rsa3072Signature, 'unsupported-rsa'],
  [tlvType.encRsa2048, 'unsupported-rsa'],
  [tlvType.ecdsa224Signature, 'unsupported-p224'],
  [tlvType.encX25519Sha512, 'unsupported-hmac512'],
  [tlvType.encKeyWrap, 'unsupported-key-wrap'],
]);

function refusal(slot: SlotReader, reason: VerdictReason): Verdict {
  const unsupported = hiding.has(reason) ? unsupportedIn(slot) : undefined;
  return { ok: false, reason, ...(unsupported !== undefined && { unsupported }) };
}

function unsupportedIn(slot: SlotReader): UnsupportedFeature | undefined {
  const header = readHeader(slot);
  if (typeof header === 'string') return undefined;
  const tlvs = readImageTlvs(slot, header);
  if (typeof tlvs === 'string') return undefined;
  return allTlvs(tlvs).flatMap(({ type }) => unsupportedTypes.get(type) ?? [])[0];
}

/** Shape, flags and size, then the body in clear. */
function openImage(slot: SlotReader, policy: BootPolicy): ImageInfo | VerdictReason {
  const header = readHeader(slot);
  if (typeof header === 'string') return header;
  const flaw = checkFlags(header, policy);
  if (flaw) return flaw;
  const tlvs = readImageTlvs(slot, header);
  if (typeof tlvs === 'string') return tlvs;
  if (tlvs.endOffset > policy.slotBytes - (policy.trailerBytes ?? 0)) return 'image-overlaps-trailer-or-too-large';
  const body = clearBody(slot, header, tlvs, policy);
  if (!body) return 'enc-key-unwrap-failed';
  const imageHash = sha256(body);
  return { header, ...tlvs, version: header.version, securityCounter: securityCounterOf(tlvs), imageHash, body };
}

function checkFlags(header: ImageHeader, policy: BootPolicy): VerdictReason | undefined {
  if ((header.flags & imageFlag.nonBootable) !== 0) return 'non-bootable-flag';
  if (isEncrypted(header) && !policy.decryption && !(policy.isKeyElsewhere && policy.slot === 'primary'))
    return 'encrypted-but-no-enc-key-configured';
  if ((header.flags & encryptionFlags) === encryptionFlags) return 'header-invalid';
  return (header.flags & compressionFlags) !== 0 ? 'compressed-not-supported' : undefined;
}

function clearBody(slot: SlotReader, header: ImageHeader, tlvs: ImageTlvs, policy: BootPolicy): Uint8Array | undefined {
  const body = slot.read(0, bodyBytesOf(header));
  if (!body || !isEncrypted(header) || policy.slot === 'primary' || !policy.decryption) return body;
  const cek = contentKey(header, tlvs, policy.decryption);
  return cek && cryptBody(header, body, cek);
}

const allTlvs = (image: ImageTlvs): readonly Tlv[] => [...image.protectedTlvs, ...image.tlvs];

/** A pure signature covers the image itself; then no hash TLV is read. */
function checkHash(image: ImageInfo, policy: BootPolicy): VerdictReason | undefined {
  if (policy.signature.algorithm === 'Ed25519-pure') return undefined;
  const tlvs = allTlvs(image);
  const hashes = tlvs.filter(tlv => tlv.type === tlvType.sha256);
  const otherHash = tlvs.some(tlv => tlv.type === tlvType.sha384 || tlv.type === tlvType.sha512);
  if (hashes.length === 0) return otherHash ? 'hash-tlv-wrong-algorithm' : 'hash-tlv-missing';
  return hashes.every(tlv => equalBytes(tlv.value, image.imageHash)) ? undefined : 'hash-mismatch';
}

function checkAllowList(image: ImageInfo, policy: BootPolicy): VerdictReason | undefined {
  const pure = policy.signature.algorithm === 'Ed25519-pure';
  return image.tlvs.every(tlv => isAllowedUnprotected(tlv.type, pure)) ? undefined : 'tlv-not-allowed-in-unprotected-area';
}

function checkCounter(image: ImageInfo, policy: BootPolicy): VerdictReason | undefined {
  const { securityCounter: deviceCounter, maxSecurityCounter } = policy;
  if (deviceCounter === undefined) return undefined;
  const counters = image.protectedTlvs.filter(tlv => tlv.type === tlvType.securityCounter).map(readCounter);
  if (counters.length === 0 || counters.includes(undefined)) return 'security-counter-missing';
  if (counters.some(counter => (counter ?? 0) < deviceCounter)) return 'rollback-security-counter-too-low';
  const exhausted = counters.some(counter => (counter ?? 0) > (maxSecurityCounter ?? Number.POSITIVE_INFINITY));
  return exhausted ? 'security-counter-exhausted' : undefined;
}

const readCounter = (tlv: Tlv): number | undefined => securityCounterOf({ protectedTlvs: [tlv] });

function checkProduct(image: ImageInfo, policy: BootPolicy): VerdictReason | undefined {
  const carries = (type: number, wanted: Uint8Array | undefined): boolean =>
    !wanted || equalBytes(findTlv(image.protectedTlvs, type) ?? new Uint8Array(0), wanted);
  if (!carries(tlvType.vendorUuid, policy.vendorUuid)) return 'wrong-vendor';
  if (!carries(tlvType.classUuid, policy.classUuid)) return 'wrong-class';
  const bound = findTlv(image.protectedTlvs, tlvType.uidBinding);
  return bound && policy.uid && !equalBytes(bound, policy.uid) ? 'wrong-uid' : undefined;
}
