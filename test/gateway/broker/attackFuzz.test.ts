import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { covers } from '../../support/covers.ts';
import { type Credentials, createTestPki, type TestPki } from '../certificates.ts';
import { echo, type Harness, startBroker, uidOf, until } from './harness.ts';
import { connectPacket, disconnectPacket, openMqtt, openTls, pingPacket, publishPacket, subscribePacket, type Wire } from './wire.ts';

const uid = uidOf(1);
const witnessUid = uidOf(2);
let pki: TestPki;
let device: Credentials;
let harness: Harness;
let witness: Wire;
let echoed = 0;

beforeAll(async () => {
  pki = createTestPki();
  device = pki.device(uid);
  harness = await startBroker(pki, { limits: { connectTimeoutMs: 10_000, closeGraceMs: 50 }, handlers: { hello: echo, spdm: echo } });
  witness = await openMqtt(pki, harness.port, pki.device(witnessUid), witnessUid);
});
afterAll(async () => {
  await harness.broker.close();
  pki.remove();
});

/** The healthy client is answered, whatever the others send. */
async function expectServed(): Promise<void> {
  echoed += 1;
  witness.send(publishPacket(`n1/${witnessUid}/up/hello`, 'well', { id: echoed }));
  await Promise.all([witness.next(3), witness.next(4)]);
}

async function throwAt(bytes: Uint8Array, isAfterConnect: boolean): Promise<void> {
  const wire = isAfterConnect ? await openMqtt(pki, harness.port, device, uid) : await openTls(pki, harness.port, device);
  wire.send(bytes);
  await Promise.race([wire.closed, new Promise(resolve => setTimeout(resolve, 15))]);
  wire.destroy();
  await wire.closed;
}

const corpus = [
  connectPacket(uid, { will: { topic: `n1/${uid}/up/lwt`, payload: 'gone' } }),
  publishPacket(`n1/${uid}/up/hello`, Buffer.alloc(40, 7)),
  publishPacket(`n1/${uid}/up/spdm`, 'x', { qos: 0 }),
  subscribePacket(`n1/${uid}/dn/#`),
  Buffer.concat([connectPacket(uid), publishPacket(`n1/${uid}/up/hello`, 'x'), pingPacket, disconnectPacket]),
];

const mutated = fc
  .tuple(fc.constantFrom(...corpus), fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 4 }), fc.option(fc.nat()))
  .map(([packet, changes, cutAt]) => {
    const bytes = Buffer.from(packet);
    for (const [at, value] of changes) bytes[at % bytes.length] = value;
    return cutAt === null ? bytes : bytes.subarray(0, 1 + (cutAt % bytes.length));
  });

describe('random and mutated bytes', () => {
  it.each([
    ['random bytes', fc.uint8Array({ minLength: 1, maxLength: 2000 })],
    ['mutated packets', mutated],
  ])('%s before and after CONNECT: the process lives, the others are served, nothing stays behind', async (_name, bytes) => {
    covers('T27');
    const before = process.memoryUsage().heapUsed;
    await fc.assert(
      fc.asyncProperty(bytes, fc.boolean(), async (sent, isAfterConnect) => {
        await throwAt(sent, isAfterConnect);
        await expectServed();
      }),
      { numRuns: 120 },
    );
    await until(() => harness.broker.stats().connections === 1);
    expect(harness.broker.stats().online).toBe(1);
    expect(process.memoryUsage().heapUsed - before).toBeLessThan(100 * 1024 * 1024);
    expect(harness.alarms.filter(alarm => alarm.kind === 'BROKER_FAULT')).toEqual([]);
  });

  it('a CONNECT that is cut after every one of its bytes leaves nothing behind (T27)', async () => {
    covers('T27');
    const first = await openTls(pki, harness.port, device);
    const session = await new Promise<Buffer>(resolve => first.socket.once('session', resolve));
    first.destroy();
    const connect = connectPacket(uid, { will: { topic: `n1/${uid}/up/lwt`, payload: 'gone' } });
    for (let length = 0; length < connect.length; length += 1) {
      const wire = await openTls(pki, harness.port, device, { session });
      wire.send(connect.subarray(0, length));
      wire.destroy();
    }
    await expectServed();
    await until(() => harness.broker.stats().connections === 1);
    expect(harness.broker.stats()).toMatchObject({ online: 1, handshakesInFlight: 0, handshakesWaiting: 0 });
  });

  it('a peer that closes its side only is ended', async () => {
    const wire = await openMqtt(pki, harness.port, device, uid);
    await until(() => harness.broker.isConnected(uid));
    wire.socket.end();
    await wire.closed;
    await until(() => !harness.broker.isConnected(uid));
  });

  it('many connections at once', async () => {
    const samples = fc.sample(mutated, { numRuns: 150, seed: 27 });
    const devices = Array.from({ length: 10 }, (_, index) => ({ uid: uidOf(100 + index), keys: pki.device(uidOf(100 + index)) }));
    const attack = async ({ uid, keys }: (typeof devices)[number], from: number): Promise<void> => {
      for (const bytes of samples.slice(from, from + 15)) {
        const wire = await openMqtt(pki, harness.port, keys, uid);
        wire.send(bytes);
        await Promise.race([wire.closed, new Promise(resolve => setTimeout(resolve, 10))]);
        wire.destroy();
      }
    };
    await Promise.all([...devices.map((one, index) => attack(one, index * 15)), expectServed()]);
    await expectServed();
    await until(() => harness.broker.stats().connections === 1);
  });
});
