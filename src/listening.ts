import type { AddressInfo, ListenOptions, Server } from 'node:net';
import { NusecError } from './errors.ts';

/** Listens on TCP ports, and explains to a person why that is not possible. */

export type Place = {
  /** 0: any free port. */
  readonly port: number;
  readonly host: string;
  /** Other processes may listen on the port too. */
  readonly reusePort?: boolean;
  /** The option by which a person chooses another port; a refusal names it. */
  readonly option?: string;
};

/** @returns the port
 *  @throws NusecError PORT_TAKEN (another process listens there), LISTEN_FAILED (not an address of this machine, a port that needs rights) */
export function listenOn(server: Server, place: Place, more: Pick<ListenOptions, 'backlog'> = {}): Promise<number> {
  const { port, host, reusePort = false } = place;
  return new Promise((resolve, reject) => {
    // The listener stays: a later fault of the listening socket must not end the process.
    server.on('error', error => reject(refusalOf(error, place)));
    server.listen({ port, host, reusePort, ...more }, () => resolve((server.address() as AddressInfo).port));
  });
}

function refusalOf(cause: NodeJS.ErrnoException, { port, host, option }: Place): NusecError {
  const another = `another port${option === undefined ? '' : ` (${option})`}`;
  return cause.code === 'EADDRINUSE'
    ? new NusecError('PORT_TAKEN', `port ${port} of ${host} is in use: end the process that listens there, or choose ${another}`, { cause })
    : new NusecError('LISTEN_FAILED', `${cause.message}: choose another address than ${host}, or ${another} than ${port}`, { cause });
}
