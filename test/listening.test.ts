import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect, createServer, type Server } from 'node:net';
import { Worker } from 'node:worker_threads';
import { expect, it, onTestFinished } from 'vitest';
import { listenOn } from '../src/listening.ts';

const host = '127.0.0.1';

function aServer(): Server {
  const server = createServer();
  onTestFinished(() => new Promise<void>(resolve => server.close(() => resolve())));
  return server;
}

it('gives the port that it listens on', async () => {
  const [one, two] = [aServer(), aServer()];
  expect(await listenOn(one, { port: 0, host })).toBeGreaterThan(0);
  const port = await listenOn(two, { port: 0, host, reusePort: true });
  expect(await listenOn(aServer(), { port, host, reusePort: true })).toBe(port);
});

it('names the port that is taken and the option by which a person chooses another', async () => {
  const port = await listenOn(aServer(), { port: 0, host });
  await expect(listenOn(aServer(), { port, host, option: '--some-port' })).rejects.toMatchObject({
    code: 'PORT_TAKEN',
    message: expect.stringMatching(new RegExp(`port ${port} of ${host} .*--some-port`)),
  });
});

it('tells an address that is not one of this machine from a port that is taken', async () => {
  await expect(listenOn(aServer(), { port: 0, host: '192.0.2.1' })).rejects.toMatchObject({ code: 'LISTEN_FAILED' });
});

it('outlives a later fault of the listening socket', async () => {
  const server = aServer();
  const port = await listenOn(server, { port: 0, host });
  server.emit('error', new Error('too many open files'));
  const socket = connect(port, host);
  await once(socket, 'connect');
  socket.destroy();
});

/** More than the 511 of Node. */
const crowd = 700;

it('a crowd that comes together while the server is busy is taken in by the kernel', async ({ skip }) => {
  const most = Number(readFileSync('/proc/sys/net/core/somaxconn', 'utf8'));
  if (most < crowd) skip(`this kernel keeps ${most} connections (net.core.somaxconn)`);
  const busy = new Int32Array(new SharedArrayBuffer(4));
  const server = new Worker(new URL('./support/busyServer.ts', import.meta.url), { workerData: busy });
  onTestFinished(async () => void (await server.terminate()));
  const [port] = (await once(server, 'message')) as [number];
  const sockets = Array.from({ length: crowd }, () => connect(port, host));
  // One beyond the backlog would wait for as long as nobody accepts.
  await Promise.all(sockets.map(socket => once(socket, 'connect')));
  for (const socket of sockets) socket.destroy();
  Atomics.store(busy, 0, 1);
  Atomics.notify(busy, 0);
});
