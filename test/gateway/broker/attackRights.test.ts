import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { decodeCbor } from '../../../src/cbor/decode.ts';
import { encodeCbor } from '../../../src/cbor/encode.ts';
import type { UpMessage } from '../../../src/gateway/broker/handler.ts';
import { covers } from '../../support/covers.ts';
import { type Credentials, pkiWithDevice } from '../certificates.ts';
import { endings, type Harness, reasons, startBroker, uidOf, until } from './harness.ts';
import {
  connectPacket,
  disconnectPacket,
  field,
  openMqtt,
  openTls,
  packet,
  publishPacket,
  readPublish,
  subscribePacket,
  type Wire,
} from './wire.ts';

const uid = uidOf(1);
const other = uidOf(2);
const { pki, device } = pkiWithDevice(uid);
let harness: Harness;
let heard: UpMessage[];

beforeEach(async () => {
  heard = [];
  const hear = async (message: UpMessage) => void heard.push(message);
  harness = await startBroker(pki, { handlers: { hello: hear, spdm: hear, job: hear, ota: hear, lwt: hear } });
});
afterEach(() => harness.broker.close());

const open = (): Promise<Wire> => openMqtt(pki, harness.port, device, uid);

async function errorOf(wire: Wire): Promise<unknown> {
  const { topic, payload } = readPublish(await wire.next(3));
  expect(topic).toMatch(/\/dn\/(.*\/)?err$/);
  const map = decodeCbor(payload) as ReadonlyMap<number, unknown>;
  return { cid: map.get(0), code: map.get(1) };
}

describe('exact-prefix rights', () => {
  it.each([
    `n1/${other}/up/hello`,
    `n1/${uid}/dn/spdm`,
    `n1/${uid}/up/unknown`,
    `n1/${uid}/up/hello/more`,
    `n1/${uid}/up/job`,
    `n1/${uid}/up/job/`,
    `n1/${uid}/up/job/1/2/3/4/5`,
    `n1/${uid}/up/job/a b`,
    `n1/${uid}/up/csr`,
    `n1/${uid}`,
    `n1/${uid}/up/`,
    `/n1/${uid}/up/hello`,
    `N1/${uid}/up/hello`,
    `n1/g/g1/${uid}/up/hello`,
    '$SYS/x/heartbeat',
    'hello',
  ])('refuses a publish to %s: the error, the PUBACK, the end', async topic => {
    covers('T20');
    const wire = await open();
    wire.send(publishPacket(topic, encodeCbor(new Map([[0, 99]]))));
    expect(await errorOf(wire)).toEqual({ cid: 99, code: 'TOPIC_FORBIDDEN' });
    // Otherwise a standard client would send it again on every connection.
    await wire.next(4);
    await wire.closed;
    await until(() => reasons(harness).length === 1);
    expect(reasons(harness)).toEqual(['FORBIDDEN']);
    expect(heard).toEqual([]);
  });

  it('hears every topic of the table, with its path', async () => {
    const wire = await open();
    const tails = ['hello', 'spdm', 'job/next', 'job/0f-1_a', 'ota/7'];
    for (const [index, tail] of tails.entries())
      wire.send(publishPacket(`n1/${uid}/up/${tail}`, 'x', { id: index + 1, qos: tail === 'ota/7' ? 0 : 1 }));
    await until(() => heard.length === tails.length);
    expect(heard.map(({ family, path }) => [family, ...path].join('/'))).toEqual(tails);
  });

  it('routes what a device says to nobody, not even to the device itself', async () => {
    const witness = await openMqtt(pki, harness.port, pki.device(other), other);
    const wire = await open();
    wire.send(publishPacket(`n1/${uid}/up/hello`, 'x'));
    await wire.next(4);
    await new Promise(resolve => setTimeout(resolve, 30));
    expect([...witness.packets, ...wire.packets]).toEqual([]);
  });
});

describe('wildcards, deep topics, retained messages, QoS 2', () => {
  it.each([
    ['a wildcard #', publishPacket('n1/#', 'x')],
    ['a wildcard +', publishPacket('n1/+/up/hello', 'x')],
    ['a topic of 5 000 levels', publishPacket(`n1/${uid}/up${'/'.repeat(5000)}`, 'x')],
    ['an empty topic', publishPacket('', 'x')],
    ['QoS 2', publishPacket(`n1/${uid}/up/hello`, 'x', { qos: 2 })],
    ['QoS 3', publishPacket(`n1/${uid}/up/hello`, 'x', { qos: 3 })],
    ['a PUBREC', packet(0x50, Buffer.from([0, 1]))],
    ['a second CONNECT', connectPacket(uid)],
    ['a CONNACK', packet(0x20, Buffer.from([0, 0]))],
    ['packet identifier 0', publishPacket(`n1/${uid}/up/hello`, 'x', { id: 0 })],
    ['packet identifier 0 in SUBSCRIBE', subscribePacket(`n1/${uid}/dn/#`, 0)],
    ['DUP with QoS 0', Buffer.concat([Buffer.from([0x38]), publishPacket(`n1/${uid}/up/hello`, 'x', { qos: 0 }).subarray(1)])],
    ['a PINGREQ with a body', packet(0xc0, Buffer.from([1]))],
    ['a DISCONNECT with a body', packet(0xe0, Buffer.from([0, 0]))],
    ['a PUBACK of three bytes', packet(0x40, Buffer.from([0, 1, 0]))],
    ['nine filters in one SUBSCRIBE', packet(0x82, Buffer.from([0, 1]), ...Array(9).fill(Buffer.concat([field('a'), Buffer.from([1])])))],
  ])('cuts the connection for %s, and says so first', async (_name, bytes) => {
    const wire = await open();
    await until(() => harness.broker.isConnected(uid));
    wire.send(bytes);
    const { topic, payload } = readPublish(await wire.next(3), 0);
    expect(topic).toBe(`n1/${uid}/dn/err`);
    expect((decodeCbor(payload) as ReadonlyMap<number, unknown>).get(1)).toBe('BAD_REQUEST');
    await wire.closed;
    await until(() => reasons(harness).length === 1);
    expect(reasons(harness)).toEqual(['FORBIDDEN']);
    expect(heard).toEqual([]);
  });

  it('acknowledges what it can never accept: QoS 2, what is too large, wildcards; a client sends it no more', async () => {
    for (const [bytes, type] of [
      [publishPacket(`n1/${uid}/up/hello`, 'x', { qos: 2, id: 7 }), 5],
      [publishPacket(`n1/${uid}/up/hello`, Buffer.alloc(200_000), { id: 7 }), 4],
      [publishPacket('n1/+/up/hello', 'x', { id: 7 }), 4],
    ] as const) {
      const wire = await open();
      await until(() => harness.broker.isConnected(uid));
      wire.send(bytes);
      expect((await wire.next(type)).body.readUInt16BE(0)).toBe(7);
      expect(readPublish(await wire.next(3), 0).topic).toBe(`n1/${uid}/dn/err`);
      await wire.closed;
    }
    const wire = await open();
    wire.send(packet(0x62, Buffer.from([0, 7])));
    expect((await wire.next(7)).body.readUInt16BE(0)).toBe(7);
    expect(heard).toEqual([]);
  });

  it('refuses a retained message', async () => {
    const wire = await open();
    wire.send(publishPacket(`n1/${uid}/up/hello`, 'x', { retain: true }));
    expect(await errorOf(wire)).toEqual({ cid: undefined, code: 'TOPIC_FORBIDDEN' });
    await wire.closed;
    expect(heard).toEqual([]);
  });
});

describe('subscriptions', () => {
  it.each(['#', 'n1/#', `n1/${other}/dn/#`, `n1/${uid}/#`, `n1/${uid}/dn/+`, '$SYS/#', '+/+/dn/err'])(
    'answers SUBSCRIBE %s with 0x80',
    async filter => {
      const wire = await open();
      wire.send(subscribePacket(filter));
      expect((await wire.next(9)).body[2]).toBe(0x80);
      await until(() => harness.broker.isConnected(other) === false && harness.broker.isConnected(uid));
      expect(await harness.broker.publish(uid, 'order', Buffer.from('one'))).toBe(true);
      expect(readPublish(await wire.next(3)).topic).toBe(`n1/${uid}/dn/order`);
      await new Promise(resolve => setTimeout(resolve, 20));
      expect(wire.packets).toEqual([]);
    },
  );

  it('grants the own prefix to clients that insist, and delivers once all the same', async () => {
    const wire = await open();
    wire.send(subscribePacket(`n1/${uid}/dn/#`));
    expect((await wire.next(9)).body[2]).toBe(1);
    await harness.broker.publish(uid, 'order', Buffer.from('one'));
    await wire.next(3);
    await new Promise(resolve => setTimeout(resolve, 20));
    expect(wire.packets).toEqual([]);
  });

  it('cannot be flooded: refused filters cost tokens', async () => {
    await harness.broker.close();
    harness = await startBroker(pki, { limits: { device: { publishPerSecond: 10, publishBurst: 5, maxOutstandingBytes: 1e6 } } });
    const wire = await open();
    const witness = await openMqtt(pki, harness.port, pki.device(other), other);
    const flood = 30;
    for (let id = 1; id <= flood; id += 1) wire.send(subscribePacket('#', id));
    witness.send(publishPacket(`n1/${other}/up/hello`, 'x'));
    await witness.next(4);
    expect(wire.packets.length).toBeLessThan(flood);
    for (let id = 1; id <= flood; id += 1) await wire.next(9);
  });
});

describe('will abuse', () => {
  const topic = `n1/${uid}/up/lwt`;
  it.each([
    ['on a foreign topic', { topic: `n1/${other}/up/lwt`, payload: 'x' }],
    ['on another own topic', { topic: `n1/${uid}/up/hello`, payload: 'x' }],
    ['on a wildcard', { topic: '#', payload: 'x' }],
    ['of 129 bytes', { topic, payload: Buffer.alloc(129) }],
    ['that is retained', { topic, payload: 'x', retain: true }],
    ['with QoS 2', { topic, payload: 'x', qos: 2 }],
  ])('refuses a will %s', async (_name, will) => {
    const wire = await openTls(pki, harness.port, device);
    wire.send(connectPacket(uid, { will }));
    expect((await wire.next(2)).body[1]).toBe(5);
    await wire.closed;
    await until(() => endings(harness).length === 1);
    expect(endings(harness)).toEqual(['FORBIDDEN: will not permitted']);
    expect(heard).toEqual([]);
  });

  it('hands the permitted will to its handler when the connection breaks, and not after DISCONNECT', async () => {
    const polite = await openMqtt(pki, harness.port, device, uid, { will: { topic, payload: 'polite' } });
    polite.send(disconnectPacket);
    await until(() => reasons(harness).length === 1);
    const broken = await openMqtt(pki, harness.port, device, uid, { will: { topic, payload: Buffer.alloc(128, 'b'), qos: 1 } });
    broken.destroy();
    await until(() => heard.length === 1 && reasons(harness).length === 2);
    expect(heard[0]).toMatchObject({ uid, family: 'lwt', payload: new Uint8Array(128).fill(98) });
    expect(reasons(harness)).toEqual(['CLIENT_INITIATED', 'CONNECTION_LOST']);
  });
});

describe('sessions', () => {
  it('refuses a session that is not clean: the event store is the queue', async () => {
    const wire = await openTls(pki, harness.port, device);
    wire.send(connectPacket(uid, { clean: false }));
    expect((await wire.next(2)).body[1]).toBe(5);
    await until(() => endings(harness).length === 1);
    expect(endings(harness)).toEqual(['FORBIDDEN: clean session only']);
  });

  it('takes eight filters in one SUBSCRIBE', async () => {
    const wire = await open();
    const filters = Array.from({ length: 8 }, (_, i) => Buffer.concat([field(`f${i}`), Buffer.from([1])]));
    wire.send(packet(0x82, Buffer.from([0, 1]), ...filters));
    expect([...(await wire.next(9)).body.subarray(2)]).toEqual(Array(8).fill(0x80));
  });

  it('refuses a password without a user name', async () => {
    const wire = await openTls(pki, harness.port, device);
    wire.send(packet(0x10, field('MQTT'), Buffer.from([4, 0x42, 0, 60]), field(uid), field('secret')));
    expect((await wire.next(2)).body[1]).toBe(5);
  });

  it.each([
    [3, [0, 1]],
    [0x84, [0, 1]],
    // Session present, "unsupported protocol version", no properties.
    [5, [0, 0x84, 0]],
  ])('refuses MQTT protocol level %d with a CONNACK that such a client understands', async (level, connack) => {
    const wire = await openTls(pki, harness.port, device);
    const properties = level === 5 ? [Buffer.from([0])] : [];
    wire.send(packet(0x10, field('MQTT'), Buffer.from([level, 2, 0, 60]), ...properties, field(uid)));
    expect([...(await wire.next(2)).body]).toEqual(connack);
    await wire.closed;
    await until(() => harness.presence.length === 1);
    expect(harness.presence[0]?.state).toBe('refused');
  });
});

describe('gateways', () => {
  let gateway: Credentials;
  beforeAll(() => {
    gateway = pki.gateway('g1');
  });
  const openGateway = (): Promise<Wire> => openMqtt(pki, harness.port, gateway, 'gateway-g1');

  it('speaks for an attached device and is answered for it', async () => {
    harness.attached.add(`g1/${uid}`);
    const wire = await openGateway();
    wire.send(publishPacket(`n1/g/g1/${uid}/up/spdm`, 'x'));
    await wire.next(4);
    expect(heard).toMatchObject([{ uid, family: 'spdm', identity: { kind: 'gateway', gatewayId: 'g1' } }]);
    await heard[0]?.reply('spdm', Buffer.from('y'));
    expect(readPublish(await wire.next(3)).topic).toBe(`n1/g/g1/dn/${uid}/spdm`);
    expect(harness.broker.isConnected(uid)).toBe(true);
    expect(await harness.broker.publish(uid, 'order', Buffer.from('z'))).toBe(true);
    expect(readPublish(await wire.next(3)).topic).toBe(`n1/g/g1/dn/${uid}/order`);
  });

  it('is refused for a device that is not attached, with an alarm; the others keep their connection (T20)', async () => {
    covers('T20');
    harness.attached.add(`g1/${uid}`);
    const wire = await openGateway();
    wire.send(publishPacket(`n1/g/g1/${other}/up/hello`, encodeCbor(new Map([[0, 5]]))));
    expect(await errorOf(wire)).toEqual({ cid: 5, code: 'FORBIDDEN' });
    expect(harness.alarms).toMatchObject([{ kind: 'FOREIGN_DEVICE', identity: { gatewayId: 'g1' } }]);
    expect(heard).toEqual([]);
    expect(await harness.broker.publish(other, 'order', Buffer.from('x'))).toBe(false);
    wire.send(publishPacket(`n1/g/g1/${uid}/up/hello`, 'x', { id: 2 }));
    await until(() => heard.length === 1);
  });

  it('cannot flood whoever reads the alarms', async () => {
    const wire = await openGateway();
    for (let id = 1; id <= 20; id += 1) wire.send(publishPacket(`n1/g/g1/${other}/up/hello`, 'x', { id }));
    for (let id = 1; id <= 20; id += 1) await wire.next(4);
    expect(harness.alarms.length).toBe(5);
  });

  it.each([`n1/g/g2/${uid}/up/hello`, `n1/${uid}/up/hello`, `n1/g/g1/${uid}/dn/spdm`, `n1/g/g1/${uid}/up/none`, 'n1/g/g1/x/up/hello'])(
    'is refused on %s (T20)',
    async topic => {
      harness.attached.add(`g1/${uid}`);
      const wire = await openGateway();
      wire.send(publishPacket(topic, 'x'));
      expect(await errorOf(wire)).toMatchObject({ code: 'TOPIC_FORBIDDEN' });
      expect(heard).toEqual([]);
    },
  );

  it('no longer reaches a device that was detached (T20)', async () => {
    covers('T20');
    harness.attached.add(`g1/${uid}`);
    await openGateway();
    await until(() => harness.broker.isConnected(uid));
    harness.attached.clear();
    expect(harness.broker.isConnected(uid)).toBe(false);
    expect(await harness.broker.publish(uid, 'order', Buffer.from('x'))).toBe(false);
  });

  it('has no will', async () => {
    const wire = await openTls(pki, harness.port, gateway);
    wire.send(connectPacket('gateway-g1', { will: { topic: `n1/${uid}/up/lwt`, payload: 'x' } }));
    expect((await wire.next(2)).body[1]).toBe(5);
  });
});
