import { connect, type Socket } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import type { GatewayLimits } from '../../../src/gateway/broker/limits.ts';
import { covers } from '../../support/covers.ts';
import { pkiWithDevice } from '../certificates.ts';
import { endings, type Harness, reasons, startBroker, uidOf, until } from './harness.ts';
import { connectPacket, field, openMqtt, openTls, packet, pingPacket, publishPacket, type Wire } from './wire.ts';

const uid = uidOf(1);
const hello = `n1/${uid}/up/hello`;
const { pki, device } = pkiWithDevice(uid);
let harness: Harness;

afterEach(() => harness.broker.close());

const start = async (limits: Partial<GatewayLimits> = {}): Promise<void> => {
  harness = await startBroker(pki, { limits, handlers: { hello: async () => undefined } });
};
const open = (): Promise<Wire> => openMqtt(pki, harness.port, device, uid);

const openTcp = (): Promise<Socket> =>
  new Promise(resolve => {
    const socket = connect(harness.port, '127.0.0.1', () => resolve(socket));
    socket.on('error', () => undefined);
    socket.resume();
  });
const closed = (socket: Socket): Promise<void> => new Promise(resolve => socket.once('close', () => resolve()));

describe('no packet limit', () => {
  it('reads at most 1 KiB before CONNACK: the announced length is enough (T27)', async () => {
    covers('T27');
    await start();
    for (const bytes of [
      packet(0x10, Buffer.alloc(1025)).subarray(0, 4),
      connectPacket('x'.repeat(1024)),
      packet(0x30, Buffer.alloc(2000)),
    ]) {
      const wire = await openTls(pki, harness.port, device);
      wire.send(bytes);
      await wire.closed;
    }
    await until(() => harness.presence.length === 3);
    expect(reasons(harness)).toEqual(['PACKET_TOO_LARGE', 'PACKET_TOO_LARGE', 'PACKET_TOO_LARGE']);
  });

  it('takes 128 KiB after CONNACK and cuts at more (T27)', async () => {
    covers('T27');
    await start();
    const wire = await open();
    wire.send(publishPacket(hello, Buffer.alloc(128 * 1024)));
    await wire.next(4);
    wire.send(packet(0x32, Buffer.alloc(129 * 1024)).subarray(0, 5));
    await wire.closed;
    await until(() => reasons(harness).length === 1);
    expect(reasons(harness)).toEqual(['PACKET_TOO_LARGE']);
  });

  it('cuts a length of more than four bytes (T27)', async () => {
    covers('T27');
    await start();
    const wire = await open();
    wire.send(Buffer.from([0x30, 0xff, 0xff, 0xff, 0xff, 0x01]));
    await wire.closed;
    await until(() => reasons(harness).length === 1);
    expect(reasons(harness)).toEqual(['FORBIDDEN']);
  });
});

describe('slow-loris', () => {
  it('ends a TCP connection that never starts TLS', async () => {
    await start({ handshakeTimeoutMs: 150 });
    await closed(await openTcp());
    await until(() => reasons(harness).length === 1);
    expect(reasons(harness)).toEqual(['AUTH_ERROR']);
  });

  it('ends a handshake that drips byte by byte: the time is absolute', async () => {
    await start({ handshakeTimeoutMs: 200 });
    const socket = await openTcp();
    socket.write(Buffer.from([0x16, 0x03, 0x01, 0x02, 0x00, 0x01]));
    const drip = setInterval(() => socket.write(Buffer.from([0])), 20);
    await closed(socket);
    clearInterval(drip);
  });

  it('ends a TLS connection that never sends CONNECT, and one whose CONNECT drips', async () => {
    await start({ connectTimeoutMs: 150 });
    const silent = await openTls(pki, harness.port, device);
    const dripping = await openTls(pki, harness.port, device);
    const bytes = connectPacket(uid);
    let at = 0;
    const drip = setInterval(() => {
      dripping.send(bytes.subarray(at, at + 1));
      at += 1;
    }, 30);
    await Promise.all([silent.closed, dripping.closed]);
    clearInterval(drip);
    await until(() => endings(harness).length === 2);
    expect(endings(harness)).toEqual(Array(2).fill('AUTH_ERROR: connect did not arrive in time'));
  });
});

describe('keepalive 0', () => {
  it.each([0, 65_535])('clamps a keepalive of %d s and misses the silent client', async keepalive => {
    await start({ maxKeepaliveSeconds: 0.1 });
    const wire = await openMqtt(pki, harness.port, device, uid, { keepalive });
    await wire.closed;
    await until(() => reasons(harness).length === 1);
    expect(reasons(harness)).toEqual(['KEEP_ALIVE_TIMEOUT']);
  });
});

describe('floods', () => {
  it('slows a publish flood down by delaying, loses nothing, and serves the others', async () => {
    await start({ device: { publishPerSecond: 10, publishBurst: 5, maxOutstandingBytes: 1e6 } });
    const wire = await open();
    const other = await openMqtt(pki, harness.port, pki.device(uidOf(2)), uidOf(2));
    const flood = 35;
    for (let id = 1; id <= flood; id += 1) wire.send(publishPacket(hello, 'x', { id }));
    other.send(publishPacket(`n1/${uidOf(2)}/up/hello`, 'y'));
    await other.next(4);
    expect(wire.packets.length).toBeLessThan(flood);
    for (let id = 1; id <= flood; id += 1) expect((await wire.next(4)).body.readUInt16BE(0)).toBe(id);
  });

  it('stops reading from a client that floods: the kernel holds the rest', async () => {
    await start({ device: { publishPerSecond: 1, publishBurst: 1, maxOutstandingBytes: 1e6 } });
    const wire = await open();
    const big = publishPacket(hello, Buffer.alloc(60_000));
    for (let sent = 0; sent < 400; sent += 1) wire.socket.write(big);
    await new Promise(resolve => setTimeout(resolve, 300));
    expect(wire.socket.writableLength).toBeGreaterThan(400 * 60_000 * 0.5);
    wire.destroy();
  });

  it('slows down who sends large messages, by their bytes, and answers all of them', async () => {
    await start({ deviceInboundBytesPerSecond: 1_000_000, inboundBurstBytes: 100_000 });
    const wire = await open();
    const other = await openMqtt(pki, harness.port, pki.device(uidOf(2)), uidOf(2));
    for (let id = 1; id <= 10; id += 1) wire.send(publishPacket(hello, Buffer.alloc(50_000), { id }));
    other.send(publishPacket(`n1/${uidOf(2)}/up/hello`, 'y'));
    await other.next(4);
    expect(wire.packets.length).toBeLessThan(10);
    for (let id = 1; id <= 10; id += 1) expect((await wire.next(4)).body.readUInt16BE(0)).toBe(id);
  });

  it('cuts a ping flood, which no hook sees', async () => {
    await start({ controlPacketsPerSecond: 100, controlPacketBurst: 200 });
    const wire = await open();
    wire.send(...Array<Buffer>(1_000).fill(pingPacket));
    await wire.closed;
    await until(() => reasons(harness).length === 1);
    expect(reasons(harness)).toEqual(['THROTTLED']);
  });

  it('serves a client that does not wait for its CONNACK, as it may (MQTT 3.1.1 §3.1.4), within its bounds', async () => {
    await start({ controlPacketsPerSecond: 1, controlPacketBurst: 50 });
    const wire = await openTls(pki, harness.port, device);
    wire.send(connectPacket(uid), publishPacket(hello, 'x'), ...Array<Buffer>(40).fill(pingPacket));
    await wire.next(4);
    for (let pings = 0; pings < 40; pings += 1) await wire.next(13);
    wire.send(...Array<Buffer>(40).fill(pingPacket));
    await wire.closed;
    await until(() => reasons(harness).length === 1);
    expect(reasons(harness)).toEqual(['THROTTLED']);
  });
});

describe('connect buckets', () => {
  it('refuses a device that reconnects in a loop, and only that one', async () => {
    await start({ connectBurst: 3, connectsPerMinute: 1 });
    for (let count = 0; count < 3; count += 1) {
      const wire = await open();
      wire.destroy();
    }
    await expect(open()).rejects.toThrow();
    await until(() => reasons(harness).includes('THROTTLED'));
    await openMqtt(pki, harness.port, pki.device(uidOf(2)), uidOf(2));
  });

  it('raises an alarm when two chips with one identity keep pushing each other out', async () => {
    await start({ takeoverBurst: 2, takeoversPerMinute: 1 });
    const wires = [await open(), await open(), await open(), await open()];
    await Promise.all(wires.slice(0, 3).map(wire => wire.closed));
    await until(() => reasons(harness).length === 3);
    expect(reasons(harness)).toEqual(Array(3).fill('DUPLICATE_CLIENTID'));
    expect(harness.alarms).toMatchObject([{ kind: 'DUPLICATE_IDENTITY', identity: { uid } }]);
    expect(harness.broker.stats().online).toBe(1);
    expect(harness.broker.isConnected(uid)).toBe(true);
  });
});

describe('connections', () => {
  it('drops what is beyond maxConnections, with an alarm', async () => {
    await start({ maxConnections: 2 });
    const [one, two] = [await openTcp(), await openTcp()];
    await closed(await openTcp());
    expect(harness.alarms).toMatchObject([{ kind: 'CONNECTIONS_EXHAUSTED' }]);
    one.destroy();
    two.destroy();
    await until(() => harness.broker.stats().connections === 0);
    await open();
  });

  it('serves a storm of connections with few handshakes in flight, and loses none', async () => {
    await start({ maxHandshakesInFlight: 4 });
    const credentials = Array.from({ length: 20 }, (_, index) => ({ uid: uidOf(index + 10), keys: pki.device(uidOf(index + 10)) }));
    const wires = await Promise.all(credentials.map(({ uid, keys }) => openMqtt(pki, harness.port, keys, uid)));
    expect(wires.length).toBe(20);
    await until(() => harness.broker.stats().online === 20);
    expect(harness.broker.stats()).toMatchObject({ connections: 20, handshakesInFlight: 0, handshakesWaiting: 0 });
  });
});

describe('a malformed CONNECT', () => {
  it.each([
    ['without protocol name', packet(0x10, Buffer.from([0, 0]))],
    ['with a foreign protocol name', packet(0x10, field('HTTP'), Buffer.from([4, 2, 0, 60]), field(uid))],
    ['with reserved flags', packet(0x10, field('MQTT'), Buffer.from([4, 3, 0, 60]), field(uid))],
    ['that is cut short', packet(0x10, field('MQTT'), Buffer.from([4, 2, 0, 60]))],
    ['that is a PUBLISH', publishPacket(hello, 'x')],
    ['that is a ping', pingPacket],
  ])('%s ends the connection (T27)', async (_name, bytes) => {
    covers('T27');
    await start();
    const wire = await openTls(pki, harness.port, device);
    wire.send(bytes);
    await wire.closed;
    await until(() => harness.presence.length === 1);
    expect(harness.presence[0]).toMatchObject({ state: 'refused', identity: { uid } });
  });
});
