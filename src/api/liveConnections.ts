import type { Server, TLSSocket } from 'node:tls';
import type { ClientTrust } from '../services/identity/clientTrust.ts';
import type { Ocsp } from '../services/revocation/ocsp.ts';
import type { Revocations } from '../services/revocation/revocations.ts';

/** What a TLS server does beside its requests: it ends live connections of machines whose certificate is revoked or whose authority is no longer
 *  trusted (T23), and staples an OCSP response to its handshakes (RFC 6066 §8). */

/** Connections with a client certificate are kept by its serial number and closed as soon as that is revoked. Who comes back is let in and
 *  refused in each request, so that the answer names the reason (CERTIFICATE_REVOKED). */
export function endWhenRevoked(server: Server, revocations: Revocations, trust: ClientTrust): void {
  const live = new Map<string, Set<TLSSocket>>();
  server.on('secureConnection', socket => {
    const serialHex = socket.getPeerX509Certificate()?.serialNumber.toLowerCase();
    if (serialHex === undefined) return;
    const sockets = live.get(serialHex) ?? new Set();
    live.set(serialHex, sockets.add(socket));
    socket.once('close', () => {
      sockets.delete(socket);
      if (sockets.size === 0 && live.get(serialHex) === sockets) live.delete(serialHex);
    });
  });
  revocations.onChange(({ serialHex, revoked }) => {
    if (revoked) for (const socket of live.get(serialHex) ?? []) socket.destroy();
  });
  trust.onChange(() => {
    for (const socket of [...live.values()].flatMap(sockets => [...sockets])) if (!isTrusted(socket, trust)) socket.destroy();
  });
}

function isTrusted(socket: TLSSocket, trust: ClientTrust): boolean {
  try {
    const peer = socket.getPeerX509Certificate();
    return peer !== undefined && trust.judge(new Uint8Array(peer.raw)).serialHex !== '';
  } catch {
    return false;
  }
}

/** A client that asks for the status gets it with the handshake; without an answer at hand the handshake continues without it. */
export function staple(server: Server, ocsp: Pick<Ocsp, 'staple'>): void {
  server.on('OCSPRequest', (certificate: Buffer, _issuer: Buffer, done: (error: Error | null, response?: Buffer | null) => void) => {
    ocsp.staple(new Uint8Array(certificate)).then(
      der => done(null, der === undefined ? null : Buffer.from(der)),
      () => done(null, null),
    );
  });
}
