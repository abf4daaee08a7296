import { connect, createServer, type Socket } from 'node:net';

/** Passes bytes on from one address to another: `HOST:PORT=HOST:PORT` for each, as a process in a network namespace. Prints a line when it listens. */
export async function relay(from: { host: string; port: number }, to: { host: string; port: number }) {
  const sockets = new Set<Socket>();
  const server = createServer(near => {
    const far = connect(to.port, to.host);
    for (const [one, other] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(one);
      one.setNoDelay(true);
      one.pipe(other);
      one.on('error', () => one.destroy());
      one.on('close', () => {
        sockets.delete(one);
        other.destroy();
      });
    }
  });
  await new Promise<void>((resolve, reject) => server.once('error', reject).listen(from.port, from.host, resolve));
  const address = server.address();
  return {
    port: typeof address === 'object' ? (address?.port ?? 0) : 0,
    close(): void {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}

const place = (text: string): { host: string; port: number } => {
  const colon = text.lastIndexOf(':');
  return { host: text.slice(0, colon), port: Number(text.slice(colon + 1)) };
};

if (import.meta.main) {
  for (const pair of process.argv.slice(2)) {
    const [from = '', to = ''] = pair.split('=');
    await relay(place(from), place(to));
  }
  console.log('{}');
}
