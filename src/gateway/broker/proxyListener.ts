import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { rmSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { NusecError } from '../../errors.ts';
import { maxSocketPathBytes } from '../../frames.ts';
import { listenBacklog } from '../../listening.ts';
import type { Peer } from './identity.ts';
import type { GatewayLimits } from './limits.ts';
import { type ProxyHeader, readProxyHeader } from './proxyHeader.ts';

/** MQTT behind a TLS terminator of this machine (HAProxy): a socket in a folder that only our user enters, so the kernel judges who connects. The
 *  terminator has proved that the client has the key of its certificate, and names the certificate by its fingerprint; the certificate itself comes
 *  from our own log, and is judged like any other. A connection is one client: when one side ends, so does the other. */

export type ProxyListenerOptions = {
  readonly limits: GatewayLimits;
  readonly certificateOf: CertificateOf;
  /** Whether the client may stay is decided there. */
  readonly onPeer: (peer: Peer, socket: Socket) => Promise<void>;
  readonly onRefused: (remoteAddress: string, detail: string) => void;
  /** A connection beyond `maxConnections` was dropped. */
  readonly onFull: () => void;
};

/** @returns DER; undefined when we have issued none of this fingerprint */
export type CertificateOf = (sha256Hex: string) => Promise<Uint8Array | undefined>;

/** @param path of the socket; one that a killed process has left is replaced
 *  @throws NusecError BAD_REQUEST (a path of more than 107 bytes), LISTEN_FAILED */
export async function listenBehindProxy(path: string, options: ProxyListenerOptions) {
  const { limits } = options;
  if (Buffer.byteLength(path) > maxSocketPathBytes)
    throw new NusecError('BAD_REQUEST', `${path} is too long for a socket: ${maxSocketPathBytes} bytes at most`);
  const open = new Set<Socket>();
  const server = createServer(socket => {
    open.add(socket);
    socket.on('error', ignore);
    socket.once('close', () => open.delete(socket));
    whenHeader(socket, limits.handshakeTimeoutMs, header => {
      if (header !== undefined) return void options.onPeer(peerOf(header, options.certificateOf), socket);
      options.onRefused('unknown', 'no PROXY header of a client over TLS');
      socket.destroy();
    });
  });
  server.maxConnections = limits.maxConnections;
  server.on('drop', options.onFull);
  rmSync(path, { force: true });
  server.listen({ path, backlog: listenBacklog });
  await once(server, 'listening').catch(cause => {
    throw new NusecError('LISTEN_FAILED', `${path}: ${(cause as Error).message}`, { cause });
  });
  return {
    count: (): number => open.size,
    close(): Promise<void> {
      const closed = new Promise<void>(resolve => void server.close(() => resolve()));
      for (const socket of open) socket.destroy();
      return closed;
    },
  };
}

/** @param then called once, with undefined when no header came in time */
function whenHeader(socket: Socket, timeoutMs: number, then: (header: ProxyHeader | undefined) => void): void {
  let bytes: Buffer = Buffer.alloc(0);
  const settle = (header: ProxyHeader | undefined): void => {
    clearTimeout(tooLate);
    socket.removeListener('readable', look);
    if (header !== undefined && bytes.length > header.bytes) socket.unshift(bytes.subarray(header.bytes));
    if (!socket.destroyed) then(header);
  };
  const look = (): void => {
    const chunk = socket.read() as Buffer | null;
    if (chunk === null) return;
    bytes = bytes.length === 0 ? chunk : Buffer.concat([bytes, chunk]);
    const header = readProxyHeader(bytes);
    if (header !== 'more') settle(header === 'none' ? undefined : header);
  };
  const tooLate = setTimeout(() => settle(undefined), timeoutMs).unref();
  socket.on('readable', look);
  socket.once('close', () => clearTimeout(tooLate));
}

function peerOf({ remoteAddress, certificateSha256 }: ProxyHeader, certificateOf: CertificateOf): Peer {
  const certificate = async (): Promise<X509Certificate> => {
    const der = certificateSha256 === undefined ? undefined : await certificateOf(certificateSha256);
    if (der === undefined) throw new NusecError('CLIENT_CERTIFICATE_REFUSED', 'this project has not issued the certificate');
    return new X509Certificate(der);
  };
  const shown = certificateSha256 === undefined ? undefined : { sha256Hex: certificateSha256, certificate, isVerified: false };
  return { remoteAddress, shown: () => shown };
}

/** Aedes listens from CONNECT on. */
function ignore(): void {}
