import type { Head, HeadTile } from './headMap.ts';

/** A tile of the map of stream heads as bytes. For each slot a byte that tells what follows:
 *
 *  | byte | what follows |
 *  |---|---|
 *  | 0 | nothing: empty |
 *  | 1 | a leaf: key, 32 bytes · revision, 6 bytes · hash of the event, 32 bytes |
 *  | 2 | root of the tile below, 32 bytes | */

const [empty, leaf, below] = [0, 1, 2];
const hashBytes = 32;
const revisionBytes = 6;
const leafBytes = 2 * hashBytes + revisionBytes;
const slotBytes = (slot: HeadTile[number]): number => 1 + (slot === undefined ? 0 : 'key' in slot ? leafBytes : hashBytes);

export function encodeTile(tile: HeadTile): Uint8Array {
  const bytes = Buffer.alloc(tile.reduce((sum, slot) => sum + slotBytes(slot), 0));
  let at = 0;
  for (const slot of tile) {
    if (slot === undefined) bytes[at] = empty;
    else if ('key' in slot) writeLeaf(bytes, at, slot);
    else {
      bytes[at] = below;
      bytes.write(slot.root, at + 1, 'hex');
    }
    at += slotBytes(slot);
  }
  return bytes;
}

function writeLeaf(bytes: Buffer, at: number, { key, revision, hash }: Head): void {
  bytes[at] = leaf;
  bytes.write(key, at + 1, 'hex');
  bytes.writeUIntBE(revision, at + 1 + hashBytes, revisionBytes);
  bytes.write(hash, at + 1 + hashBytes + revisionBytes, 'hex');
}

/** @param given what `encodeTile` gave */
export function decodeTile(given: Uint8Array): HeadTile {
  const bytes = Buffer.from(given.buffer, given.byteOffset, given.length);
  const tile: HeadTile[number][] = [];
  for (let at = 0; at < bytes.length; at += slotBytes(tile.at(-1))) tile.push(slotAt(bytes, at));
  return tile;
}

function slotAt(bytes: Buffer, at: number): HeadTile[number] {
  const hex = (from: number): string => bytes.toString('hex', at + from, at + from + hashBytes);
  if (bytes[at] === empty) return undefined;
  if (bytes[at] === below) return { root: hex(1) };
  return { key: hex(1), revision: bytes.readUIntBE(at + 1 + hashBytes, revisionBytes), hash: hex(1 + hashBytes + revisionBytes) };
}
