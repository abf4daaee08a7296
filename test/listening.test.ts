import { once } from 'node:events';
import { connect, createServer, type Server } from 'node:net';
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
