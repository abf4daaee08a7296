import { crc32 } from 'node:zlib';

/** A checksum over a row of the log, stored with it: it finds what a disk does to a row, cheaply enough to look at every read. What people do to it is found
 *  by the hash chain (hashchain.ts), which costs more. */

/** CRC-32 (as zlib) over the texts of a row, begun with its numbers. @returns 32 bits, unsigned */
export const rowCheck = (
  position: number,
  stream: string,
  revision: number,
  prev: number,
  id: string,
  hash: string,
  body: string,
): number => rowTextCheck(position, revision, prev, `${stream} ${id} ${hash}${body}`);

/** The same from the texts as `rowText` puts them together. */
export function rowTextCheck(position: number, revision: number, prev: number, text: string): number {
  // Multiplying by odd numbers keeps every bit of each; the upper halves of positions come in by addition.
  const numbers = position ^ Math.imul(revision, 0x9e3779b1) ^ Math.imul(prev, 0x85ebca6b);
  return crc32(text, (numbers + Math.floor(position / 2 ** 32) + Math.floor(prev / 2 ** 32)) >>> 0);
}

const hashChars = 64;
/** All texts of a row in one, in SQL: one text is read faster than four. */
export const rowText = "stream || ' ' || id || ' ' || hash || body";

/** The texts of a row that was found intact. Neither a stream nor an id has a space. */
export function splitRowText(text: string) {
  const streamEnd = text.indexOf(' ');
  const idEnd = text.indexOf(' ', streamEnd + 1);
  const hashEnd = idEnd + 1 + hashChars;
  return {
    stream: text.slice(0, streamEnd),
    id: text.slice(streamEnd + 1, idEnd),
    hash: text.slice(idEnd + 1, hashEnd),
    body: text.slice(hashEnd),
  };
}

/** Of 65536 positions each; together 32 MiB at most. The oldest segment goes first. */
const maxSegments = 4096;
const segmentPositions = 65_536;

/** Positions whose rows this process has found intact: reading them again costs no check. */
export function createChecked() {
  const segments = new Map<number, Uint8Array>();
  // Rows are read in order: most are in the segment of the one before.
  let last = -1;
  let bits: Uint8Array | undefined;
  const turnTo = (position: number): void => {
    const number = Math.floor(position / segmentPositions);
    if (number === last && bits !== undefined) return;
    last = number;
    bits = segments.get(number);
  };
  return {
    has(position: number): boolean {
      turnTo(position);
      const bit = position % segmentPositions;
      return bits !== undefined && ((bits[bit >> 3] as number) & (1 << (bit & 7))) !== 0;
    },
    add(position: number): void {
      turnTo(position);
      if (bits === undefined) {
        if (segments.size === maxSegments) segments.delete(segments.keys().next().value as number);
        bits = new Uint8Array(segmentPositions / 8);
        segments.set(last, bits);
      }
      const bit = position % segmentPositions;
      bits[bit >> 3] = (bits[bit >> 3] as number) | (1 << (bit & 7));
    },
  };
}
