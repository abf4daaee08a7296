import { createServer, type Socket } from 'node:net';
import { createServer as createTlsServer, type TLSSocket, type TlsOptions } from 'node:tls';
import { listenOn, type Place, tlsVersions } from '../../listening.ts';
import { isOurTicket, type TicketSeal, ticketIn, ticketSealOf } from './clientHello.ts';
import { createHandshakeQueue } from './handshakeQueue.ts';
import type { GatewayLimits } from './limits.ts';

/** PEM of the server and of the CAs that client certificates may come from. */
export type TlsSettings = {
  readonly key: string;
  readonly cert: string;
  readonly ca: string | readonly string[];
  /** TLS 1.2 too. Default: TLS 1.3 only. */
  readonly allowTls12?: boolean;
};

export type TlsListenerOptions = {
  readonly tls: TlsSettings;
  readonly limits: GatewayLimits;
  /** A finished handshake; whether the peer may stay is decided there. */
  readonly onSecure: (socket: TLSSocket) => Promise<void>;
  readonly staple: (leaf: Uint8Array) => Promise<Uint8Array | undefined>;
  readonly onRefused: (remoteAddress: string, detail: string) => void;
  /** A connection beyond `maxConnections` was dropped. */
  readonly onFull: () => void;
  /** A connection beyond `maxStrangers` came, and an older one was ended. */
  readonly onCrowded: () => void;
};

const sessionIdContext = 'nusec-mqtt';

/** TLS on a TCP port. Client certificates are asked for but refused by us and not by TLS, so that every refusal is recorded.
 *  In a storm at most `maxHandshakesInFlight` handshakes run, so that those that started finish instead of all timing out together; who has not sent
 *  a ClientHello takes no place. */
export function createTlsListener(options: TlsListenerOptions) {
  const { limits } = options;
  const open = new Set<Socket>();
  const endings = { silent: 'TLS: no ClientHello in time', crowded: 'TLS: too many connections that have not said who they are' } as const;
  let ticketKeys: Uint8Array | undefined;
  let ticketSeal: TicketSeal | undefined;
  const handshakes = createHandshakeQueue(limits, {
    start: socket => tls.emit('connection', socket),
    onEnded: (socket, why) => {
      options.onRefused(socket.remoteAddress ?? 'unknown', endings[why]);
      if (why === 'crowded') options.onCrowded();
    },
    isKnown(record) {
      const ticket = ticketSeal && ticketIn(record);
      return ticketSeal !== undefined && ticket !== undefined && isOurTicket(ticket, ticketSeal);
    },
  });
  const tls = createTlsServer({ ...contextOf(options.tls, limits), requestCert: true, rejectUnauthorized: false });
  const counts = { handshakes: 0, resumed: 0 };
  tls.on('secureConnection', socket => {
    counts.handshakes += 1;
    if (socket.isSessionReused()) counts.resumed += 1;
    handshakes.finished(socket);
    void options.onSecure(socket);
  });
  tls.on('OCSPRequest', (leaf: Buffer, _issuer: Buffer, done: (error: Error | null, response?: Buffer | null) => void) => {
    options.staple(new Uint8Array(leaf)).then(
      der => done(null, der === undefined ? null : Buffer.from(der)),
      () => done(null, null),
    );
  });
  tls.on('tlsClientError', (error: NodeJS.ErrnoException, socket) => {
    options.onRefused(socket.remoteAddress ?? 'unknown', `TLS: ${error.code ?? error.message}`);
    socket.destroy();
  });
  // noDelay: with Nagle's algorithm each QoS 1 exchange waits 40 ms for the delayed acknowledgement of TCP.
  const tcp = createServer({ noDelay: true, keepAlive: true, pauseOnConnect: true }, socket => {
    open.add(socket);
    socket.once('close', () => open.delete(socket));
    handshakes.admit(socket);
  });
  tcp.maxConnections = limits.maxConnections;
  tcp.on('drop', options.onFull);
  const useTicketKeys = (): void => {
    if (ticketKeys !== undefined) tls.setTicketKeys(Buffer.from(ticketKeys));
  };

  return {
    /** @throws NusecError as listenOn */
    listen: (place: Place): Promise<number> => listenOn(tcp, place),
    /** @param keys 48 bytes, the same at every process that a session may resume at */
    setTicketKeys(keys: Uint8Array): void {
      ticketKeys = keys;
      ticketSeal = ticketSealOf(keys);
      useTicketKeys();
    },
    setTls(settings: TlsSettings): void {
      tls.setSecureContext(contextOf(settings, limits));
      useTicketKeys();
    },
    stats: () => ({ connections: open.size, ...counts, ...handshakes.stats() }),
    close: (): Promise<void> =>
      new Promise(resolve => {
        tcp.close(() => resolve());
        for (const socket of open) socket.destroy();
      }),
  };
}

const contextOf = (settings: TlsSettings, limits: GatewayLimits): TlsOptions => ({
  ...(settings.cert !== '' && { key: settings.key, cert: settings.cert }),
  ca: [settings.ca].flat(),
  ...tlsVersions(settings.allowTls12 === true),
  sessionIdContext,
  sessionTimeout: limits.ticketLifetimeSeconds,
});
