import { existsSync, mkdirSync, rmSync } from 'node:fs';
import { createConnection, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { deserialize, serialize } from 'node:v8';

/** Links between the server processes at one data folder: UNIX sockets in a folder that only their owner enters. A frame is its length (4 bytes,
 *  big endian) and a value by the serialiser of V8, bytes included. */

export type PeerLink = {
  send(value: unknown): void;
  onValue(listener: (value: unknown) => void): void;
  onEnd(listener: () => void): void;
};

const folderName = 'peers';
const folderMode = 0o700;
const maxFrameBytes = 1024 * 1024;
/** Not accepted by a peer within this time: the connection is given up. */
const maxUnsentBytes = 16 * maxFrameBytes;
/** What sockaddr_un holds. */
const maxPathBytes = 107;

/** Listens in this process's slot and connects to every other slot that is taken.
 *  @param onLink called with each link, from either side
 *  @returns undefined when the path of the data folder is too long for a socket: then this process knows of no other */
export async function openPeerLinks(
  dataDir: string,
  slot: number,
  maxProcessSlots: number,
  onLink: (link: PeerLink) => void,
): Promise<{ close(): void } | undefined> {
  const folder = join(dataDir, folderName);
  const pathOf = (number: number): string => join(folder, `${number}.sock`);
  if (Buffer.byteLength(pathOf(maxProcessSlots)) > maxPathBytes) return undefined;
  mkdirSync(folder, { recursive: true, mode: folderMode });
  // The slot is ours: a socket in it is that of a process which was killed.
  rmSync(pathOf(slot), { force: true });
  const sockets = new Set<Socket>();
  const keep = (socket: Socket): Socket => {
    sockets.add(socket);
    return socket.once('close', () => sockets.delete(socket));
  };
  const server = createServer(socket => onLink(linkOver(keep(socket))));
  await new Promise<void>((resolve, reject) => server.once('error', reject).listen(pathOf(slot), resolve));
  server.on('error', () => undefined);
  server.unref();
  for (let number = 1; number <= maxProcessSlots; number += 1) {
    if (number === slot || !existsSync(pathOf(number))) continue;
    const socket = keep(createConnection(pathOf(number)));
    socket.once('connect', () => onLink(linkOver(socket)));
    // Nobody sits there any more.
    socket.on('error', () => socket.destroy());
  }
  return {
    close() {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}

function linkOver(socket: Socket): PeerLink {
  const listeners: ((value: unknown) => void)[] = [];
  let received = Buffer.alloc(0);
  socket.unref();
  socket.on('error', () => socket.destroy());
  socket.on('data', (bytes: Buffer) => {
    received = Buffer.concat([received, bytes]);
    while (received.length >= 4) {
      const length = received.readUInt32BE(0);
      if (length > maxFrameBytes) return void socket.destroy();
      if (received.length < 4 + length) return;
      const frame = received.subarray(4, 4 + length);
      received = received.subarray(4 + length);
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
      const head = Buffer.alloc(4);
      head.writeUInt32BE(body.length);
      socket.write(Buffer.concat([head, body]));
    },
    onValue: listener => void listeners.push(listener),
    onEnd: listener => void socket.once('close', listener),
  };
}
