import { createECDH, createSecretKey, hash, type KeyObject, randomFillSync } from 'node:crypto';
import { rawToDer } from '../ecdsa.ts';
import { inverse, order } from './inverse.ts';
import { requireDigest } from './keyRules.ts';
import { numberBytes, readNumber, writeNumber } from './numberBytes.ts';

/** ECDSA P-256 over a digest that is there already (FIPS 186-5 §6.4.1). node:crypto signs messages only and would hash 512 KiB of firmware for each
 *  device; a token takes a digest anyway (CKM_ECDSA).
 *
 *  The secret point multiplication k·G is OpenSSL's, in constant time. What is left, products and an inverse modulo n, is not constant in time, so
 *  every secret factor is multiplied by a fresh random number first: s = (b·k)⁻¹ · (b·z + b·r·d), b random.
 *  k = SHA-512(d ‖ digest ‖ 32 random bytes) mod n: a random source that repeats itself, as in a virtual machine that was put back, repeats no k for
 *  another digest. */

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
  seed.set(secret);
  secret.fill(0);
  seed.set(digest, numberBytes);
  const d = readNumber(seedView, 0);
  const z = readNumber(seedView, numberBytes);
  for (;;) {
    const random = freshRandom();
    seed.set(random.subarray(0, numberBytes), 2 * numberBytes);
    const blind = readNumber(randomsView, random.byteOffset + numberBytes) % order;
    random.fill(0);
    const k = BigInt(`0x${hash('sha512', seed, 'hex')}`) % order;
    if (k === 0n || blind === 0n) continue;
    writeNumber(signatureView, 0, k);
    ecdh.setPrivateKey(signature.subarray(0, numberBytes));
    signature.set(ecdh.getPublicKey().subarray(1, 1 + numberBytes));
    const r = readNumber(signatureView, 0) % order;
    const s = (inverse((blind * k) % order) * ((blind * z + ((blind * d) % order) * r) % order)) % order;
    if (r === 0n || s === 0n) continue;
    seed.fill(0);
    writeNumber(signatureView, 0, r);
    writeNumber(signatureView, numberBytes, s);
    return rawToDer(signature);
  }
}

/** Kept for all signatures, one after the other: fresh memory for each number costs more than what is done with it. Secrets are wiped or written over. */
const seed = new Uint8Array(3 * numberBytes);
const seedView = new DataView(seed.buffer);
/** k, and then r ‖ s. */
const signature = new Uint8Array(2 * numberBytes);
const signatureView = new DataView(signature.buffer);

/** Random bytes are made for many signatures at a time, as a call costs as much as the bytes; each is used once and wiped. */
const randoms = new Uint8Array(64 * 2 * numberBytes);
const randomsView = new DataView(randoms.buffer);
let nextRandom = randoms.length;

function freshRandom(): Uint8Array {
  if (nextRandom === randoms.length) {
    randomFillSync(randoms);
    nextRandom = 0;
  }
  nextRandom += 2 * numberBytes;
  return randoms.subarray(nextRandom - 2 * numberBytes, nextRandom);
}
