import { createPrivateKey, createPublicKey, type KeyObject, sign } from 'node:crypto';
import { sha256 } from '../digest.ts';
import { NusecError } from '../errors.ts';
import type { Decryption } from '../ota/decrypt.ts';
import { readDecryptionKey } from '../ota/ecies.ts';
import { readHeader, readImageTlvs, slotReader } from '../ota/image.ts';
import type { SignaturePolicy } from '../ota/signature.ts';
import { tlvType } from '../ota/tlv.ts';
import { readText } from './client.ts';

/** Keys in PEM files, for images on a developer's machine. The keys of a fleet never leave the server's keystore. */

function readKey(path: string, read: (pem: string) => KeyObject): KeyObject {
  const pem = readText(path, 'key');
  try {
    return read(pem);
  } catch (cause) {
    throw new NusecError('KEY_REFUSED', `${path} holds no key that can be read`, { cause });
  }
}

const spkiOf = (key: KeyObject): Uint8Array => new Uint8Array(key.export({ format: 'der', type: 'spki' }));
const curveOf = (key: KeyObject): string | undefined => key.asymmetricKeyDetails?.namedCurve ?? key.asymmetricKeyType;

/** The policy of a bootloader that knows this public key, in the form in which the image names it: by its hash, or whole (HW_KEY). An image that names
 *  none is judged by a bootloader that wants the hash. No bootloader of ours knows a key of another algorithm. @throws NusecError NOT_FOUND, KEY_REFUSED */
export function signaturePolicyOf(path: string, image: Uint8Array): SignaturePolicy {
  const key = readKey(path, createPublicKey);
  const spki = spkiOf(key);
  const types = tlvTypesOf(image);
  if (curveOf(key) === 'ed25519') {
    return { algorithm: types.includes(tlvType.pureSignature) ? 'Ed25519-pure' : 'Ed25519', keyHashOf: [spki] };
  }
  if (curveOf(key) !== 'prime256v1') return { algorithm: 'P-256', keyHashOf: [] };
  const isWhole = types.includes(tlvType.publicKey) && !types.includes(tlvType.keyHash);
  return isWhole ? { algorithm: 'P-256', otpKeyHash: sha256(spki) } : { algorithm: 'P-256', keyHashOf: [spki] };
}

function tlvTypesOf(image: Uint8Array): readonly number[] {
  const slot = slotReader(image, image.length);
  const header = readHeader(slot);
  const tlvs = typeof header === 'string' ? header : readImageTlvs(slot, header);
  return typeof tlvs === 'string' ? [] : [...tlvs.protectedTlvs, ...tlvs.tlvs].map(({ type }) => type);
}

/** @throws NusecError NOT_FOUND, KEY_REFUSED */
export function decryptionOf(path: string): Decryption {
  const key = readKey(path, createPrivateKey);
  const curve = curveOf(key) === 'x25519' ? 'X25519' : 'P-256';
  return { curve, privateKey: readDecryptionKey(curve, new Uint8Array(key.export({ format: 'der', type: 'pkcs8' }))) };
}

export type FileSigner = {
  /** SubjectPublicKeyInfo DER. */
  readonly publicKey: Uint8Array;
  /** ECDSA P-256 with SHA-256. @returns DER {r, s} */
  readonly sign: (message: Uint8Array) => Uint8Array;
};

/** @throws NusecError NOT_FOUND, KEY_REFUSED */
export function signerOf(path: string): FileSigner {
  const key = readKey(path, createPrivateKey);
  if (curveOf(key) !== 'prime256v1') throw new NusecError('KEY_REFUSED', 'images are signed with a P-256 key');
  return { publicKey: spkiOf(createPublicKey(key)), sign: message => new Uint8Array(sign('sha256', message, key)) };
}

/** Uncompressed point of a device's encryption key, 65 bytes. @throws NusecError NOT_FOUND, KEY_REFUSED */
export function encryptionPointOf(path: string): Uint8Array {
  const key = readKey(path, createPublicKey);
  if (curveOf(key) !== 'prime256v1') throw new NusecError('KEY_REFUSED', 'images are encrypted for a P-256 key');
  return spkiOf(key).slice(-65);
}
