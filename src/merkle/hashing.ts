import { hash } from 'node:crypto';

/** Hashes of a Merkle tree (RFC 9162 §2.1.1), SHA-256.
 *
 *  They are 64 lower-case hex characters here, not bytes: making a Buffer for each result costs several times the hash itself. */

/** 32 bytes, lower-case hex. */
export type Hash = string;

export const hashBytes = 32;
/** Root of a tree without leaves: SHA-256 of nothing. */
export const emptyRoot: Hash = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855';

const leafPrefix = 0x00;
const nodePrefix = 0x01;

const leafBlock = Buffer.alloc(1 + hashBytes, leafPrefix);
const nodeBlock = Buffer.alloc(1 + 2 * hashBytes, nodePrefix);

/** Hash of a leaf: SHA-256(0x00 ‖ entry). */
export function leafHash(entry: Uint8Array): Hash {
  return hash('sha256', Buffer.concat([Uint8Array.of(leafPrefix), entry]), 'hex');
}

/** Hash of a leaf whose entry is itself a hash. @param entry 64 hex characters */
export function leafOfHash(entry: Hash): Hash {
  leafBlock.write(entry, 1, 'hex');
  return hash('sha256', leafBlock, 'hex');
}

/** Hash of an inner node: SHA-256(0x01 ‖ left ‖ right). */
export function nodeHash(left: Hash, right: Hash): Hash {
  nodeBlock.write(left, 1, 'hex');
  nodeBlock.write(right, 1 + hashBytes, 'hex');
  return hash('sha256', nodeBlock, 'hex');
}

/** Hashes one after the other as bytes, the form of a tile. */
export function toBytes(hashes: readonly Hash[]): Uint8Array {
  const bytes = Buffer.alloc(hashes.length * hashBytes);
  for (let i = 0; i < hashes.length; i++) bytes.write(hashes[i] as Hash, i * hashBytes, 'hex');
  return bytes;
}

/** @param bytes a multiple of 32 */
export function fromBytes(bytes: Uint8Array): Hash[] {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('hex');
  return Array.from({ length: bytes.length / hashBytes }, (_, i) => text.slice(2 * hashBytes * i, 2 * hashBytes * (i + 1)));
}
