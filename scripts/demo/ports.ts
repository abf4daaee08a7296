import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { createServer } from 'node:net';

/** Reserves TCP ports for a server that is ended and started again: nobody else gets them meanwhile.
 *
 *  They lie below the range from which the system itself gives out ports. The UDP port of the same number is held until the reservation ends:
 *  by that two runs on one machine notice each other. */

const lowest = 20_000;
/** Where the system's own range begins, or below it. */
const above = 32_768;
const host = '127.0.0.1';

export type ReservedPorts = { readonly ports: readonly number[]; close(): void };

export async function reservePorts(count: number): Promise<ReservedPorts> {
  const held = new Map<number, Socket>();
  const range = above - lowest;
  const start = Math.floor(Math.random() * range);
  for (let step = 0; held.size < count && step < range; step += 1) {
    const port = lowest + ((start + step) % range);
    const holder = await hold(port);
    if (holder !== undefined) held.set(port, holder);
  }
  return {
    ports: [...held.keys()],
    close() {
      for (const holder of held.values()) holder.close();
    },
  };
}

/** @returns what holds the port until it is closed; undefined when somebody has it */
async function hold(port: number): Promise<Socket | undefined> {
  const holder = createSocket('udp4');
  try {
    holder.bind({ port, address: host, exclusive: true });
    await once(holder, 'listening');
    const server = createServer().listen(port, host);
    await once(server, 'listening');
    server.close();
    await once(server, 'close');
    return holder;
  } catch {
    holder.close();
    return undefined;
  }
}
