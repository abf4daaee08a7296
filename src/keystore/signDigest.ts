import { createECDH, createSecretKey, hash, type KeyObject, randomFillSync } from 'node:crypto';
import { rawToDer } from '../ecdsa.ts';
import { inverse, order } from './inverse.ts';
import { requireDigest } from './keyRules.ts';

/** ECDSA P-256 over a digest that is there already (FIPS 186-5 §6.4.1). node:crypto signs messages only and would hash 512 KiB of firmware for each
 *  device; a token takes a digest anyway (CKM_ECDSA).
 *
 *  The secret point multiplication k·G is OpenSSL's, in constant time. What is left, products and an inverse modulo n, is not constant in time, so
 *  every secret factor is multiplied by a fresh random number first: s = (b·k)⁻¹ · (b·z + b·r·d), b random.
 *  k = SHA-512(d ‖ digest ‖ 32 random bytes) mod n: a random source that repeats itself, as in a virtual machine that was put back, repeats no k for
 *  another digest. */

const scalarBytes = 32;
const ecdh = createECDH('prime256v1');

/** The private number of a P-256 key, as a secret that is quick to use. @param key  private */
export function scalarOf(key: KeyObject): KeyObject {
  const bytes = Buffer.from(key.export({ format: 'jwk' }).d ?? '', 'base64url');
  const scalar = createSecretKey(bytes);
  bytes.fill(0);
  return scalar;
}

/** @param scalar  `scalarOf` a key @param digest  32 bytes @returns DER {r, s} @throws NusecError KEY_REFUSED for a digest of another length */
export function signDigest(scalar: KeyObject, digest: Uint8Array): Uint8Array {
  requireDigest(digest);
  const secret = scalar.export();
  const d = numberOf(secret);
  const z = numberOf(digest);
  for (;;) {
    const random = freshRandom();
    const seed = Buffer.concat([secret, digest, random.subarray(0, scalarBytes)]);
    const k = BigInt(`0x${hash('sha512', seed, 'hex')}`) % order;
    const blind = numberOf(random.subarray(scalarBytes)) % order;
    seed.fill(0);
    random.fill(0);
    if (k === 0n || blind === 0n) continue;
    ecdh.setPrivateKey(bytesOf(k));
    const r = numberOf(ecdh.getPublicKey().subarray(1, 1 + scalarBytes)) % order;
    const s = (inverse((blind * k) % order) * ((blind * z + ((blind * d) % order) * r) % order)) % order;
    if (r === 0n || s === 0n) continue;
    secret.fill(0);
    return rawToDer(Buffer.concat([bytesOf(r), bytesOf(s)]));
  }
}

/** Random bytes are made for many signatures at a time, as a call costs as much as the bytes; each is used once and wiped. */
const randoms = Buffer.alloc(64 * 2 * scalarBytes);
let nextRandom = randoms.length;

function freshRandom(): Buffer {
  if (nextRandom === randoms.length) {
    randomFillSync(randoms);
    nextRandom = 0;
  }
  nextRandom += 2 * scalarBytes;
  return randoms.subarray(nextRandom - 2 * scalarBytes, nextRandom);
}

const wordBytes = 8;

const numberBytes = new Uint8Array(scalarBytes);
const numberWords = new DataView(numberBytes.buffer);

/** Big endian. */
function numberOf(bytes: Uint8Array): bigint {
  numberBytes.set(bytes);
  let number = 0n;
  for (let at = 0; at < scalarBytes; at += wordBytes) number = (number << 64n) | numberWords.getBigUint64(at);
  numberBytes.fill(0);
  return number;
}

const bytesOf = (value: bigint): Buffer => Buffer.from(value.toString(16).padStart(2 * scalarBytes, '0'), 'hex');
