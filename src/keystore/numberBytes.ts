/** Numbers of 256 bits as bytes, big endian. By words: text in between takes twice as long, and is left to the collector. */

export const numberBytes = 32;
const wordBytes = 8;
const wordBits = 64n;

/** @param at where its 32 bytes begin */
export function readNumber(bytes: DataView, at: number): bigint {
  let number = 0n;
  for (let i = 0; i < numberBytes; i += wordBytes) number = (number << wordBits) | bytes.getBigUint64(at + i);
  return number;
}

/** @param value below 2^256 */
export function writeNumber(bytes: DataView, at: number, value: bigint): void {
  let rest = value;
  // Each takes the lowest 64 bits.
  for (let i = numberBytes - wordBytes; i >= 0; i -= wordBytes, rest >>= wordBits) bytes.setBigUint64(at + i, rest);
}
