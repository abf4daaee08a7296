import { concat, unwritten } from '../bytes.ts';
import { p256Spki } from '../cose/publicKey.ts';
import { sha256 } from '../digest.ts';
import { derToRaw } from '../ecdsa.ts';
import { NusecError } from '../errors.ts';
import { cryptBody } from './decrypt.ts';
import { bodyBytesOf, encryptionFlags, type ImageHeader, imageFlag, writeHeader } from './image.ts';
import { checkSpec, defaultHeaderBytes, flagsOf, type ImageSpec, protectedArea } from './spec.ts';
import { type Tlv, tlvMagic, tlvType, writeTlvArea } from './tlv.ts';

/** Building of MCUboot images: first a body that all devices share, then per device a trailer with its signature.
 *  image = body ‖ trailer. Byte for byte what imgtool 2.4.0 makes of the same inputs. */

/** header ‖ payload in clear ‖ protected TLV area, and its SHA-256: the reference measurement (RFC 9334 reference value). */
export type UnsignedImage = { readonly header: ImageHeader; readonly body: Uint8Array; readonly imageHash: Uint8Array };

/** imgtool fills header padding with the erased value of flash. */
const erased = 0xff;

/** @throws NusecError IMAGE_REFUSED when a value does not fit its field */
export function buildImage(spec: ImageSpec): UnsignedImage {
  checkSpec(spec);
  const payload = spec.encryptionBits ? padTo16(spec.payload) : spec.payload;
  const area = protectedArea(spec);
  const header: ImageHeader = {
    loadAddress: spec.romAddress ?? spec.ramAddress ?? 0,
    headerBytes: spec.headerBytes ?? defaultHeaderBytes,
    protectedTlvBytes: area.length,
    payloadBytes: payload.length,
    flags: flagsOf(spec),
    version: spec.version,
  };
  const body = unwritten(bodyBytesOf(header)).fill(erased, 0, header.headerBytes);
  body.set(writeHeader(header));
  body.set(payload, header.headerBytes);
  body.set(area, header.headerBytes + payload.length);
  return { header, body, imageHash: referenceHash(body) };
}

/** The measurement a device reports when it runs this body: SHA-256 over header ‖ payload in clear ‖ protected TLVs. 32 bytes. */
export const referenceHash = (body: Uint8Array): Uint8Array => sha256(body);

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
 *  @throws NusecError IMAGE_REFUSED when the signature is not DER, KEY_REFUSED when the key is not a P-256 key */
export function deviceTrailer(parts: TrailerParts): Uint8Array {
  if (!derToRaw(parts.signature, 32)) throw new NusecError('IMAGE_REFUSED', 'the signature is not DER {r, s} of P-256');
  const spki = p256Spki(parts.publicKey);
  const key: Tlv = parts.keyForm === 'whole' ? { type: tlvType.publicKey, value: spki } : { type: tlvType.keyHash, value: sha256(spki) };
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

function padTo16(payload: Uint8Array): Uint8Array {
  return payload.length % 16 === 0 ? payload : concat(payload, new Uint8Array(16 - (payload.length % 16)));
}
