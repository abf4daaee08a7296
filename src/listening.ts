import { constants } from 'node:crypto';
import type { AddressInfo, Server, Socket } from 'node:net';
import type { SecureContextOptions } from 'node:tls';
import { NusecError } from './errors.ts';

/** Listens on TCP ports, and explains to a person why that is not possible; which versions of TLS a listener takes. */

export type Place = {
  /** 0: any free port. */
  readonly port: number;
  readonly host: string;
  /** Other processes may listen on the port too. */
  readonly reusePort?: boolean;
  /** The option by which a person chooses another port; a refusal names it. */
  readonly option?: string;
};

/** Connections that the kernel keeps for us until we accept them, where it permits so many. With Node's 511 a crowd that comes together fills it, and
 *  everybody else's connect waits seconds for its repetition. */
export const listenBacklog = 4096;

/** @returns the port
 *  @throws NusecError PORT_TAKEN (another process listens there), LISTEN_FAILED (not an address of this machine, a port that needs rights) */
export function listenOn(server: Server, place: Place): Promise<number> {
  const { port, host, reusePort = false } = place;
  return new Promise((resolve, reject) => {
    // The listener stays: a later fault of the listening socket must not end the process.
    server.on('error', error => reject(refusalOf(error, place)));
    server.listen({ port, host, reusePort, backlog: listenBacklog }, () => resolve((server.address() as AddressInfo).port));
  });
}

export type Ends = Pick<Socket, 'remoteAddress' | 'remotePort' | 'localAddress'>;

/** Of the connections that are open, one has this key, and the TLS socket on top of it has the same. The server's own port is the same for all. */
export const connectionKey = ({ remoteAddress, remotePort, localAddress }: Ends): string =>
  `${remoteAddress}|${remotePort}|${localAddress}`;

/** Of TLS 1.2 only what has forward secrecy and authenticated encryption (RFC 9325 §4.2), with the ECDSA key that our servers have. */
const ciphers = [
  'TLS_AES_256_GCM_SHA384',
  'TLS_CHACHA20_POLY1305_SHA256',
  'TLS_AES_128_GCM_SHA256',
  'ECDHE-ECDSA-AES256-GCM-SHA384',
  'ECDHE-ECDSA-CHACHA20-POLY1305',
  'ECDHE-ECDSA-AES128-GCM-SHA256',
].join(':');

/** TLS 1.3 only, or TLS 1.2 too, for clients that know nothing newer. */
export const tlsVersions = (allowTls12: boolean): Pick<SecureContextOptions, 'minVersion' | 'ciphers' | 'secureOptions'> =>
  allowTls12 ? { minVersion: 'TLSv1.2', ciphers, secureOptions: constants.SSL_OP_NO_RENEGOTIATION } : { minVersion: 'TLSv1.3' };

function refusalOf(cause: NodeJS.ErrnoException, { port, host, option }: Place): NusecError {
  const another = `another port${option === undefined ? '' : ` (${option})`}`;
  return cause.code === 'EADDRINUSE'
    ? new NusecError('PORT_TAKEN', `port ${port} of ${host} is in use: end the process that listens there, or choose ${another}`, { cause })
    : new NusecError('LISTEN_FAILED', `${cause.message}: choose another address than ${host}, or ${another} than ${port}`, { cause });
}
