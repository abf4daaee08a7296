import type { Version } from '../domain/version.ts';
import { NusecError } from '../errors.ts';
import { areaHeadBytes, findTlv, readTlvItems, type Tlv, tlvMagic, tlvType } from './tlv.ts';
import { readVersion, writeVersion } from './version.ts';

/** MCUboot image: header (padded to its own length) | payload | [protected TLV area] | TLV area | anything.
 *  Source: MCUboot docs/design.md and bootutil/image.h (2.4.0); integers little endian. */

const imageMagic = 0x96f3b83d;
/** Bytes of the header proper; `headerBytes` of an image is at least this. */
export const minHeaderBytes = 32;
/** `ih_hdr_size` is 16 bits. */
export const maxHeaderBytes = 0xffff;

export const imageFlag = {
  encryptedAes128: 0x04,
  encryptedAes256: 0x08,
  nonBootable: 0x10,
  ramLoad: 0x20,
  romFixed: 0x100,
  compressedLzma1: 0x200,
  compressedLzma2: 0x400,
  compressedArmThumb: 0x800,
} as const;

export const encryptionFlags = imageFlag.encryptedAes128 | imageFlag.encryptedAes256;
export const compressionFlags = imageFlag.compressedLzma1 | imageFlag.compressedLzma2 | imageFlag.compressedArmThumb;

export type ImageHeader = {
  readonly loadAddress: number;
  /** Header with its padding: where the payload begins. */
  readonly headerBytes: number;
  /** 0 when there is no protected area. */
  readonly protectedTlvBytes: number;
  readonly payloadBytes: number;
  readonly flags: number;
  readonly version: Version;
};

/** Why an image is no image; the first five are the bootloader's words too. */
export type FormatFlaw = 'bad-magic' | 'header-invalid' | 'larger-than-slot' | 'tlv-area-invalid' | 'tlv-read-beyond-slot';

export type ImageTlvs = { readonly protectedTlvs: readonly Tlv[]; readonly tlvs: readonly Tlv[]; readonly endOffset: number };

/** Reads from a flash slot: undefined beyond it. */
export type SlotReader = { readonly slotBytes: number; readonly read: (offset: number, length: number) => Uint8Array | undefined };

/** A slot of `slotBytes` that holds `bytes` from its start and is erased (0xFF) after them. */
export function slotReader(bytes: Uint8Array, slotBytes: number): SlotReader {
  const read = (offset: number, length: number): Uint8Array | undefined => {
    if (offset + length > slotBytes) return undefined;
    if (offset + length <= bytes.length) return bytes.subarray(offset, offset + length);
    const out = new Uint8Array(length).fill(0xff);
    out.set(bytes.subarray(Math.min(offset, bytes.length)));
    return out;
  };
  return { slotBytes, read };
}

/** By its magic alone: what begins like an image is judged as one. */
export const isMcubootImage = (bytes: Uint8Array): boolean =>
  bytes.length >= 4 && new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true) === imageMagic;

/** @returns the header, or the flaw: sizes that overflow 32 bits or the slot (bootutil_loader.c `boot_check_header_valid`).
 *  A header shorter than itself is refused here; the bootloader would hash it regardless. */
export function readHeader(slot: SlotReader): ImageHeader | FormatFlaw {
  const bytes = slot.read(0, minHeaderBytes);
  if (!bytes) return 'bad-magic';
  const view = new DataView(bytes.buffer, bytes.byteOffset, minHeaderBytes);
  if (view.getUint32(0, true) !== imageMagic) return 'bad-magic';
  const header: ImageHeader = {
    loadAddress: view.getUint32(4, true),
    headerBytes: view.getUint16(8, true),
    protectedTlvBytes: view.getUint16(10, true),
    payloadBytes: view.getUint32(12, true),
    flags: view.getUint32(16, true),
    version: readVersion(bytes, 20),
  };
  const bodyBytes = bodyBytesOf(header);
  if (header.headerBytes < minHeaderBytes || bodyBytes > 0xffff_ffff) return 'header-invalid';
  return bodyBytes >= slot.slotBytes ? 'larger-than-slot' : header;
}

/** @returns the 32 bytes of the header proper */
export function writeHeader(header: ImageHeader): Uint8Array {
  const out = new Uint8Array(minHeaderBytes);
  const view = new DataView(out.buffer);
  view.setUint32(0, imageMagic, true);
  view.setUint32(4, header.loadAddress, true);
  view.setUint16(8, header.headerBytes, true);
  view.setUint16(10, header.protectedTlvBytes, true);
  view.setUint32(12, header.payloadBytes, true);
  view.setUint32(16, header.flags, true);
  out.set(writeVersion(header.version), 20);
  return out;
}

/** Bytes the image hash covers: header, payload, protected TLV area. */
export const bodyBytesOf = (header: ImageHeader): number => header.headerBytes + header.payloadBytes + header.protectedTlvBytes;

/** Both TLV areas, each filled exactly by its items; the protected length must equal the header's (tlv.c `bootutil_tlv_iter_begin`). */
export function readImageTlvs(slot: SlotReader, header: ImageHeader): ImageTlvs | FormatFlaw {
  const start = header.headerBytes + header.payloadBytes;
  const protectedArea = readArea(slot, start, tlvMagic.protected);
  if (protectedArea === 'tlv-read-beyond-slot') return protectedArea;
  const protectedBytes = protectedArea === 'tlv-area-invalid' ? 0 : protectedArea.totalBytes;
  if (protectedBytes !== header.protectedTlvBytes) return 'tlv-area-invalid';
  const area = readArea(slot, start + protectedBytes, tlvMagic.unprotected);
  if (typeof area === 'string') return area;
  const protectedTlvs = typeof protectedArea === 'string' ? [] : protectedArea.items;
  return { protectedTlvs, tlvs: area.items, endOffset: start + protectedBytes + area.totalBytes };
}

function readArea(slot: SlotReader, offset: number, magic: number) {
  const head = slot.read(offset, areaHeadBytes);
  if (!head) return 'tlv-read-beyond-slot';
  const view = new DataView(head.buffer, head.byteOffset, areaHeadBytes);
  const totalBytes = view.getUint16(2, true);
  if (view.getUint16(0, true) !== magic || totalBytes < areaHeadBytes) return 'tlv-area-invalid';
  const content = slot.read(offset + areaHeadBytes, totalBytes - areaHeadBytes);
  if (!content) return 'tlv-read-beyond-slot';
  const items = readTlvItems(content);
  return items ? { items, totalBytes } : 'tlv-area-invalid';
}

/** The hashed region of an image, in clear, taken apart again. */
export type ImageBody = { readonly header: ImageHeader; readonly payload: Uint8Array; readonly protectedTlvs: readonly Tlv[] };

/** @param body  header ‖ payload ‖ protected TLV area, and nothing after it @throws NusecError IMAGE_MALFORMED */
export function parseBody(body: Uint8Array): ImageBody {
  const header = readHeader(slotReader(body, body.length + 1));
  if (typeof header === 'string') throw new NusecError('IMAGE_MALFORMED', header);
  const payloadEnd = header.headerBytes + header.payloadBytes;
  const area = header.protectedTlvBytes === 0 ? undefined : readArea(slotReader(body, body.length), payloadEnd, tlvMagic.protected);
  const totalBytes = area === undefined ? 0 : typeof area === 'string' ? Number.NaN : area.totalBytes;
  if (totalBytes !== header.protectedTlvBytes || bodyBytesOf(header) !== body.length) {
    throw new NusecError('IMAGE_MALFORMED', 'tlv-area-invalid');
  }
  const protectedTlvs = typeof area === 'object' ? area.items : [];
  return { header, payload: body.subarray(header.headerBytes, payloadEnd), protectedTlvs };
}

/** Value of the SEC_CNT TLV; undefined when it is absent or not 4 bytes. */
export function securityCounterOf(image: Pick<ImageTlvs, 'protectedTlvs'>): number | undefined {
  const value = findTlv(image.protectedTlvs, tlvType.securityCounter);
  return value?.length === 4 ? new DataView(value.buffer, value.byteOffset, 4).getUint32(0, true) : undefined;
}

export type Dependency = { readonly imageId: number; readonly minVersion: Version };

/** @returns the DEPENDENCY TLVs, or undefined when one is not {u8 image id, 3 zero bytes, version[8]} */
export function dependenciesOf(image: Pick<ImageTlvs, 'protectedTlvs'>): readonly Dependency[] | undefined {
  const values = image.protectedTlvs.filter(tlv => tlv.type === tlvType.dependency).map(tlv => tlv.value);
  if (values.some(value => value.length !== 12)) return undefined;
  return values.map(value => ({ imageId: value[0] ?? 0, minVersion: readVersion(value, 4) }));
}
