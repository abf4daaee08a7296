import { createHash } from 'node:crypto';
import { concat } from '../bytes.ts';
import type { Version } from '../domain/version.ts';
import { derToRaw } from '../ecdsa.ts';
import { NusecError } from '../errors.ts';
import { cryptBody } from './decrypt.ts';
import {
  bodyBytesOf,
  type Dependency,
  dependenciesOf,
  encryptionFlags,
  type ImageHeader,
  imageFlag,
  maxHeaderBytes,
  minHeaderBytes,
  parseBody,
  securityCounterOf,
  writeHeader,
} from './image.ts';
import { findTlv, maxAreaBytes, type Tlv, tlvMagic, tlvType, vendorTlvRange, writeTlvArea } from './tlv.ts';
import { isVersion, writeVersion } from './version.ts';

/** Building of MCUboot images: first a body that all devices share, then per device a trailer with its signature.
 *  image = body ‖ trailer. Byte for byte what imgtool 2.4.0 makes of the same inputs. */

export type ImageSpec = {
  readonly payload: Uint8Array;
  readonly version: Version;
  readonly securityCounter?: number;
  /** Where the payload begins (vector table alignment); default `defaultHeaderBytes`. */
  readonly headerBytes?: number;
  /** Run from this RAM address (RAM_LOAD), or built for this flash address (ROM_FIXED); at most one of them. */
  readonly ramAddress?: number;
  readonly romAddress?: number;
  readonly dependencies?: readonly Dependency[];
  /** CBOR of the BOOT_RECORD TLV, opaque here. */
  readonly bootRecord?: Uint8Array;
  /** 16 bytes each. */
  readonly vendorUuid?: Uint8Array;
  readonly classUuid?: Uint8Array;
  /** 16 bytes: the only device that may take the image. The body is then not shared. */
  readonly uidBinding?: Uint8Array;
  /** Protected TLVs of the caller's own, types 0xA0–0xFF. */
  readonly extraTlvs?: readonly Tlv[];
  /** Sets the encrypted flag and pads the payload with zeros to 16 bytes; the body stays in clear until `encryptBody`. */
  readonly encryptionBits?: 128 | 256;
};

/** header ‖ payload in clear ‖ protected TLV area, and its SHA-256: the reference measurement (RFC 9334 reference value). */
export type UnsignedImage = { readonly header: ImageHeader; readonly body: Uint8Array; readonly imageHash: Uint8Array };

export const defaultHeaderBytes = 0x200;
export const maxPayloadBytes = 16 * 1024 * 1024;
const uuidBytes = 16;
/** imgtool fills header padding with the erased value of flash. */
const erased = 0xff;

/** @throws NusecError IMAGE_REFUSED when a value does not fit its field */
export function buildImage(spec: ImageSpec): UnsignedImage {
  checkSpec(spec);
  const payload = spec.encryptionBits ? padTo16(spec.payload) : spec.payload;
  const tlvs = protectedTlvs(spec);
  const area = tlvs.length === 0 ? new Uint8Array(0) : writeProtected(tlvs);
  const header: ImageHeader = {
    loadAddress: spec.romAddress ?? spec.ramAddress ?? 0,
    headerBytes: spec.headerBytes ?? defaultHeaderBytes,
    protectedTlvBytes: area.length,
    payloadBytes: payload.length,
    flags: flagsOf(spec),
    version: spec.version,
  };
  const body = new Uint8Array(bodyBytesOf(header)).fill(erased, 0, header.headerBytes);
  body.set(writeHeader(header));
  body.set(payload, header.headerBytes);
  body.set(area, header.headerBytes + payload.length);
  return { header, body, imageHash: referenceHash(body) };
}

/** The measurement a device reports when it runs this body: SHA-256 over header ‖ payload in clear ‖ protected TLVs. 32 bytes. */
export const referenceHash = (body: Uint8Array): Uint8Array => new Uint8Array(createHash('sha256').update(body).digest());

/** The message a hash-then-sign ECDSA P-256 key signs: its SHA-256 is the image hash, which is what MCUboot's signature is over. */
export const signInput = (image: Pick<UnsignedImage, 'body'>): Uint8Array => image.body;

export type TrailerParts = {
  readonly imageHash: Uint8Array;
  /** SubjectPublicKeyInfo DER of the signing key: whole in the image (`HW_KEY` bootloaders) or as its SHA-256. */
  readonly publicKey: Uint8Array;
  readonly keyForm: 'whole' | 'hash';
  /** ECDSA P-256 over the image hash, strict DER {r, s}. */
  readonly signature: Uint8Array;
  /** Value of ENC_EC256 (`wrapKey`) for an encrypted image. */
  readonly encTlv?: Uint8Array;
};

/** What differs from device to device: the unprotected TLV area. image = body ‖ trailer.
 *  @throws NusecError IMAGE_REFUSED when the signature is not DER */
export function deviceTrailer(parts: TrailerParts): Uint8Array {
  if (!derToRaw(parts.signature, 32)) throw new NusecError('IMAGE_REFUSED', 'the signature is not DER {r, s} of P-256');
  const key: Tlv =
    parts.keyForm === 'whole'
      ? { type: tlvType.publicKey, value: parts.publicKey }
      : { type: tlvType.keyHash, value: createHash('sha256').update(parts.publicKey).digest() };
  const enc = parts.encTlv ? [{ type: tlvType.encEc256, value: parts.encTlv }] : [];
  const signature = { type: tlvType.ecdsaSignature, value: parts.signature };
  return writeTlvArea(tlvMagic.unprotected, [{ type: tlvType.sha256, value: parts.imageHash }, key, signature, ...enc]);
}

export const attachTrailer = (body: Uint8Array, trailer: Uint8Array): Uint8Array => concat(body, trailer);

/** Ciphertext body of an image built with `encryptionBits`, to be shared by all devices of a release.
 *  @param cek  16 or 32 fresh random bytes, as `encryptionBits` says. Never for two firmwares: the counter always starts at 0, so the
 *    same key on another payload gives both away.
 *  @throws NusecError IMAGE_REFUSED when flags and key length differ */
export function encryptBody(image: UnsignedImage, cek: Uint8Array): Uint8Array {
  const flag = cek.length === 32 ? imageFlag.encryptedAes256 : imageFlag.encryptedAes128;
  if ((cek.length !== 16 && cek.length !== 32) || (image.header.flags & encryptionFlags) !== flag) {
    throw new NusecError('IMAGE_REFUSED', 'the content key does not fit the encryption flag of the image');
  }
  return cryptBody(image.header, image.body, cek);
}

/** What an image body was built from, so that it can be built again with a change: `buildImage({...specOf(body), encryptionBits: 256})`
 *  is the encrypted variant of a release (another flag, so another hash: keep both as reference values).
 *  @throws NusecError IMAGE_MALFORMED */
export function specOf(body: Uint8Array): ImageSpec {
  const { header, payload, protectedTlvs } = parseBody(body);
  const value = (type: number) => findTlv(protectedTlvs, type);
  const dependencies = dependenciesOf({ protectedTlvs });
  if (!dependencies) throw new NusecError('IMAGE_MALFORMED', 'a dependency is not 12 bytes');
  const optional = {
    securityCounter: securityCounterOf({ protectedTlvs }),
    ramAddress: (header.flags & imageFlag.ramLoad) !== 0 ? header.loadAddress : undefined,
    romAddress: (header.flags & imageFlag.romFixed) !== 0 ? header.loadAddress : undefined,
    bootRecord: value(tlvType.bootRecord),
    vendorUuid: value(tlvType.vendorUuid),
    classUuid: value(tlvType.classUuid),
    uidBinding: value(tlvType.uidBinding),
    encryptionBits: encryptionBitsOf(header),
  };
  const extraTlvs = protectedTlvs.filter(tlv => isVendorType(tlv.type));
  return { payload, version: header.version, headerBytes: header.headerBytes, dependencies, extraTlvs, ...dropUndefined(optional) };
}

function encryptionBitsOf(header: ImageHeader): 128 | 256 | undefined {
  if ((header.flags & imageFlag.encryptedAes256) !== 0) return 256;
  return (header.flags & imageFlag.encryptedAes128) !== 0 ? 128 : undefined;
}

const isVendorType = (type: number): boolean => type >= vendorTlvRange.first && type <= vendorTlvRange.last && type !== tlvType.uidBinding;

type Defined<T> = { [K in keyof T]?: Exclude<T[K], undefined> };
const dropUndefined = <T extends object>(record: T): Defined<T> =>
  Object.fromEntries(Object.entries(record).filter(([, value]) => value !== undefined)) as Defined<T>;

/** In imgtool's order. */
function protectedTlvs(spec: ImageSpec): readonly Tlv[] {
  const optional = (type: number, value: Uint8Array | undefined): readonly Tlv[] => (value ? [{ type, value }] : []);
  return [
    ...optional(tlvType.securityCounter, spec.securityCounter === undefined ? undefined : u32(spec.securityCounter)),
    ...optional(tlvType.bootRecord, spec.bootRecord),
    ...(spec.dependencies ?? []).map(dependency => ({ type: tlvType.dependency, value: writeDependency(dependency) })),
    ...optional(tlvType.vendorUuid, spec.vendorUuid),
    ...optional(tlvType.classUuid, spec.classUuid),
    ...optional(tlvType.uidBinding, spec.uidBinding),
    ...(spec.extraTlvs ?? []),
  ];
}

const writeDependency = (dependency: Dependency): Uint8Array =>
  concat(Uint8Array.of(dependency.imageId, 0, 0, 0), writeVersion(dependency.minVersion));

function writeProtected(tlvs: readonly Tlv[]): Uint8Array {
  const totalBytes = tlvs.reduce((sum, tlv) => sum + 4 + tlv.value.length, 4);
  if (totalBytes > maxAreaBytes) throw new NusecError('IMAGE_REFUSED', 'the protected TLVs do not fit their area');
  return writeTlvArea(tlvMagic.protected, tlvs);
}

function flagsOf(spec: ImageSpec): number {
  const encryption = spec.encryptionBits === 256 ? imageFlag.encryptedAes256 : spec.encryptionBits === 128 ? imageFlag.encryptedAes128 : 0;
  return encryption | (spec.ramAddress === undefined ? 0 : imageFlag.ramLoad) | (spec.romAddress === undefined ? 0 : imageFlag.romFixed);
}

function checkSpec(spec: ImageSpec): void {
  const headerBytes = spec.headerBytes ?? defaultHeaderBytes;
  const uuids = [spec.vendorUuid, spec.classUuid, spec.uidBinding];
  const numbers = [spec.securityCounter, spec.ramAddress, spec.romAddress];
  const flaw =
    (spec.payload.length === 0 && 'the payload is empty') ||
    (spec.payload.length > maxPayloadBytes && `the payload is longer than ${maxPayloadBytes} bytes`) ||
    (!(Number.isInteger(headerBytes) && headerBytes >= minHeaderBytes && headerBytes <= maxHeaderBytes) &&
      'the header length is out of range') ||
    (!isVersion(spec.version) && 'the version does not fit') ||
    (spec.ramAddress !== undefined && spec.romAddress !== undefined && 'an image is for RAM or for flash, not both') ||
    (numbers.some(value => value !== undefined && !isU32(value)) && 'counter and address are 32-bit numbers') ||
    (uuids.some(uuid => uuid && uuid.length !== uuidBytes) && 'vendor, class and UID are 16 bytes') ||
    ((spec.extraTlvs ?? []).some(tlv => !isVendorType(tlv.type)) && 'TLVs of your own have types 0xA0 to 0xFF') ||
    ((spec.dependencies ?? []).some(dependency => !isDependency(dependency)) && 'a dependency does not fit');
  if (flaw) throw new NusecError('IMAGE_REFUSED', flaw);
}

const isU32 = (value: number): boolean => Number.isInteger(value) && value >= 0 && value <= 0xffff_ffff;

const isDependency = ({ imageId, minVersion }: Dependency): boolean =>
  Number.isInteger(imageId) && imageId >= 0 && imageId <= 0xff && isVersion(minVersion);

function u32(value: number): Uint8Array {
  const out = new Uint8Array(4);
  new DataView(out.buffer).setUint32(0, value, true);
  return out;
}

function padTo16(payload: Uint8Array): Uint8Array {
  return payload.length % 16 === 0 ? payload : concat(payload, new Uint8Array(16 - (payload.length % 16)));
}
