import { createECDH, createSecretKey, hash, type KeyObject, randomFillSync } from 'node:crypto';
import { rawToDer } from '../ecdsa.ts';
import { requireDigest } from './keyRules.ts';

/** ECDSA P-256 over a digest that is there already (FIPS 186-5 §6.4.1). node:crypto signs messages only and would hash 512 KiB of firmware for each
 *  device; a token takes a digest anyway (CKM_ECDSA).
 *
 *  The secret point multiplication k·G is OpenSSL's, in constant time. What is left are products modulo n; BigInt is not constant in time, so
 *  every secret factor is multiplied by a fresh random number first: s = (b·k)⁻¹ · (b·z + b·r·d), b random.
 *  k = SHA-512(d ‖ digest ‖ 32 random bytes) mod n: a random source that repeats itself, as in a virtual machine that was put back, repeats no k for
 *  another digest. */

/** Order of the base point (SP 800-186 §3.2.1.3). */
const order = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;
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
    const k = numberOf(hash('sha512', seed, 'buffer')) % order;
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

/** Big endian, in whole words of 8 bytes. */
function numberOf(bytes: Uint8Array): bigint {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  let number = 0n;
  for (let at = 0; at < bytes.length; at += wordBytes) number = (number << 64n) | view.getBigUint64(at);
  return number;
}

const bytesOf = (value: bigint): Buffer => Buffer.from(value.toString(16).padStart(2 * scalarBytes, '0'), 'hex');

/** Leading bits that one round of Lehmer's method works with, and how large its cofactors may get: their products are exact in a double. */
const leadingBits = 48;
const maxCofactor = 2 ** 24;
const hexBits = 4;

/** Modulo the order, by Lehmer's extended Euclidean algorithm (Knuth, The Art of Computer Programming 2, §4.5.2, algorithm L): many steps of the
 *  division are taken on the leading bits alone, and then on the long numbers together. @param value  1 … n − 1, blinded */
function inverse(value: bigint): bigint {
  let [x, y] = [order, value];
  // x ≡ u · value and y ≡ v · value, modulo the order.
  let [u, v] = [0n, 1n];
  while (y !== 0n) {
    const [a, b, c, d] = leadingSteps(x, y);
    if (b === 0) {
      const quotient = x / y;
      [x, y] = [y, x - quotient * y];
      [u, v] = [v, u - quotient * v];
    } else {
      const [wideA, wideB, wideC, wideD] = [BigInt(a), BigInt(b), BigInt(c), BigInt(d)];
      [x, y] = [wideA * x + wideB * y, wideC * x + wideD * y];
      [u, v] = [wideA * u + wideB * v, wideC * u + wideD * v];
    }
  }
  // The greatest common divisor, in x, is 1: the order is prime. Its sign is that of the last step.
  const factor = x < 0n ? -u : u;
  return factor < 0n ? factor + order : factor;
}

/** Cofactors of the steps whose quotients the leading bits settle; b = 0 when they settle none. */
function leadingSteps(x: bigint, y: bigint): readonly [number, number, number, number] {
  const shift = BigInt(Math.max(0, x.toString(16).length * hexBits - leadingBits));
  let [high, low] = [Number(x >> shift), Number(y >> shift)];
  let [a, b, c, d] = [1, 0, 0, 1];
  while (low + c !== 0 && low + d !== 0) {
    const quotient = Math.floor((high + a) / (low + c));
    if (quotient !== Math.floor((high + b) / (low + d))) break;
    const [nextC, nextD] = [a - quotient * c, b - quotient * d];
    if (Math.abs(nextC) > maxCofactor || Math.abs(nextD) > maxCofactor) break;
    [a, b, c, d] = [c, d, nextC, nextD];
    [high, low] = [low, high - quotient * low];
  }
  return [a, b, c, d];
}
