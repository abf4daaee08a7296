import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';

/** A TCP link to a server on loopback on which what the server sends can be held back: a download that stands still in the middle. */
export type HeldLink = {
  readonly port: number;
  /** Lets so many bytes of the server through, and nothing more. Resolves when they have gone through. */
  hold(bytes: number): Promise<void>;
  /** Lets everything through. @param delayMs of each portion of bytes: a link that is slow, and not still */
  release(delayMs?: number): void;
  close(): Promise<void>;
};

export async function heldLink(serverPort: number): Promise<HeldLink> {
  const sockets = new Set<Socket>();
  const upstreams = new Set<Socket>();
  let left = Number.POSITIVE_INFINITY;
  let held = Promise.withResolvers<void>();
  let delayMs = 0;
  const forward = (upstream: Socket, device: Socket) => (bytes: Buffer) => {
    if (delayMs > 0) {
      upstream.pause();
      setTimeout(() => {
        device.write(bytes);
        upstream.resume();
      }, delayMs);
      return;
    }
    device.write(bytes);
    left -= bytes.length;
    if (left > 0) return;
    upstream.pause();
    held.resolve();
  };
  const server = createServer(device => {
    const upstream = connect(serverPort, '127.0.0.1');
    upstreams.add(upstream);
    for (const [one, other] of [
      [device, upstream],
      [upstream, device],
    ] as const) {
      sockets.add(one);
      one.on('error', () => other.destroy()).on('close', () => other.destroy());
    }
    device.pipe(upstream);
    upstream.on('data', forward(upstream, device));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    hold(bytes) {
      left = bytes;
      held = Promise.withResolvers();
      return held.promise;
    },
    release(slowlyMs = 0) {
      delayMs = slowlyMs;
      left = Number.POSITIVE_INFINITY;
      for (const upstream of upstreams) upstream.resume();
    },
    async close() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}
