import { createHmac, createSecretKey, type KeyObject, randomBytes, timingSafeEqual } from 'node:crypto';
import type { Socket } from 'node:net';
import { deserialize, serialize } from 'node:v8';
import { frameOf, onFrames } from '../../frames.ts';

/** A link between two processes that have the same store open. A frame is a code of 16 bytes and a value by the serialiser of V8.
 *
 *  What is stored for others is sealed (seal.ts), and what is answered counts as stored: so both sides show with every frame that they have the key of
 *  the seal, though they meet over a socket in the data folder. key = HMAC-SHA-256(seal key, "nusec-log-link/2" ‖ nonce of the one who listens ‖
 *  nonce of the other); code = HMAC-SHA-256(key, direction ‖ number of the frame ‖ content), cut to 16 bytes. A store without a seal has 32 zero
 *  bytes instead of its key. */

const nonceBytes = 16;
const codeBytes = 16;
/** One commit at its largest (store.ts) and what is around it. */
const maxFrameBytes = 64 * 1024 * 1024;
/** Not accepted by the other side: the link is given up. */
const maxUnsentBytes = 2 * maxFrameBytes;

const noSealKey = new Uint8Array(32);
const noCode = Buffer.alloc(codeBytes);

type Side = 'committer' | 'relay';

export type Link = {
  send(value: unknown): void;
  /** Ends after what was sent. */
  end(): void;
  destroy(): void;
};

type Listener = {
  /** Both sides know each other. */
  onReady(): void;
  onValue(value: unknown): void;
  /** The link has ended, from whatever side. */
  onEnd(): void;
};

/** @param sealKey of the store, if it is sealed */
export function linkOver(socket: Socket, side: Side, sealKey: Uint8Array | undefined, listener: Listener): Link {
  const nonce = randomBytes(nonceBytes);
  let key: KeyObject | undefined;
  const sent = counter();
  const received = counter();
  const other: Side = side === 'committer' ? 'relay' : 'committer';
  const accept = (frame: Buffer): void => {
    if (key === undefined) {
      const theirs = frame.subarray(codeBytes, codeBytes + nonceBytes);
      key = linkKey(sealKey ?? noSealKey, side === 'committer' ? [nonce, theirs] : [theirs, nonce]);
      if (side === 'relay') socket.write(frameOf(noCode, nonce));
      listener.onReady();
      return;
    }
    const content = frame.subarray(codeBytes);
    if (!timingSafeEqual(frame.subarray(0, codeBytes), codeOf(key, other, received(), content))) throw new Error('not from this store');
    listener.onValue(deserialize(content));
  };
  onFrames(socket, maxFrameBytes, accept);
  socket.on('close', listener.onEnd);
  if (side === 'committer') socket.write(frameOf(noCode, nonce));
  return {
    send(value) {
      if (key === undefined || socket.destroyed) return;
      if (socket.writableLength > maxUnsentBytes) return void socket.destroy();
      const content = serialize(value);
      socket.write(frameOf(codeOf(key, side, sent(), content), content));
    },
    end: () => void socket.end(),
    destroy: () => void socket.destroy(),
  };
}

const linkKey = (sealKey: Uint8Array, nonces: readonly Uint8Array[]): KeyObject =>
  createSecretKey(createHmac('sha256', sealKey).update('nusec-log-link/2').update(Buffer.concat(nonces)).digest());

function codeOf(key: KeyObject, from: Side, number: Uint8Array, content: Uint8Array): Buffer {
  return createHmac('sha256', key).update(from).update(number).update(content).digest().subarray(0, codeBytes);
}

/** Numbers of frames, 8 bytes each. */
function counter(): () => Uint8Array {
  let next = 0n;
  const bytes = Buffer.alloc(8);
  return () => {
    bytes.writeBigUInt64BE(next);
    next += 1n;
    return bytes;
  };
}
