import type { Socket } from 'node:net';

/** Frames on a stream of bytes: the length (4 bytes, big endian), then so many bytes. */

const lengthBytes = 4;
/** The longest path that a socket can have: what sockaddr_un holds. */
export const maxSocketPathBytes = 107;

export function frameOf(...parts: readonly Uint8Array[]): Buffer {
  const length = Buffer.alloc(lengthBytes);
  length.writeUInt32BE(parts.reduce((sum, part) => sum + part.length, 0));
  return Buffer.concat([length, ...parts]);
}

/** Hands over the content of each frame that comes. The stream ends at a frame larger than `maxBytes`, and when `onFrame` throws. */
export function onFrames(socket: Socket, maxBytes: number, onFrame: (content: Buffer) => void): void {
  const read = frameReader(maxBytes, onFrame);
  socket.on('error', () => socket.destroy());
  socket.on('data', (bytes: Buffer) => {
    try {
      if (!read(bytes)) socket.destroy();
    } catch {
      socket.destroy();
    }
  });
}

/** Puts frames back together from what arrives.
 *  @param onFrame called with the content of each frame
 *  @returns what takes the next bytes; false when a frame is larger than `maxBytes`: the stream is of no use then */
function frameReader(maxBytes: number, onFrame: (content: Buffer) => void): (bytes: Buffer) => boolean {
  let chunks: Buffer[] = [];
  let held = 0;
  /** Bytes that the frame under way has with its length; so many are needed before anything can be done. */
  let needed = lengthBytes;
  return bytes => {
    chunks.push(bytes);
    held += bytes.length;
    if (held < needed) return true;
    let rest = chunks.length === 1 ? bytes : Buffer.concat(chunks, held);
    for (;;) {
      needed = rest.length < lengthBytes ? lengthBytes : lengthBytes + rest.readUInt32BE();
      if (needed > lengthBytes + maxBytes) return false;
      if (rest.length < needed) break;
      onFrame(rest.subarray(lengthBytes, needed));
      rest = rest.subarray(needed);
    }
    chunks = rest.length === 0 ? [] : [rest];
    held = rest.length;
    return true;
  };
}
