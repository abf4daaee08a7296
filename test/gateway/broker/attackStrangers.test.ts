import { EventEmitter, once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { afterEach, expect, it, onTestFinished, vi } from 'vitest';
import { createHandshakeQueue } from '../../../src/gateway/broker/handshakeQueue.ts';
import { defaultLimits, type GatewayLimits } from '../../../src/gateway/broker/limits.ts';
import { prefixOf } from '../../../src/gateway/broker/prefix.ts';
import { covers } from '../../support/covers.ts';
import { pkiWithDevice } from '../certificates.ts';
import { type Harness, startBroker, uidOf, until } from './harness.ts';
import { connectPacket, openTls, type Wire } from './wire.ts';

/** Connections of nobody knows whom: they take no more than their share, and nobody waits for them (T22). */

const uid = uidOf(1);
const { pki, device } = pkiWithDevice(uid);
let harness: Harness;
const strangers: Socket[] = [];

afterEach(async () => {
  for (const socket of strangers.splice(0)) socket.destroy();
  await harness?.broker.close();
});

const start = async (limits: Partial<GatewayLimits>): Promise<void> => {
  harness = await startBroker(pki, { limits: { handshakeTimeoutMs: 3_600_000, ...limits }, handlers: { hello: async () => undefined } });
};
const stats = () => harness.broker.stats();

/** The first record that a TLS client sends. */
async function clientHello(): Promise<Buffer> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const client = connectTls({ host: '127.0.0.1', port: (server.address() as { port: number }).port, minVersion: 'TLSv1.3' });
  client.on('error', () => undefined);
  const [socket] = (await once(server, 'connection')) as [Socket];
  const [bytes] = (await once(socket, 'data')) as [Buffer];
  client.destroy();
  socket.destroy();
  server.close();
  return bytes;
}
const hello = await clientHello();

/** @param localAddress any of 127.0.0.0/8 */
async function stranger(localAddress: string, says: Uint8Array = new Uint8Array()): Promise<Socket> {
  const socket = connect({ port: harness.port, host: '127.0.0.1', localAddress });
  strangers.push(socket);
  socket.on('error', () => undefined);
  socket.resume();
  await once(socket, 'connect');
  if (says.length > 0) socket.write(says);
  return socket;
}
const crowd = async (count: number, localAddress: (i: number) => string, says?: Uint8Array): Promise<Socket[]> =>
  Promise.all(Array.from({ length: count }, (_, i) => stranger(localAddress(i), says)));
async function openFrom(localAddress: string): Promise<Wire> {
  const from = { localAddress };
  const wire = await openTls(pki, harness.port, device, from);
  wire.send(connectPacket(uid));
  await wire.next(2);
  return wire;
}

it('gives no place to a connection that has sent nothing, or not yet a whole ClientHello (T22)', async () => {
  covers('T22');
  // Places are never given back here: one that was taken would keep the device out for good.
  await start({ maxHandshakesInFlight: 2, handshakePlaceMs: 3_600_000 });
  await crowd(40, () => '127.0.0.1');
  await crowd(10, () => '127.0.0.1', hello.subarray(0, 3));
  await crowd(10, () => '127.0.0.1', hello.subarray(0, hello.length - 1));
  await until(() => stats().silentConnections === 60);
  await openFrom('127.0.0.1');
  expect(stats()).toMatchObject({ handshakesInFlight: 0, silentConnections: 60 });
});

it('lets stalled handshakes keep nobody out for longer than their place lasts (T22)', async () => {
  covers('T22');
  await start({ maxHandshakesInFlight: 4, handshakePlaceMs: 100 });
  await crowd(8, () => '127.0.0.1', hello);
  await openFrom('127.0.0.1');
  await until(() => stats().online === 1);
  expect(stats().connections).toBe(9);
});

it('serves the address with the fewest handshakes first: a crowd of few addresses keeps no other one waiting (T22)', async () => {
  covers('T22');
  await start({ maxHandshakesInFlight: 2, handshakePlaceMs: 300 });
  await crowd(80, i => `127.1.1.${1 + (i % 4)}`, hello);
  await until(() => stats().handshakesWaiting > 60);
  await openFrom('127.9.9.9');
  // First come, first served it would have been the last one.
  expect(stats().handshakesWaiting).toBeGreaterThan(40);
});

it('serves who shows a session ticket of ours before those that nobody knows, and not only those (T22)', async () => {
  covers('T22');
  await start({ maxHandshakesInFlight: 4, handshakePlaceMs: 300 });
  harness.broker.setTicketKeys(Buffer.alloc(48, 1));
  const first = await openTls(pki, harness.port, device);
  const session = await new Promise<Buffer>(resolve => first.socket.once('session', resolve));
  first.destroy();
  // Each of a network of its own: none has a smaller share than another.
  await crowd(80, i => `127.2.${i}.1`, hello);
  await until(() => stats().handshakesWaiting > 60);
  const known = await openTls(pki, harness.port, device, { session, localAddress: '127.9.9.9' });
  expect(known.socket.isSessionReused()).toBe(true);
  expect(stats().handshakesWaiting).toBeGreaterThan(40);
  await until(() => stats().handshakesWaiting === 0);
});

it('ends the oldest of the fullest address when there are too many that have not said who they are, with an alarm (T22)', async () => {
  covers('T22');
  await start({ maxStrangers: 10 });
  const quiet = await stranger('127.2.2.2');
  const [first, ...others] = await crowd(9, () => '127.1.1.1');
  await until(() => stats().silentConnections === 10);
  const ended = once(first!, 'close');
  await stranger('127.1.1.1');
  await ended;
  expect([quiet, ...others].every(socket => !socket.destroyed)).toBe(true);
  expect(harness.alarms).toMatchObject([{ kind: 'STRANGERS_SHED' }]);
  await openFrom('127.3.3.3');
  await until(() => stats().online === 1);
});

/** A queue by a clock that is set by hand. */
function queueOfSilent(given: Partial<GatewayLimits> = {}) {
  vi.useFakeTimers({ toFake: ['setTimeout', 'setImmediate', 'performance'] });
  onTestFinished(() => void vi.useRealTimers());
  const ended: string[] = [];
  const limits = { ...defaultLimits, handshakeTimeoutMs: 1_000, ...given };
  const queue = createHandshakeQueue(limits, { start: () => undefined, onEnded: (_socket, why) => ended.push(why), isKnown: () => false });
  return { queue, ended };
}
const silentSocket = (remotePort: number, place = { remoteAddress: '127.1.1.1', localAddress: '127.0.0.1' }): Socket => {
  const socket = Object.assign(new EventEmitter(), { ...place, remotePort, read: () => null });
  return Object.assign(socket, { destroy: () => socket.emit('close') }) as unknown as Socket;
};

it('ends many silent connections whose time is over a few at a time: between them others are served (T22)', () => {
  covers('T22');
  const { queue, ended } = queueOfSilent();
  for (let port = 1; port <= 1_000; port += 1) queue.admit(silentSocket(port));
  vi.advanceTimersByTime(999);
  expect(ended).toHaveLength(0);
  vi.advanceTimersToNextTimer();
  const inOneTurn = ended.length;
  expect(inOneTurn).toBeGreaterThan(0);
  expect(inOneTurn).toBeLessThan(200);
  queue.admit(silentSocket(2_000));
  vi.advanceTimersByTime(500);
  expect(ended).toEqual(Array(1_000).fill('silent'));
  vi.advanceTimersByTime(600);
  expect(ended).toHaveLength(1_001);
  expect(queue.stats().silentConnections).toBe(0);
});

it('keeps a connection in its bounds whose port was used just before, or at another address of the server (T22)', () => {
  covers('T22');
  const { queue, ended } = queueOfSilent();
  const before = silentSocket(1);
  queue.admit(before);
  queue.admit(silentSocket(1));
  // The end of the earlier one is reported after the next has come.
  before.emit('close');
  queue.admit(silentSocket(1, { remoteAddress: '127.1.1.1', localAddress: '127.0.0.2' }));
  expect(queue.stats().silentConnections).toBe(2);
  vi.advanceTimersByTime(1_000);
  expect(ended).toEqual(['silent', 'silent']);
});

it('forgets connections that were reset before they were accepted: the bound on strangers holds beside them (T22)', () => {
  covers('T22');
  const { queue, ended } = queueOfSilent({ maxStrangers: 3 });
  const nowhere = { remoteAddress: undefined, localAddress: undefined } as never;
  for (let count = 0; count < 10; count += 1) queue.admit(silentSocket(undefined as never, nowhere));
  for (let port = 1; port <= 5; port += 1) queue.admit(silentSocket(port));
  expect(queue.stats().silentConnections).toBe(3);
  expect(ended).toEqual(['crowded', 'crowded']);
});

it('takes a ClientHello that comes byte by byte', async () => {
  await start({});
  const socket = await stranger('127.0.0.1');
  for (const byte of hello.subarray(0, 40)) socket.write(Buffer.of(byte));
  socket.write(hello.subarray(40));
  const [answer] = (await once(socket, 'data')) as [Buffer];
  const serverHandshake = 0x16;
  expect(answer[0]).toBe(serverHandshake);
});

it.each([
  ['192.0.2.7', '192.0.2.0/24'],
  ['::ffff:192.0.2.7', '192.0.2.0/24'],
  ['2001:db8:1:2::3', '2001:db8:1::/48'],
  ['2001:db8::3', '2001:db8:0::/48'],
  ['::1', '0:0:0::/48'],
])('counts %s to the network %s', (address, network) => {
  expect(prefixOf(address)).toBe(network);
});
