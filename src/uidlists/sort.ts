import { uidBytes } from './tree.ts';

const digits = 1 << 16;

/** Sorts UIDs, 16 bytes each, in place: by two bytes at a time from the last ones on, without what all have in common. The time grows with their
 *  number and with nothing else: ten million take a few seconds. */
export function sortUids(uids: Uint8Array): void {
  const count = uids.length / uidBytes;
  let from: Uint32Array = words(uids);
  let to: Uint32Array = new Uint32Array(uids.length / 4);
  for (let byte = uidBytes - 2; byte >= 0; byte -= 2) {
    const starts = startsOf(bytesOf(from), count, byte);
    if (starts === undefined) continue;
    const source = bytesOf(from);
    for (let uid = 0; uid < count; uid++) {
      const digit = (source[uid * uidBytes + byte] as number) * 256 + (source[uid * uidBytes + byte + 1] as number);
      const at = 4 * (starts[digit] as number);
      starts[digit] = (starts[digit] as number) + 1;
      for (let word = 0; word < 4; word++) to[at + word] = from[4 * uid + word] as number;
    }
    [from, to] = [to, from];
  }
  if (from.buffer !== uids.buffer) uids.set(bytesOf(from));
}

/** Where the UIDs of each digit begin; undefined when all have the same. */
function startsOf(uids: Uint8Array, count: number, byte: number): Uint32Array | undefined {
  const starts = new Uint32Array(digits);
  for (let uid = 0; uid < count; uid++) {
    const digit = (uids[uid * uidBytes + byte] as number) * 256 + (uids[uid * uidBytes + byte + 1] as number);
    starts[digit] = (starts[digit] as number) + 1;
  }
  let sum = 0;
  for (let digit = 0; digit < digits; digit++) {
    const own = starts[digit] as number;
    if (own === count) return undefined;
    starts[digit] = sum;
    sum += own;
  }
  return starts;
}

const words = (bytes: Uint8Array): Uint32Array => new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
const bytesOf = (given: Uint32Array): Uint8Array => new Uint8Array(given.buffer, given.byteOffset, given.byteLength);

/** The first entry of a sorted list that occurs twice. */
export function firstTwice(uids: Uint8Array): Uint8Array | undefined {
  for (let at = uidBytes; at < uids.length; at += uidBytes) {
    if (Buffer.compare(uids.subarray(at - uidBytes, at), uids.subarray(at, at + uidBytes)) === 0) return uids.slice(at, at + uidBytes);
  }
  return undefined;
}
