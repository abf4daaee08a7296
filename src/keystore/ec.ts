import { createPrivateKey, createPublicKey, diffieHellman, generateKeyPair, hkdfSync, type KeyObject, sign } from 'node:crypto';
import { concat, fromHex } from '../bytes.ts';
import { NusecError } from '../errors.ts';
import type { Kdf } from './port.ts';

/** Elliptic-curve operations of the software driver, all in node:crypto's thread pool but the short ones. */

export type EcAlgorithm = 'P-256' | 'P-384';

/** FIPS 186-5 with the hash that matches the curve's strength. */
const hashOf = { 'P-256': 'sha256', 'P-384': 'sha384' } as const satisfies Record<EcAlgorithm, string>;

/** RFC 5480: SubjectPublicKeyInfo of a P-256 key up to its 65-byte uncompressed point. */
const p256SpkiHead = fromHex('3059301306072a8648ce3d020106082a8648ce3d030107034200');
const p256PointBytes = 65;
const uncompressed = 0x04;

/** SubjectPublicKeyInfo and PKCS#8 (RFC 5958), both DER. The caller wipes `privateKey`. */
export type EcPair = { readonly publicKey: Uint8Array; readonly privateKey: Uint8Array };

export function generateEc(algorithm: EcAlgorithm): Promise<EcPair> {
  const options = {
    namedCurve: algorithm,
    publicKeyEncoding: { type: 'spki', format: 'der' },
    privateKeyEncoding: { type: 'pkcs8', format: 'der' },
  } as const;
  return new Promise((resolve, reject) => {
    generateKeyPair('ec', options, (error, publicKey, privateKey) => (error ? reject(error) : resolve({ publicKey, privateKey })));
  });
}

/** @param der PKCS#8, wiped here */
export function importPrivateKey(der: Uint8Array): KeyObject {
  try {
    return createPrivateKey({ key: Buffer.from(der.buffer, der.byteOffset, der.length), format: 'der', type: 'pkcs8' });
  } finally {
    der.fill(0);
  }
}

/** @returns DER {r, s} */
export function signEc(algorithm: EcAlgorithm, key: KeyObject, message: Uint8Array): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    sign(hashOf[algorithm], message, key, (error, signature) => (error ? reject(error) : resolve(new Uint8Array(signature))));
  });
}

/** ECDH on P-256, then HKDF-SHA-256. @param peerPoint 65 bytes  @returns 32 bytes; the caller wipes them  @throws KEY_REFUSED for a point off the curve */
export function agree(privateKey: KeyObject, peerPoint: Uint8Array, kdf: Kdf): Uint8Array {
  const shared = diffieHellman({ privateKey, publicKey: p256PublicKey(peerPoint) });
  const key = new Uint8Array(hkdfSync('sha256', shared, kdf.salt, kdf.info, 32));
  shared.fill(0);
  return key;
}

function p256PublicKey(point: Uint8Array): KeyObject {
  const refused = new NusecError('KEY_REFUSED', 'the peer key is not an uncompressed point of P-256');
  if (point.length !== p256PointBytes || point[0] !== uncompressed) throw refused;
  try {
    return createPublicKey({ key: Buffer.from(concat(p256SpkiHead, point)), format: 'der', type: 'spki' });
  } catch {
    throw refused;
  }
}
