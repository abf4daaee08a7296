import { NusecError } from '../errors.ts';
import type { RandomBytes } from './keyset.ts';

/** Shamir's secret sharing (Communications of the ACM 22, 1979) byte by byte over GF(2⁸) with the polynomial of AES (FIPS 197 §4.2):
 *  any `threshold` shares give the secret, fewer reveal nothing about it.
 *
 *  No tables and no branches on secret bytes. */
export type Share = { readonly index: number; readonly bytes: Uint8Array };

const maxShares = 255;
const reduction = 0x1b;

/** @param threshold 2 to `shares`  @param shares at most 255 @throws BAD_REQUEST */
export function splitSecret(secret: Uint8Array, threshold: number, shares: number, randomBytes: RandomBytes): readonly Share[] {
  const isSane = Number.isInteger(threshold) && Number.isInteger(shares) && threshold >= 2 && threshold <= shares && shares <= maxShares;
  if (!isSane) throw new NusecError('BAD_REQUEST', `${threshold} of ${shares} is no way to share: 2 to 255 shares, at least 2 to open`);
  // Coefficients of x¹ … x^(threshold−1); the secret is that of x⁰.
  const coefficients = Array.from({ length: threshold - 1 }, () => randomBytes(secret.length));
  const split = Array.from({ length: shares }, (_, at) => ({ index: at + 1, bytes: evaluate(secret, coefficients, at + 1) }));
  for (const each of coefficients) each.fill(0);
  return split;
}

/** @param shares at least as many as the threshold, of different indices; fewer give something else than the secret
 *  @throws BAD_REQUEST for the same share twice, or shares of different lengths */
export function combineShares(shares: readonly Share[]): Uint8Array {
  const indices = new Set(shares.map(share => share.index));
  const [first] = shares;
  if (!first || indices.size !== shares.length || indices.has(0)) throw new NusecError('BAD_REQUEST', 'every share counts once');
  if (shares.some(share => share.bytes.length !== first.bytes.length)) throw new NusecError('BAD_REQUEST', 'the shares differ in length');
  const secret = new Uint8Array(first.bytes.length);
  for (const { index, bytes } of shares) {
    const weight = weightAtZero(index, indices);
    for (const [at, byte] of bytes.entries()) secret[at] = (secret[at] as number) ^ multiply(byte, weight);
  }
  return secret;
}

/** Horner's rule, from the highest coefficient down. */
function evaluate(secret: Uint8Array, coefficients: readonly Uint8Array[], x: number): Uint8Array {
  return secret.map((constant, at) => {
    const sum = coefficients.reduceRight((value, coefficient) => multiply(value, x) ^ (coefficient[at] as number), 0);
    return multiply(sum, x) ^ constant;
  });
}

/** Lagrange's basis polynomial of `index` at 0; subtraction is XOR. */
function weightAtZero(index: number, indices: Iterable<number>): number {
  let weight = 1;
  for (const other of indices) if (other !== index) weight = multiply(weight, multiply(other, invert(other ^ index)));
  return weight;
}

function multiply(a: number, b: number): number {
  let [product, left, right] = [0, a, b];
  for (let bit = 0; bit < 8; bit += 1) {
    product ^= -(right & 1) & left;
    left = (left << 1) ^ (-(left >> 7) & (0x100 | reduction));
    right >>= 1;
  }
  return product;
}

/** a²⁵⁴ = a⁻¹, as a²⁵⁵ = 1. */
function invert(a: number): number {
  let [power, result] = [a, 1];
  for (let bit = 1; bit < 8; bit += 1) {
    power = multiply(power, power);
    result = multiply(result, power);
  }
  return result;
}
