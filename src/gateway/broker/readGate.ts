import type { ClientInternals } from './internals.ts';

/** Takes over the reading of a connection: the next bytes are read when every packet of the last read is done, never before.
 *
 *  Stock Aedes counts packets down on every `readable` event too and so reads on while hooks wait: a client that is being slowed down
 *  could fill the memory. Here at most one read of the socket (64 KiB) and one unfinished packet are held per connection. */
export function gateReading(client: ClientInternals): void {
  let packetsInWork = 0;
  const read = (): void => {
    if (packetsInWork > 0) return;
    const bytes: Buffer | null = client.conn.read();
    if (bytes !== null) client._parser.parse(bytes);
  };
  client.conn.removeListener('readable', client._nextBatch);
  client._parser.prependListener('packet', () => {
    packetsInWork += 1;
  });
  // Aedes starts at 1 and takes the packet that finds 0 as the first one (lib/client.js, enqueue).
  client._parsingBatch = 0;
  // Aedes pauses and resumes around authentication; CONNECT is a packet in work, which is the same.
  client.pause = client.resume = () => undefined;
  client._nextBatch = error => {
    if (error) {
      client.emit('error', error);
      return;
    }
    packetsInWork -= 1;
    read();
  };
  client.conn.on('readable', read);
}
