import { PassThrough } from 'node:stream';
import type { Aedes } from 'aedes';
import { defaultLimits } from './limits.ts';
import { type ClientInternals, guardParser } from './parserGuard.ts';
import { Cut } from './presence.ts';

/** Fixed header of a CONNECT that announces 2 MiB (MQTT 3.1.1 §2.2.3). */
const hugeConnect = Buffer.from([0x10, 0x80, 0x80, 0x80, 0x01]);

/** Proves at start-up that the private parts of Aedes and its parser still are where the packet limits need them:
 *  a probe connection announces a huge packet and must be refused. A silent change in a dependency must not switch the limits off.
 *  @throws Error when it is not refused */
export function assertInternals(aedes: Aedes): void {
  const connection = new PassThrough();
  const client = aedes.handle(connection) as ClientInternals;
  try {
    const parser = client._parser;
    const present = [parser?.parse, parser?._parseLength, parser?._emitError].every(part => typeof part === 'function');
    if (!present || typeof client._disconnected !== 'boolean' || client.connackSent !== false) throw new Error('private fields moved');
    if (!isRefused(client)) throw new Error('a packet beyond the limit was accepted');
  } catch (error) {
    throw new Error('this version of Aedes does not fit the packet limits of src/gateway/parserGuard.ts', { cause: error });
  } finally {
    client.close();
    connection.destroy();
  }
}

function isRefused(client: ClientInternals): boolean {
  let refused = false;
  guardParser(client, defaultLimits, () => 0);
  client.removeAllListeners('error');
  client.on('error', error => {
    refused = error instanceof Cut && error.reason === 'PACKET_TOO_LARGE';
  });
  client._parser.parse(hugeConnect);
  return refused;
}
