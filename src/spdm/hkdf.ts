import { hash as digest } from 'node:crypto';
import { concat } from '../bytes.ts';
import type { HashAlgorithm } from './suite.ts';

/** HMAC and HKDF as the key schedule of a session needs them. */

/** HKDF-Expand (RFC 5869 §2.3). */
export function expand(hash: HashAlgorithm, secret: Uint8Array, info: Uint8Array, lengthBytes: number): Uint8Array {
  const blocks: Uint8Array[] = [];
  let previous = new Uint8Array();
  for (let i = 1; blocks.length * hash.hashBytes < lengthBytes; i += 1) {
    previous = hmac(hash, secret, concat(previous, info, Uint8Array.of(i)));
    blocks.push(previous);
  }
  return concat(...blocks).subarray(0, lengthBytes);
}

const innerPad = 0x36;
const outerPad = 0x5c;

/** HMAC (RFC 2104) out of two digests, at a third of what `createHmac` costs for inputs as short as these. @param key no longer than a block of the hash */
export function hmac({ name, hashBytes, blockBytes }: HashAlgorithm, key: Uint8Array, data: Uint8Array): Uint8Array<ArrayBuffer> {
  const inner = new Uint8Array(blockBytes + data.length).fill(innerPad, 0, blockBytes);
  const outer = new Uint8Array(blockBytes + hashBytes).fill(outerPad, 0, blockBytes);
  for (let i = 0; i < key.length; i += 1) {
    inner[i]! ^= key[i]!;
    outer[i]! ^= key[i]!;
  }
  inner.set(data, blockBytes);
  outer.set(digest(name, inner, 'buffer'), blockBytes);
  return new Uint8Array(digest(name, outer, 'buffer'));
}
