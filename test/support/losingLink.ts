import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';

/** A TCP link to a server on loopback that loses one message: the connection ends where the message would have gone on. It knows nothing of what it
 *  carries: a message is what comes from one side until the other side sends. */
export type LosingLink = {
  readonly port: number;
  /** Where to, from now on. */
  open(serverPort: number): void;
  /** Loses the message of this number, counted from now on over all connections, the first is 0. @returns whether it has come */
  lose(message: number): () => boolean;
  close(): Promise<void>;
};

/** @param serverPort when it is known already */
export async function losingLink(serverPort = 0): Promise<LosingLink> {
  const sockets = new Set<Socket>();
  let left = Number.POSITIVE_INFINITY;
  let hasLost = false;
  let to = serverPort;
  const server = createServer(near => {
    const far = connect(to, '127.0.0.1');
    let speaker: Socket | undefined;
    for (const [from, other] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(from);
      from.setNoDelay(true);
      from.on('error', () => other.destroy());
      from.on('close', () => {
        sockets.delete(from);
        other.destroy();
      });
      from.on('data', bytes => {
        if (speaker !== from) left -= 1;
        speaker = from;
        if (left >= 0) return void other.write(bytes);
        left = Number.POSITIVE_INFINITY;
        hasLost = true;
        near.destroy();
        far.destroy();
      });
    }
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    open(port) {
      to = port;
    },
    lose(message) {
      left = message;
      hasLost = false;
      return () => hasLost;
    },
    async close() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}
