import { createECDH, type KeyObject, randomBytes } from 'node:crypto';
import { rawToDer } from '../ecdsa.ts';
import { requireDigest } from './keyRules.ts';

/** ECDSA P-256 over a digest that is there already (FIPS 186-5 §6.4.1). node:crypto signs messages only and would hash 512 KiB of firmware for each
 *  device; a token takes a digest anyway (CKM_ECDSA).
 *
 *  The secret point multiplication k·G is OpenSSL's, in constant time. What is left are products modulo n; BigInt is not constant in time, so
 *  every secret factor is multiplied by a fresh random number first: s = (b·k)⁻¹ · (b·z + b·r·d), b random. */

/** Order of the base point (SP 800-186 §3.2.1.3). */
const order = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;
const scalarBytes = 32;
const curve = 'prime256v1';

/** @param key  P-256 @param digest  32 bytes @returns DER {r, s} @throws NusecError KEY_REFUSED for a digest of another length */
export function signDigest(key: KeyObject, digest: Uint8Array): Uint8Array {
  requireDigest(digest);
  const secret = Buffer.from(key.export({ format: 'jwk' }).d ?? '', 'base64url');
  const d = numberOf(secret);
  secret.fill(0);
  const z = numberOf(digest) % order;
  for (;;) {
    const k = randomScalar();
    const ephemeral = createECDH(curve);
    ephemeral.setPrivateKey(bytesOf(k));
    const r = numberOf(ephemeral.getPublicKey().subarray(1, 1 + scalarBytes)) % order;
    const blind = randomScalar();
    const s = (inverse((blind * k) % order) * (((blind * z) % order) + ((((blind * d) % order) * r) % order))) % order;
    if (r !== 0n && s !== 0n) return rawToDer(Buffer.concat([bytesOf(r), bytesOf(s)]));
  }
}

/** Uniform in 1 … n − 1 (FIPS 186-5 A.2.2: by rejection). */
function randomScalar(): bigint {
  for (;;) {
    const scalar = numberOf(randomBytes(scalarBytes));
    if (scalar > 0n && scalar < order) return scalar;
  }
}

const numberOf = (bytes: Uint8Array): bigint => BigInt(`0x${Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('hex')}`);
const bytesOf = (value: bigint): Buffer => Buffer.from(value.toString(16).padStart(2 * scalarBytes, '0'), 'hex');

/** By the extended Euclidean algorithm. @param value  1 … n − 1, blinded */
function inverse(value: bigint): bigint {
  let [rest, next] = [order, value];
  let [factor, nextFactor] = [0n, 1n];
  while (next > 0n) {
    const quotient = rest / next;
    [rest, next] = [next, rest - quotient * next];
    [factor, nextFactor] = [nextFactor, factor - quotient * nextFactor];
  }
  return factor < 0n ? factor + order : factor;
}
