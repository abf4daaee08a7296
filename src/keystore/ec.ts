import { createPrivateKey, createSign, diffieHellman, generateKeyPair, hkdfSync, type KeyObject, sign } from 'node:crypto';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { type Curve, digestOf, importKey, spkiOfPoint } from '../ecKey.ts';
import { generateP256 } from './p256.ts';
import type { Kdf } from './port.ts';

/** Elliptic-curve operations of the software driver, all in node:crypto's thread pool but the short ones: handing a signature or a new key of P-256 to
 *  a thread and back costs more than the work itself (docs/decisions/070). */

/** SubjectPublicKeyInfo and PKCS#8 (RFC 5958), both DER. The caller wipes `privateKey`. */
type EcPair = { readonly publicKey: Uint8Array; readonly privateKey: Uint8Array };

export function generateEc(algorithm: Curve): Promise<EcPair> {
  if (algorithm === 'P-256') return Promise.resolve(generateP256());
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

/** Of a message that is hashed in one turn: a large revocation list takes a hundred times as long as the signature, and as long again to be handed
 *  to a thread. */
const maxBytesHere = 64 * 1024;

/** @returns DER {r, s} */
export async function signEc(algorithm: Curve, key: KeyObject, message: Uint8Array): Promise<Uint8Array> {
  if (algorithm === 'P-256' && message.length <= maxBytesHere) return new Uint8Array(sign(digestOf[algorithm], message, key));
  if (algorithm === 'P-256') return signLong(digestOf[algorithm], key, message);
  return new Promise((resolve, reject) => {
    sign(digestOf[algorithm], message, key, (error, signature) => (error ? reject(error) : resolve(new Uint8Array(signature))));
  });
}

async function signLong(digest: string, key: KeyObject, message: Uint8Array): Promise<Uint8Array> {
  const signing = createSign(digest);
  for (let from = 0; from < message.length; from += maxBytesHere, await nextTurn())
    signing.update(message.subarray(from, from + maxBytesHere));
  return new Uint8Array(signing.sign(key));
}

/** ECDH on P-256, then HKDF-SHA-256. @param peerPoint 65 bytes  @returns 32 bytes; the caller wipes them  @throws KEY_REFUSED for a point off the curve */
export function agree(privateKey: KeyObject, peerPoint: Uint8Array, kdf: Kdf): Uint8Array {
  const shared = diffieHellman({ privateKey, publicKey: importKey(spkiOfPoint(peerPoint)) });
  const key = new Uint8Array(hkdfSync('sha256', shared, kdf.salt, kdf.info, 32));
  shared.fill(0);
  return key;
}
