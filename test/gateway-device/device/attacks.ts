import type { ByteLink } from '../../../gateway-device/link/byteLink.ts';

/** What an interposer on a wire does. */

export function flippedAt(bytes: Uint8Array, offset: number): Uint8Array {
  const out = bytes.slice();
  out[offset] = (out[offset] ?? 0) ^ 0x01;
  return out;
}

export type Change = (bytes: Uint8Array, count: number) => readonly Uint8Array[];
export const unchanged: Change = bytes => [bytes];

/** A wire that changes what is written on it, one write after the other. */
export function through(link: ByteLink, change: Change): ByteLink {
  let count = 0;
  return {
    ...link,
    write: async bytes => {
      count += 1;
      for (const part of change(bytes, count)) await link.write(part);
    },
  };
}
