import fc from 'fast-check';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { reconnectDelayMs } from '../../../gateway-device/link/backoff.ts';
import { connectMqtt, type MqttClientOptions, type NusecMqttClient } from '../../../gateway-device/link/mqttClient.ts';
import { decodeCbor } from '../../../src/cbor/decode.ts';
import { encodeCbor } from '../../../src/cbor/encode.ts';
import type { CborMap } from '../../../src/cbor/value.ts';
import { NusecError } from '../../../src/errors.ts';
import { cidOf } from '../../../src/gateway/broker/errorReply.ts';
import type { Handlers, UpMessage } from '../../../src/gateway/broker/handler.ts';
import { type Harness, reasons, startBroker, uidOf, until } from '../../gateway/broker/harness.ts';
import { type Credentials, createTestPki, serverName, type TestPki } from '../../gateway/certificates.ts';
import { covers } from '../../support/covers.ts';

const uid = uidOf(1);
const backoff = { firstReconnectMs: 20, maxReconnectMs: 50, stableAfterMs: 10_000 };
let pki: TestPki;
let device: Credentials;
let harness: Harness;
let heard: UpMessage[];
const clients: NusecMqttClient[] = [];

beforeAll(() => {
  pki = createTestPki();
  device = pki.device(uid);
});
afterAll(() => pki.remove());
beforeEach(async () => {
  heard = [];
  harness = await startBroker(pki, { handlers, isAttached: () => true });
});
afterEach(async () => {
  await Promise.all(clients.splice(0).map(client => client.close()));
  await harness.broker.close();
});

/** A hello that the server never stores. */
const unanswered = new Uint8Array(2);

const answerFor = (message: UpMessage): Uint8Array =>
  encodeCbor(
    new Map([
      [0, cidOf(message.payload) as number],
      [1, heard.length],
    ]),
  );
const handlers: Handlers = {
  hello: message => {
    heard.push(message);
    return message.payload.length === unanswered.length ? new Promise(() => undefined) : Promise.resolve();
  },
  spdm: async message => {
    heard.push(message);
    await message.reply('spdm', answerFor(message));
  },
  job: async message => {
    heard.push(message);
    if (heard.length > 1) await message.reply('job', answerFor(message));
  },
  csr: () => Promise.reject(new NusecError('CSR_SUBJECT', 'other uid')),
};

function open(options: Partial<MqttClientOptions> = {}): NusecMqttClient {
  const client = connectMqtt({
    host: '127.0.0.1',
    port: harness.port,
    servername: serverName,
    tls: { key: device.key, cert: device.cert, ca: pki.rootPem },
    identity: { kind: 'device', uid },
    backoff,
    ...options,
  });
  clients.push(client);
  return client;
}

const stays = async (client: NusecMqttClient): Promise<boolean> => {
  await new Promise(resolve => setTimeout(resolve, 150));
  return !client.isConnected();
};

describe('trust in the server', () => {
  it('refuses another name, another root', async () => {
    covers('T14');
    const foreign = pki.leaf({ subject: '/CN=x', issuer: 'foreign' });
    const otherName = open({ servername: 'other.test' });
    const otherRoot = open({ tls: { key: device.key, cert: device.cert, ca: foreign.cert } });
    expect(await stays(otherName)).toBe(true);
    expect(otherRoot.isConnected()).toBe(false);
    expect(heard).toEqual([]);
  });
});

describe('publish', () => {
  it('resolves when the server has stored it, rejects when offline or when the connection is lost before', async () => {
    const client = open();
    await expect(client.publish('hello', new Uint8Array(1))).rejects.toThrow('not connected');
    await client.connected();
    await client.publish('hello', new Uint8Array(1));
    expect(heard.length).toBe(1);
    const lost = client.publish('hello', unanswered);
    await Promise.all([expect(lost).rejects.toThrow(), until(() => heard.length === 2).then(() => client.close())]);
  });
});

describe('request', () => {
  it('gets the answer with its cid', async () => {
    const client = open();
    const [one, two] = await Promise.all([1, 2].map(() => client.request({ up: 'spdm', down: 'spdm', fields: new Map([[5, 'x']]) })));
    expect(one?.get(0)).not.toBe(two?.get(0));
    expect((decodeCbor(heard[0]?.payload as Uint8Array) as CborMap).get(5)).toBe('x');
  });

  it('asks again with the same cid after a time-out', async () => {
    const answer = await open().request({ up: 'job/next', down: 'job', fields: new Map(), timeoutMs: 1_000 });
    expect(heard.length).toBe(2);
    expect(heard[0]?.payload).toEqual(heard[1]?.payload);
    expect(answer.get(1)).toBe(2);
  });

  it('throws the code the server sent', async () => {
    await expect(open().request({ up: 'csr', down: 'crt', fields: new Map() })).rejects.toMatchObject({
      code: 'CSR_SUBJECT',
      message: 'other uid',
    });
  });

  it('gives up after its attempts', async () => {
    const client = open();
    await client.connected();
    const asked = client.request({ up: 'hello', down: 'job', fields: new Map(), timeoutMs: 60, attempts: 2 });
    await expect(asked).rejects.toThrow('no answer on job after 2 attempts');
    await until(() => heard.length === 2);
  });
});

describe('a gateway', () => {
  it('speaks for the devices behind it and hears what is for each', async () => {
    const gateway = pki.gateway('g1');
    const client = open({ identity: { kind: 'gateway', gatewayId: 'g1' }, tls: { key: gateway.key, cert: gateway.cert, ca: pki.rootPem } });
    const [one, two] = await Promise.all(
      [1, 2].map(number => client.request({ up: 'spdm', down: 'spdm', uid: uidOf(number), fields: new Map() })),
    );
    expect(heard.map(message => message.uid).sort()).toEqual([uidOf(1), uidOf(2)]);
    expect([one?.size, two?.size]).toEqual([2, 2]);
    const orders: string[] = [];
    client.on('order', (_payload, of) => orders.push(of));
    await harness.broker.publish(uidOf(2), 'order', new Uint8Array(1));
    await until(() => orders.length === 1);
    expect(orders).toEqual([uidOf(2)]);
  });
});

describe('reconnection', () => {
  it('comes back after the server was away, and resumes the TLS session', async () => {
    const client = open();
    await client.connected();
    await client.publish('hello', new Uint8Array(1));
    harness.broker.disconnect(uid, 'CONNECTION_LOST');
    await until(() => !client.isConnected());
    await client.connected();
    await client.publish('hello', new Uint8Array(1));
    expect(heard.length).toBe(2);
    expect(harness.broker.stats()).toMatchObject({ handshakes: 2, resumed: 1 });
  });

  it('says goodbye at close and stays away', async () => {
    const client = open();
    await client.connected();
    await client.close();
    await until(() => reasons(harness).length === 1);
    expect(reasons(harness)).toEqual(['CLIENT_INITIATED']);
    expect(await stays(client)).toBe(true);
  });

  it('hands over its will when it dies', async () => {
    const wills: UpMessage[] = [];
    await harness.broker.close();
    harness = await startBroker(pki, { handlers: { lwt: async message => void wills.push(message) } });
    await open({ will: Buffer.from('gone') }).connected();
    harness.broker.disconnect(uid, 'KEEP_ALIVE_TIMEOUT');
    await until(() => wills.length === 1);
    expect(wills[0]?.payload).toEqual(new Uint8Array(Buffer.from('gone')));
  });
});

describe('waiting times', () => {
  it('double up to the maximum and spread over the span', () => {
    const limits = { firstReconnectMs: 1_000, maxReconnectMs: 60_000, stableAfterMs: 1 };
    fc.assert(
      fc.property(fc.nat(10_000), fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }), (attempt, random) => {
        const delay = reconnectDelayMs(attempt, random, limits);
        const span = Math.min(60_000, 1_000 * 2 ** attempt);
        expect(delay).toBeGreaterThanOrEqual(span * 0.1);
        expect(delay).toBeLessThanOrEqual(span);
      }),
    );
    expect(reconnectDelayMs(0, 0.5, limits)).toBeLessThan(reconnectDelayMs(3, 0.5, limits));
  });
});
