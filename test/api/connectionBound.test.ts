import { EventEmitter, once } from 'node:events';
import { createServer, get, type IncomingMessage, type ServerResponse } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { boundConnections } from '../../src/api/connectionBound.ts';
import { covers } from '../support/covers.ts';

/** Connections of an HTTP server that are only held open keep nobody out (T22). */

const bound = 8;
const sockets: Socket[] = [];
let sheds = 0;
let slow: ServerResponse | undefined;
let server: ReturnType<typeof createServer>;

beforeEach(async () => {
  server = createServer((request, response) => {
    if (request.url === '/slow') slow = response;
    else response.end('served');
  });
  sheds = 0;
  boundConnections(server, bound, () => {
    sheds += 1;
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
});
afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  server.closeAllConnections();
  server.close();
});

async function silent(localAddress: string): Promise<Socket> {
  const socket = connect({ port: (server.address() as AddressInfo).port, host: '127.0.0.1', localAddress });
  sockets.push(socket);
  socket.on('error', () => undefined);
  socket.resume();
  await once(socket, 'connect');
  return socket;
}
async function ask(path: string, localAddress: string): Promise<string> {
  const { port } = server.address() as AddressInfo;
  const [answer] = (await once(get({ host: '127.0.0.1', port, path, localAddress, agent: false }), 'response')) as [IncomingMessage];
  let text = '';
  for await (const chunk of answer) text += chunk;
  return text;
}

it('ends the oldest idle connection of the fullest address and serves the new one (T22)', async () => {
  covers('T22');
  const quiet = await silent('127.2.2.2');
  const crowd: Socket[] = [];
  for (let i = 0; i < bound - 1; i++) crowd.push(await silent('127.1.1.1'));
  const ended = once(crowd[0]!, 'close');
  expect(await ask('/', '127.3.3.3')).toBe('served');
  await ended;
  expect([quiet, ...crowd.slice(1)].every(socket => !socket.destroyed)).toBe(true);
  expect(sheds).toBe(1);
});

it('ends no connection whose request is being answered while there is an idle one', async () => {
  const answer = ask('/slow', '127.1.1.1');
  while (slow === undefined) await new Promise(resolve => setTimeout(resolve, 5));
  for (let i = 0; i < 3 * bound; i++) await silent('127.1.1.1');
  expect(await ask('/', '127.1.1.1')).toBe('served');
  slow.end('at last');
  expect(await answer).toBe('at last');
});

it('counts connections of one port to several addresses of the server (T22)', () => {
  covers('T22');
  const port = new EventEmitter();
  boundConnections(port as never, 2, () => {
    sheds += 1;
  });
  for (const localAddress of ['127.0.0.1', '127.0.0.2', '127.0.0.3']) {
    const socket = Object.assign(new EventEmitter(), { remoteAddress: '127.1.1.1', remotePort: 1, localAddress, destroy: () => undefined });
    port.emit('connection', socket);
  }
  expect(sheds).toBe(1);
});
