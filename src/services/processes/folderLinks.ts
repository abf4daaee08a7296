import { existsSync, mkdirSync, rmSync } from 'node:fs';
import { createConnection, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { maxSocketPathBytes } from '../../frames.ts';
import { linkOver, type PeerLink } from './peerLink.ts';

/** Links between the server processes at one data folder: UNIX sockets in a folder that only their owner enters. */

const folderName = 'peers';
const folderMode = 0o700;

/** Listens in this process's slot and connects to every other slot that is taken.
 *  @param onLink called with each link, from either side
 *  @returns undefined when the path of the data folder is too long for a socket: then this process knows of no other */
export async function openFolderLinks(
  dataDir: string,
  slot: number,
  maxProcessSlots: number,
  onLink: (link: PeerLink) => void,
): Promise<{ close(): void } | undefined> {
  const folder = join(dataDir, folderName);
  const pathOf = (number: number): string => join(folder, `${number}.sock`);
  if (Buffer.byteLength(pathOf(maxProcessSlots)) > maxSocketPathBytes) return undefined;
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
