/** Type-length-value areas of an MCUboot image: the numbers and their plain codec.
 *  Source: MCUboot docs/design.md "Image format" and boot/bootutil/include/bootutil/image.h (2.4.0); all integers little endian. */

/** `it_magic` of the two areas; the protected one is covered by the image hash. */
export const tlvMagic = { unprotected: 0x6907, protected: 0x6908 } as const;

export const tlvType = {
  keyHash: 0x01,
  publicKey: 0x02,
  sha256: 0x10,
  sha384: 0x11,
  sha512: 0x12,
  rsa2048Signature: 0x20,
  ecdsa224Signature: 0x21,
  ecdsaSignature: 0x22,
  rsa3072Signature: 0x23,
  ed25519Signature: 0x24,
  pureSignature: 0x25,
  encRsa2048: 0x30,
  encKeyWrap: 0x31,
  encEc256: 0x32,
  encX25519: 0x33,
  encX25519Sha512: 0x34,
  dependency: 0x40,
  securityCounter: 0x50,
  bootRecord: 0x60,
  vendorUuid: 0x74,
  classUuid: 0x75,
  /** Ours, from the vendor range 0x00A0–0x00FF: the 16-byte UID of the only device this image is for. */
  uidBinding: 0xa4,
} as const;

const tlvNames = new Map<number, string>(Object.entries(tlvType).map(([name, type]) => [type, name]));
/** A type that is not known here is its number. */
export const tlvName = (type: number): string => tlvNames.get(type) ?? `0x${type.toString(16).padStart(4, '0')}`;

/** Vendor range a caller may use for TLVs of its own (image.h: 0xxxA0–0xxxFF; here the first page). */
export const vendorTlvRange = { first: 0xa0, last: 0xff } as const;

/** TLVs that are allowed outside the protected area when the bootloader's allow list is on (image_validate.c, `allowed_unprot_tlvs`). */
const allowedUnprotected: ReadonlySet<number> = new Set([
  tlvType.keyHash,
  tlvType.publicKey,
  tlvType.sha256,
  tlvType.sha384,
  tlvType.sha512,
  tlvType.rsa2048Signature,
  tlvType.ecdsa224Signature,
  tlvType.ecdsaSignature,
  tlvType.rsa3072Signature,
  tlvType.ed25519Signature,
  tlvType.encRsa2048,
  tlvType.encKeyWrap,
  tlvType.encEc256,
  tlvType.encX25519,
]);

/** A build for pure signatures also takes the marker that says so. */
export const isAllowedUnprotected = (type: number, pure: boolean): boolean =>
  allowedUnprotected.has(type) || (pure && type === tlvType.pureSignature);

export type Tlv = { readonly type: number; readonly value: Uint8Array };

/** Bytes of an area's head {u16 magic, u16 total} and of an item's head {u16 type, u16 length}. */
export const areaHeadBytes = 4;
const itemHeadBytes = 4;

/** An area's length field is 16 bits and counts its own head. */
export const maxAreaBytes = 0xffff;

/** @param items  bytes after the area's head @returns the items, or undefined when they do not fill the bytes exactly */
export function readTlvItems(items: Uint8Array): readonly Tlv[] | undefined {
  const view = new DataView(items.buffer, items.byteOffset, items.byteLength);
  const found: Tlv[] = [];
  let at = 0;
  while (at < items.length) {
    if (items.length - at < itemHeadBytes) return undefined;
    const end = at + itemHeadBytes + view.getUint16(at + 2, true);
    if (end > items.length) return undefined;
    found.push({ type: view.getUint16(at, true), value: items.subarray(at + itemHeadBytes, end) });
    at = end;
  }
  return found;
}

/** @returns the whole area, head included; the caller keeps it under `maxAreaBytes` */
export function writeTlvArea(magic: number, items: readonly Tlv[]): Uint8Array {
  const area = new Uint8Array(items.reduce((sum, { value }) => sum + itemHeadBytes + value.length, areaHeadBytes));
  const view = new DataView(area.buffer);
  view.setUint16(0, magic, true);
  view.setUint16(2, area.length, true);
  let at = areaHeadBytes;
  for (const { type, value } of items) {
    view.setUint16(at, type, true);
    view.setUint16(at + 2, value.length, true);
    area.set(value, at + itemHeadBytes);
    at += itemHeadBytes + value.length;
  }
  return area;
}

/** Value of the last TLV of a type, as the bootloader would end up with it. */
export const findTlv = (tlvs: readonly Tlv[], type: number): Uint8Array | undefined => tlvs.findLast(tlv => tlv.type === type)?.value;
