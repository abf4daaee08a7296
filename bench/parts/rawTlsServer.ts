import type { AddressInfo } from 'node:net';
import { createServer } from 'node:tls';

/** A server that does nothing but send: so many bytes to everybody who connects, in blocks, over TLS 1.3. It is a process of its own, as ours is. */

export type RawSettings = {
  readonly key: string;
  readonly cert: string;
  readonly totalBytes: number;
  readonly blockBytes: number;
  /** With it clients bring a certificate too, as to ours. */
  readonly ca?: string;
};

process.once('message', ({ key, cert, totalBytes, blockBytes, ca }: RawSettings) => {
  const block = new Uint8Array(blockBytes);
  const server = createServer({ key, cert, minVersion: 'TLSv1.3', ...(ca && { ca, requestCert: true }) }, async socket => {
    socket.on('error', () => undefined);
    for (let sent = 0; sent < totalBytes; sent += blockBytes)
      if (!socket.write(block)) await new Promise(resolve => socket.once('drain', resolve));
    socket.end();
  });
  server.listen(0, '127.0.0.1', () => process.send?.((server.address() as AddressInfo).port));
});
process.once('disconnect', () => process.exit());
