import type { Socket } from 'node:net';
import { deserialize, serialize } from 'node:v8';
import { frameOf, onFrames } from '../../frames.ts';

/** A link between two server processes over any stream of bytes. A frame (frames.ts) is a value by the serialiser of V8, bytes included. The other side is known to be one of us before a byte of it is read: by the rights of the folder, or by its certificate. */

export type PeerLink = {
  send(value: unknown): void;
  onValue(listener: (value: unknown) => void): void;
  onEnd(listener: () => void): void;
};

const maxFrameBytes = 1024 * 1024;
/** Not accepted by a peer within this time: the connection is given up. */
const maxUnsentBytes = 16 * maxFrameBytes;

export function linkOver(socket: Socket): PeerLink {
  const listeners: ((value: unknown) => void)[] = [];
  onFrames(socket, maxFrameBytes, frame => {
    if (frame.length === 0) return;
    const value: unknown = deserialize(frame);
    for (const listener of listeners) listener(value);
  });
  socket.unref();
  return {
    send(value) {
      if (socket.writableLength > maxUnsentBytes) return void socket.destroy();
      socket.write(frameOf(serialize(value)));
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
    socket.write(frameOf());
  }, aliveEveryMs);
  timer.unref();
  socket.once('close', () => clearInterval(timer));
}
