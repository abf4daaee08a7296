import type { KeyObject } from 'node:crypto';
import { concat } from '../bytes.ts';
import { aesCtr, type EciesCurve, unwrapKey } from './ecies.ts';
import { encryptionFlags, type ImageHeader, type ImageTlvs, imageFlag } from './image.ts';
import { tlvType } from './tlv.ts';

/** What a bootloader needs to open encrypted images. */
export type Decryption = {
  readonly curve: EciesCurve;
  readonly privateKey: KeyObject;
  /** Set for a bootloader built for one AES size; absent: as the image's flags say. */
  readonly keyBits?: 128 | 256;
};

const encTlv = { 'P-256': tlvType.encEc256, X25519: tlvType.encX25519 } as const satisfies Record<EciesCurve, number>;

export const isEncrypted = (header: ImageHeader): boolean => (header.flags & encryptionFlags) !== 0;

/** @returns the content-encryption key from the first ENC TLV (encrypted.c `boot_enc_load`), or undefined when it does not unwrap */
export function contentKey(header: ImageHeader, image: ImageTlvs, decryption: Decryption): Uint8Array | undefined {
  const headerBits = (header.flags & imageFlag.encryptedAes256) !== 0 ? 256 : 128;
  const wrapped = [...image.protectedTlvs, ...image.tlvs].find(tlv => tlv.type === encTlv[decryption.curve])?.value;
  return wrapped && unwrapKey(decryption.curve, wrapped, decryption.privateKey, (decryption.keyBits ?? headerBits) / 8);
}

/** Encrypts or decrypts the payload inside header ‖ payload ‖ protected TLVs; the rest is never encrypted. */
export function cryptBody(header: ImageHeader, body: Uint8Array, cek: Uint8Array): Uint8Array {
  const end = header.headerBytes + header.payloadBytes;
  return concat(body.subarray(0, header.headerBytes), aesCtr(cek, body.subarray(header.headerBytes, end)), body.subarray(end));
}
