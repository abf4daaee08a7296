import { PassThrough } from 'node:stream';
import type { Aedes } from 'aedes';
import { type ClientInternals, listClassOf } from './internals.ts';
import { defaultLimits } from './limits.ts';
import { guardParser } from './parserGuard.ts';
import { Cut } from './presence.ts';
import { spareMemory } from './spareMemory.ts';

/** Fixed header of a CONNECT that announces 2 MiB (MQTT 3.1.1 §2.2.3). */
const hugeConnect = Buffer.from([0x10, 0x80, 0x80, 0x80, 0x01]);

/** Proves at start-up that the private parts still are where the limits need them: a probe connection announces a huge packet and must be
 *  refused. A silent change in a dependency must not switch the limits off.
 *  @throws Error when something moved */
export function assertInternals(aedes: Aedes): void {
  const connection = new PassThrough();
  const client = aedes.handle(connection) as ClientInternals;
  try {
    if (!isComplete(client, connection)) throw new Error('private fields moved');
    if (!isRefused(client)) throw new Error('a packet beyond the limit was accepted');
  } catch (error) {
    throw new Error('this version of Aedes does not fit the limits of src/gateway', { cause: error });
  } finally {
    client.close();
    connection.destroy();
  }
}

function isComplete(client: ClientInternals, connection: PassThrough): boolean {
  const { _parser: parser } = client;
  const methods = [
    parser?.parse,
    parser?._parseLength,
    parser?._newPacket,
    parser?._emitError,
    parser?._list?.readUInt16BE,
    parser?._list && listClassOf(parser).BufferList,
    client._onError,
    client._eos,
    client.waitForDrain,
    client.pause,
    client.resume,
  ];
  const fields =
    client._disconnected === false &&
    client.connackSent === false &&
    client.connected === false &&
    client._authorized === false &&
    client._keepaliveTimer === null &&
    client._keepaliveInterval === -1 &&
    client._parsingBatch === 1 &&
    Object.keys(client.duplicates).length === 0 &&
    client._inboundInflight.size === 0;
  return fields && methods.every(method => typeof method === 'function') && connection.listeners('readable').includes(client._nextBatch);
}

function isRefused(client: ClientInternals): boolean {
  let refused = false;
  guardParser(client, defaultLimits, () => 0);
  spareMemory(client);
  client.removeAllListeners('error');
  client.on('error', error => {
    refused = error instanceof Cut && error.reason === 'PACKET_TOO_LARGE';
  });
  client._parser.parse(hugeConnect);
  return refused;
}
