import { connect, createServer, type TLSSocket } from 'node:tls';
import { type Own, opening, repeatedly } from '../../closing.ts';
import type { ServerSign, ServerSigns } from '../../eventstore/port.ts';
import { listenOn, type Place, tlsVersions } from '../../listening.ts';
import { endWhenSilent, linkOver, type PeerLink } from './peerLink.ts';
import { createServerList } from './serverList.ts';

/** Links between server processes of several machines: TLS with a certificate on either side, on a port that is for nothing else. Each process says in
 *  the store where it is reached; of two processes the one with the lower id dials, so there is one link between them. */

/** Both sides say it in their handshake (RFC 7301), so a link is never one to another port of a server. */
const protocol = 'nusec-servers/1';
/** How often a process gives a sign and looks for others. */
const lookEveryMs = 1000;
const dialMs = 2500;
/** Strangers whose certificate was not judged yet. */
const maxJudged = 64;

export type ServerLinkParts = {
  readonly servers: ServerSigns;
  /** Of this process. */
  readonly id: string;
  readonly place: Place;
  /** With what it shows who it is, PEM. */
  readonly identity: { readonly key: string; readonly cert: string };
  /** @param leaf DER @throws NusecError when this is not the certificate of a server of this project */
  requireServer(leaf: Uint8Array): Promise<void>;
  /** Processes that are linked already, here or by a socket of the folder. */
  linked(): ReadonlySet<string>;
  onLink(link: PeerLink): void;
  onTrouble(error: unknown): void;
};

export type ServerLinks = {
  readonly port: number;
  /** After the certificate was renewed. */
  renew(identity: ServerLinkParts['identity']): void;
  /** After a certificate was revoked or an issuing CA ended: links whose other side does not count any more end. */
  judgeAgain(): void;
  close(): Promise<void>;
};

/** @throws NusecError PORT_TAKEN, LISTEN_FAILED */
export const openServerLinks = (parts: ServerLinkParts): Promise<ServerLinks> => opening(own => openLinks(own, parts));

async function openLinks(own: Own, parts: ServerLinkParts): Promise<Omit<ServerLinks, 'close'>> {
  const { servers, id, place } = parts;
  const sockets = new Set<TLSSocket>();
  own('links', {
    close() {
      for (const socket of sockets) socket.destroy();
    },
  });
  let { identity } = parts;
  let judged = 0;
  const keep = (socket: TLSSocket): void => {
    sockets.add(socket);
    socket.on('error', () => socket.destroy());
    socket.once('close', () => sockets.delete(socket));
  };
  const isOurs = async (socket: TLSSocket): Promise<boolean> => {
    judged += 1;
    try {
      const leaf = socket.getPeerX509Certificate();
      if (leaf === undefined || socket.alpnProtocol !== protocol || judged > maxJudged) return false;
      await parts.requireServer(new Uint8Array(leaf.raw));
      return !socket.destroyed;
    } catch (error) {
      parts.onTrouble(error);
      return false;
    } finally {
      judged -= 1;
    }
  };
  /** Not a byte is read before it is known who is there. */
  const welcome = async (socket: TLSSocket): Promise<void> => {
    if (!(await isOurs(socket))) return void socket.destroy();
    endWhenSilent(socket);
    parts.onLink(linkOver(socket));
  };
  // Who it is is judged by `requireServer`: the handshake has shown that the key is theirs.
  const asked = { requestCert: true, rejectUnauthorized: false, ALPNProtocols: [protocol], ...tlsVersions(false) };
  const server = createServer({ ...identity, ...asked, handshakeTimeout: dialMs }, socket => {
    keep(socket);
    void welcome(socket);
  });
  server.on('tlsClientError', () => undefined);
  server.unref();
  own('port between servers', { close: () => void server.close() });
  const port = await listenOn(server, place);

  const dialled = new Set<string>();
  const dial = (sign: ServerSign): void => {
    dialled.add(sign.id);
    const socket = connect({ host: sign.host, port: sign.port, ...identity, ...asked });
    keep(socket);
    const timer = setTimeout(() => socket.destroy(), dialMs);
    socket.once('secureConnect', () => {
      clearTimeout(timer);
      socket.setNoDelay(true);
      void welcome(socket);
    });
    socket.once('close', () => {
      clearTimeout(timer);
      dialled.delete(sign.id);
    });
  };
  const list = createServerList(id);
  let count = 0;
  const sign = (): ServerSign => ({ id, host: place.host, port, count });
  const look = async (): Promise<void> => {
    count += 1;
    await servers.give(sign());
    const linked = parts.linked();
    for (const each of list.look(await servers.read())) if (id < each.id && !linked.has(each.id) && !dialled.has(each.id)) dial(each);
  };
  const looking = own('look for servers', repeatedly(lookEveryMs, look, parts.onTrouble));
  own('last sign', { close: () => servers.give({ ...sign(), count: 0 }).catch(() => undefined) });
  await looking.now();
  return {
    port,
    renew(next) {
      identity = next;
      server.setSecureContext({ ...next, ...tlsVersions(false) });
    },
    judgeAgain() {
      for (const socket of sockets) void isOurs(socket).then(ours => ours || socket.destroy());
    },
  };
}
