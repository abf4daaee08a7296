import type { Socket } from 'node:net';
import { deserialize, serialize } from 'node:v8';

/** A link between two server processes over any stream of bytes. A frame is its length (4 bytes, big endian) and a value by the serialiser of V8,
 *  bytes included. The other side is known to be one of us before a byte of it is read: by the rights of the folder, or by its certificate. */

export type PeerLink = {
  send(value: unknown): void;
  onValue(listener: (value: unknown) => void): void;
  onEnd(listener: () => void): void;
};

const maxFrameBytes = 1024 * 1024;
/** Not accepted by a peer within this time: the connection is given up. */
const maxUnsentBytes = 16 * maxFrameBytes;
const headBytes = 4;

export function linkOver(socket: Socket): PeerLink {
  const listeners: ((value: unknown) => void)[] = [];
  let received = Buffer.alloc(0);
  socket.unref();
  socket.on('error', () => socket.destroy());
  socket.on('data', (bytes: Buffer) => {
    received = Buffer.concat([received, bytes]);
    while (received.length >= headBytes) {
      const length = received.readUInt32BE(0);
      if (length > maxFrameBytes) return void socket.destroy();
      if (received.length < headBytes + length) return;
      const frame = received.subarray(headBytes, headBytes + length);
      received = received.subarray(headBytes + length);
      if (length === 0) continue;
      try {
        const value: unknown = deserialize(frame);
        for (const listener of listeners) listener(value);
      } catch {
        return void socket.destroy();
      }
    }
  });
  return {
    send(value) {
      if (socket.writableLength > maxUnsentBytes) return void socket.destroy();
      const body = serialize(value);
      const head = Buffer.alloc(headBytes);
      head.writeUInt32BE(body.length);
      socket.write(Buffer.concat([head, body]));
    },
    onValue: listener => void listeners.push(listener),
    onEnd: listener => void socket.once('close', listener),
  };
}

/** How often an idle link shows that its process lives, and after how many such times without a byte it is given up. Only times that this process
 *  has counted matter, so one that was paused does not blame the others. */
const aliveEveryMs = 500;
const maxSilentTimes = 6;

/** Ends a link whose other side is cut off or stopped: a network says nothing of that for a long time. */
export function endWhenSilent(socket: Socket): void {
  let silent = 0;
  socket.on('data', () => {
    silent = 0;
  });
  const timer = setInterval(() => {
    silent += 1;
    if (silent > maxSilentTimes) return void socket.destroy();
    socket.write(new Uint8Array(headBytes));
  }, aliveEveryMs);
  timer.unref();
  socket.once('close', () => clearInterval(timer));
}
