import {
  createCipheriv,
  createECDH,
  createHmac,
  createPrivateKey,
  createPublicKey,
  diffieHellman,
  hkdfSync,
  type KeyObject,
  timingSafeEqual,
} from 'node:crypto';
import { concat, fromHex, utf8 } from '../bytes.ts';
import { p256Spki } from '../cose/publicKey.ts';
import { NusecError } from '../errors.ts';

/** Wrapping of a content-encryption key for one device, as MCUboot's ENC_EC256 and ENC_X25519 TLVs have it
 *  (MCUboot docs/encrypted_images.md "ECIES"; encrypted.c `boot_decrypt_key`).
 *
 *  TLV = ephemeral public key ‖ HMAC-SHA-256[32] ‖ wrapped key[16 or 32].
 *  okm = HKDF-SHA-256(shared secret, no salt, "MCUBoot_ECIES_v1", K + 32); wrapped = AES-CTR(okm[0..K), iv 0)(CEK); tag over wrapped. */

export type EciesCurve = 'P-256' | 'X25519';

/** Public keys as they are in the TLV: uncompressed point; raw u-coordinate (RFC 7748). */
const publicKeyBytes = { 'P-256': 65, X25519: 32 } as const satisfies Record<EciesCurve, number>;
/** SubjectPublicKeyInfo of an X25519 key up to the key itself (RFC 8410 §4). */
const x25519SpkiHead = fromHex('302a300506032b656e032100');
const info = utf8('MCUBoot_ECIES_v1');
const macBytes = 32;

/** A device's decryption key, from PKCS#8 DER.
 *  @throws NusecError KEY_REFUSED when it is not a key of that curve */
export function readDecryptionKey(curve: EciesCurve, pkcs8: Uint8Array): KeyObject {
  const key = createPrivateKey({ key: Buffer.from(pkcs8), format: 'der', type: 'pkcs8' });
  const isCurve = curve === 'X25519' ? key.asymmetricKeyType === 'x25519' : key.asymmetricKeyDetails?.namedCurve === 'prime256v1';
  if (!isCurve) throw new NusecError('KEY_REFUSED', `the decryption key is not a ${curve} key`);
  return key;
}

/** @param tlv  value of ENC_EC256 or ENC_X25519 @param keyBytes  16 or 32, from the image's flags
 *  @returns the content-encryption key, or undefined when length, point or tag is wrong */
export function unwrapKey(curve: EciesCurve, tlv: Uint8Array, privateKey: KeyObject, keyBytes: number): Uint8Array | undefined {
  const head = publicKeyBytes[curve];
  if (tlv.length !== head + macBytes + keyBytes) return undefined;
  const shared = agree(curve, tlv.subarray(0, head), privateKey);
  if (!shared) return undefined;
  const okm = expand(shared, keyBytes);
  const wrapped = tlv.subarray(head + macBytes);
  if (!timingSafeEqual(tag(okm, keyBytes, wrapped), tlv.subarray(head, head + macBytes))) return undefined;
  return aesCtr(okm.subarray(0, keyBytes), wrapped);
}

/** Wraps a content-encryption key for one device with a P-256 encryption key.
 *  @param devicePoint  uncompressed point, 65 bytes
 *  @param ephemeralScalar  32 fresh random bytes, one use only
 *  @returns value of the ENC_EC256 TLV: 113 bytes for a 16-byte key, 129 for 32
 *  @throws NusecError KEY_REFUSED when the point or the scalar is not valid */
export function wrapKey(cek: Uint8Array, devicePoint: Uint8Array, ephemeralScalar: Uint8Array): Uint8Array {
  const ephemeral = createECDH('prime256v1');
  let shared: Uint8Array;
  try {
    ephemeral.setPrivateKey(ephemeralScalar);
    shared = ephemeral.computeSecret(devicePoint);
  } catch (cause) {
    throw new NusecError('KEY_REFUSED', 'the device encryption key or the ephemeral scalar is not valid', { cause });
  }
  const okm = expand(shared, cek.length);
  const wrapped = aesCtr(okm.subarray(0, cek.length), cek);
  return concat(ephemeral.getPublicKey(), tag(okm, cek.length, wrapped), wrapped);
}

/** AES-128 or AES-256 in counter mode from counter 0, as the bootloader runs it over wrapped keys and payloads. The key must serve one text only.
 *  @param offsetBytes  of `text` in the whole */
export function aesCtr(key: Uint8Array, text: Uint8Array, offsetBytes = 0): Uint8Array {
  const counter = new Uint8Array(16);
  new DataView(counter.buffer).setUint32(12, Math.floor(offsetBytes / 16));
  const cipher = createCipheriv(`aes-${key.length * 8}-ctr`, key, counter);
  cipher.update(new Uint8Array(offsetBytes % 16));
  return cipher.update(text);
}

function agree(curve: EciesCurve, publicBytes: Uint8Array, privateKey: KeyObject): Uint8Array | undefined {
  try {
    const der = Buffer.from(curve === 'P-256' ? p256Spki(publicBytes) : concat(x25519SpkiHead, publicBytes));
    return diffieHellman({ privateKey, publicKey: createPublicKey({ key: der, format: 'der', type: 'spki' }) });
  } catch {
    return undefined;
  }
}

const expand = (shared: Uint8Array, keyBytes: number): Uint8Array =>
  new Uint8Array(hkdfSync('sha256', shared, new Uint8Array(0), info, keyBytes + macBytes));

const tag = (okm: Uint8Array, keyBytes: number, wrapped: Uint8Array): Uint8Array =>
  createHmac('sha256', okm.subarray(keyBytes)).update(wrapped).digest();
