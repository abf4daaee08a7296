import type { Server } from 'node:http';
import type { Server as TlsServer } from 'node:https';
import type { Socket } from 'node:net';
import { connectionKey } from '../listening.ts';

/** Bounds the connections of an HTTP server, so that those who only hold them open keep nobody out: beyond the bound the oldest one of the fullest
 *  address that has no request is ended, and the new one is served. */

type Held = { readonly socket: Socket; readonly key: string; readonly address: string; requests: number };

/** @param onShed called each time */
export function boundConnections(server: Server | TlsServer, maxConnections: number, onShed: () => void): void {
  const held = new Map<string, Held>();
  const byAddress = new Map<string, Set<Held>>();
  const forget = (one: Held): void => {
    if (held.get(one.key) === one) held.delete(one.key);
    const ofAddress = byAddress.get(one.address);
    ofAddress?.delete(one);
    if (ofAddress?.size === 0) byAddress.delete(one.address);
  };
  const shed = (): void => {
    let fullest: Set<Held> | undefined;
    for (const ofAddress of byAddress.values()) if (ofAddress.size > (fullest?.size ?? 0)) fullest = ofAddress;
    const [oldest, ...others] = fullest ?? [];
    const idle = oldest === undefined || oldest.requests === 0 ? oldest : others.find(({ requests }) => requests === 0);
    const ended = idle ?? oldest;
    if (ended === undefined) return;
    onShed();
    forget(ended);
    ended.socket.destroy();
  };
  server.on('connection', (socket: Socket) => {
    if (held.size >= maxConnections) shed();
    const [key, address] = [connectionKey(socket), socket.remoteAddress ?? ''];
    const one: Held = { socket, key, address, requests: 0 };
    held.set(key, one);
    byAddress.set(address, (byAddress.get(address) ?? new Set()).add(one));
    socket.once('close', () => forget(one));
  });
  // An upgraded connection has no requests any more, and is in use.
  server.on('upgrade', ({ socket }) => {
    const one = held.get(connectionKey(socket));
    if (one !== undefined) one.requests += 1;
  });
  server.on('request', ({ socket }, response) => {
    const one = held.get(connectionKey(socket));
    if (one === undefined) return;
    one.requests += 1;
    response.once('close', () => {
      one.requests -= 1;
    });
  });
}
