import { concat, totalBytes, unwritten } from './bytes.ts';

/** Memory in which what is sent is put together, used again and again: to get fresh memory of this size takes longer than to fill it, and V8 looks
 *  through its whole heap for every few dozen MiB of buffers. */

/** The largest block of firmware, or as many small ones, with room for their heads. */
const keptBytes = (64 + 4) * 1024;
/** As many as are written at the same time by HTTPS (256 files) or by MQTT to a busy fleet; 17 MiB. What is beyond them is given back immediately. */
const maxKept = 256;
const kept: Uint8Array[] = [];

/** Gives memory back that nobody reads any more, where it is all of its buffer. V8 sees only how much of it there is, and would look through its whole
 *  heap for every few dozen MiB that go out. */
export function giveBack(bytes: Uint8Array): void {
  const { buffer, byteLength } = bytes;
  if (byteLength > 0 && buffer instanceof ArrayBuffer && buffer.byteLength === byteLength) buffer.transfer(0);
}

export type Joined = {
  readonly bytes: Uint8Array;
  /** To be called when the bytes were written. With an error they may still be read, and are left to the collector. */
  readonly release: (error?: Error | null) => void;
};

/** The parts in one. */
export function joinInKept(parts: readonly Uint8Array[]): Joined {
  const length = totalBytes(parts);
  if (length > keptBytes) return { bytes: concat(...parts), release: () => undefined };
  const memory = kept.pop() ?? unwritten(keptBytes);
  let offset = 0;
  for (const part of parts) {
    memory.set(part, offset);
    offset += part.length;
  }
  const release = (error?: Error | null): void => {
    if (error) return;
    if (kept.length < maxKept) kept.push(memory);
    else giveBack(memory);
  };
  return { bytes: memory.subarray(0, length), release };
}
