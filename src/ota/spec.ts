import { concat } from '../bytes.ts';
import { definedOf } from '../defined.ts';
import type { Version } from '../domain/version.ts';
import { NusecError } from '../errors.ts';
import {
  type Dependency,
  dependenciesOf,
  type ImageHeader,
  imageFlag,
  maxHeaderBytes,
  minHeaderBytes,
  parseBody,
  securityCounterOf,
} from './image.ts';
import { findTlv, maxAreaBytes, type Tlv, tlvMagic, tlvType, vendorTlvRange, writeTlvArea } from './tlv.ts';
import { isVersion, writeVersion } from './version.ts';

/** What an image is built from, and back from an image to it. */

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

export const defaultHeaderBytes = 0x200;
export const maxPayloadBytes = 16 * 1024 * 1024;
const uuidBytes = 16;
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
  return { payload, version: header.version, headerBytes: header.headerBytes, dependencies, extraTlvs, ...definedOf(optional) };
}

function encryptionBitsOf(header: ImageHeader): 128 | 256 | undefined {
  if ((header.flags & imageFlag.encryptedAes256) !== 0) return 256;
  return (header.flags & imageFlag.encryptedAes128) !== 0 ? 128 : undefined;
}

const isVendorType = (type: number): boolean => type >= vendorTlvRange.first && type <= vendorTlvRange.last && type !== tlvType.uidBinding;

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

/** The protected TLV area, in imgtool's order; empty when nothing is in it. */
export function protectedArea(spec: ImageSpec): Uint8Array {
  const tlvs = protectedTlvs(spec);
  if (tlvs.length === 0) return new Uint8Array(0);
  const totalBytes = tlvs.reduce((sum, tlv) => sum + 4 + tlv.value.length, 4);
  if (totalBytes > maxAreaBytes) throw new NusecError('IMAGE_REFUSED', 'the protected TLVs do not fit their area');
  return writeTlvArea(tlvMagic.protected, tlvs);
}

export function flagsOf(spec: ImageSpec): number {
  const encryption = spec.encryptionBits === 256 ? imageFlag.encryptedAes256 : spec.encryptionBits === 128 ? imageFlag.encryptedAes128 : 0;
  return encryption | (spec.ramAddress === undefined ? 0 : imageFlag.ramLoad) | (spec.romAddress === undefined ? 0 : imageFlag.romFixed);
}

/** @throws NusecError IMAGE_REFUSED when a value does not fit its field */
export function checkSpec(spec: ImageSpec): void {
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
