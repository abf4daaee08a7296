import { afterEach, describe, expect, it } from 'vitest';
import { decodeCbor } from '../../../src/cbor/decode.ts';
import { encodeCbor } from '../../../src/cbor/encode.ts';
import { NusecError } from '../../../src/errors.ts';
import { pkiWithDevice } from '../certificates.ts';
import { echo, endings, type Harness, reasons, startBroker, uidOf, until } from './harness.ts';
import { openMqtt, publishPacket, readPublish, type Wire } from './wire.ts';

const uid = uidOf(1);
const hello = `n1/${uid}/up/hello`;
const { pki, device } = pkiWithDevice(uid);
let harness: Harness;

afterEach(() => harness.broker.close());

const open = (): Promise<Wire> => openMqtt(pki, harness.port, device, uid);
const pubackIds = (wire: Wire): number[] => wire.packets.filter(({ type }) => type === 4).map(({ body }) => body.readUInt16BE(0));
const pause = (ms: number): Promise<void> => new Promise(resolve => setTimeout(resolve, ms));

describe('Nagle', () => {
  it('answers a QoS 1 message without waiting for a delayed acknowledgement: some are faster than its 40 ms, however busy the machine', async () => {
    harness = await startBroker(pki, { handlers: { hello: echo } });
    const wire = await open();
    let id = 0;
    const roundTripMs = async (): Promise<number> => {
      const begin = performance.now();
      id += 1;
      wire.send(publishPacket(hello, 'x', { id }));
      await Promise.all([wire.next(3), wire.next(4)]);
      return performance.now() - begin;
    };
    // The kernel acknowledges the first segments of a connection at once.
    while (id < 20) await roundTripMs();
    await expect.poll(roundTripMs, { interval: 0 }).toBeLessThan(40);
  });
});

describe('PUBACK leaves before anything is stored', () => {
  it('sends PUBACK only after the handler has made it durable', async () => {
    const stored = Promise.withResolvers<void>();
    harness = await startBroker(pki, { handlers: { hello: () => stored.promise } });
    const wire = await open();
    wire.send(publishPacket(hello, 'x', { id: 9 }));
    await pause(100);
    expect(wire.packets).toEqual([]);
    stored.resolve();
    expect((await wire.next(4)).body.readUInt16BE(0)).toBe(9);
  });

  it('handles and acknowledges in the order of arrival, however long each takes', async () => {
    const handled: number[] = [];
    harness = await startBroker(pki, {
      handlers: {
        hello: async ({ payload }) => {
          const id = payload[0] as number;
          await pause(id % 2 === 1 ? 15 : 0);
          handled.push(id);
        },
      },
    });
    const wire = await open();
    const ids = [1, 2, 3, 4, 5, 6];
    wire.send(...ids.map(id => publishPacket(hello, Buffer.from([id]), { id })));
    await until(() => pubackIds(wire).length === ids.length);
    expect(handled).toEqual(ids);
    expect(pubackIds(wire)).toEqual(ids);
  });

  it('lets devices behind one gateway not wait for each other, and still acknowledges in order', async () => {
    const first = Promise.withResolvers<void>();
    const handled: string[] = [];
    harness = await startBroker(pki, {
      isAttached: () => true,
      handlers: {
        hello: async message => {
          if (message.uid === uidOf(1)) await first.promise;
          handled.push(message.uid);
        },
      },
    });
    const wire = await openMqtt(pki, harness.port, pki.gateway('g1'), 'gateway-g1');
    wire.send(publishPacket(`n1/g/g1/${uidOf(1)}/up/hello`, 'x', { id: 1 }), publishPacket(`n1/g/g1/${uidOf(2)}/up/hello`, 'x', { id: 2 }));
    await until(() => handled.length === 1);
    expect(handled).toEqual([uidOf(2)]);
    expect(pubackIds(wire)).toEqual([]);
    first.resolve();
    await until(() => pubackIds(wire).length === 2);
    expect(pubackIds(wire)).toEqual([1, 2]);
  });

  it('answers a refused message with dn/err, then acknowledges it, and handles what follows', async () => {
    const handled: number[] = [];
    harness = await startBroker(pki, {
      handlers: {
        hello: async ({ payload }) => {
          const cid = (decodeCbor(payload) as ReadonlyMap<number, number>).get(0) as number;
          handled.push(cid);
          if (cid === 2) throw new NusecError('ROLLBACK', 'counter 3 below 4');
        },
      },
    });
    const wire = await open();
    wire.send(...[1, 2, 3].map(id => publishPacket(hello, encodeCbor(new Map([[0, id]])), { id })));
    const { topic, payload } = readPublish(await wire.next(3));
    expect(topic).toBe(`n1/${uid}/dn/err`);
    expect(decodeCbor(payload)).toEqual(
      new Map<number, unknown>([
        [0, 2],
        [1, 'ROLLBACK'],
        [2, 'counter 3 below 4'],
      ]),
    );
    await until(() => pubackIds(wire).length === 3);
    expect(handled).toEqual([1, 2, 3]);
    expect(reasons(harness)).toEqual([]);
  });

  it('answers a message that is sent again and again once a minute, and acknowledges it each time', async () => {
    let clock = 0;
    harness = await startBroker(pki, {
      now: () => Date.now() + clock,
      handlers: {
        hello: async ({ payload }) => {
          if (payload.length > 0) throw new NusecError('CBOR_MALFORMED', 'not a map');
        },
      },
    });
    const wire = await open();
    const errors = () => wire.packets.filter(({ type }) => type === 3).length;
    for (let id = 1; id <= 30; id += 1) wire.send(publishPacket(hello, 'poison', { id }));
    await until(() => pubackIds(wire).length === 30);
    expect(errors()).toBe(1);
    clock = 61_000;
    wire.send(publishPacket(hello, 'poison', { id: 31 }), publishPacket(hello, '', { id: 32 }));
    await until(() => pubackIds(wire).length === 32);
    expect(errors()).toBe(2);
  });

  it('answers each of several requests that are refused for the same cause, by its cid', async () => {
    harness = await startBroker(pki, { handlers: { hello: () => Promise.reject(new NusecError('ROLLBACK', 'no')) } });
    const wire = await open();
    wire.send(...[1, 2, 3].map(id => publishPacket(hello, encodeCbor(new Map([[0, id]])), { id })));
    await until(() => pubackIds(wire).length === 3);
    const cids = wire.packets.filter(({ type }) => type === 3).map(message => decodeCbor(readPublish(message).payload));
    expect(cids.map(answer => (answer as ReadonlyMap<number, unknown>).get(0))).toEqual([1, 2, 3]);
  });

  it.each([
    ['STORE_FULL', 'SERVER_FAULT'],
    ['PROJECTION_BEHIND', 'SERVER_FAULT'],
    ['RATE_LIMITED', 'THROTTLED'],
  ] as const)(
    'leaves a message unacknowledged that may be accepted later (%s): dn/err, no PUBACK, the end, and nothing handled after it',
    async (code, reason) => {
      const handled: number[] = [];
      harness = await startBroker(pki, {
        handlers: {
          hello: async ({ payload }) => {
            handled.push(payload[0] as number);
            throw new NusecError(code, 'later');
          },
        },
      });
      const wire = await open();
      wire.send(...[1, 2].map(id => publishPacket(hello, Buffer.from([id]), { id })));
      expect(decodeCbor(readPublish(await wire.next(3)).payload)).toEqual(
        new Map<number, unknown>([
          [1, code],
          [2, 'later'],
        ]),
      );
      await wire.closed;
      expect(pubackIds(wire)).toEqual([]);
      expect(handled).toEqual([1]);
      await until(() => reasons(harness).length === 1);
      expect(endings(harness)).toEqual([`${reason}: ${code}: later`]);
    },
  );

  it('ends the connection of a device that is not in use, behind the PUBACK', async () => {
    harness = await startBroker(pki, { handlers: { hello: () => Promise.reject(new NusecError('DEVICE_STATE', 'decommissioned')) } });
    const wire = await open();
    wire.send(publishPacket(hello, 'x'));
    await wire.next(3);
    await wire.next(4);
    await wire.closed;
  });

  it('does not count connects against a device that the server could not serve', async () => {
    let isFull = true;
    const serve = async (): Promise<void> => {
      if (isFull) throw new NusecError('STORE_FULL', 'the disk is full');
    };
    harness = await startBroker(pki, { limits: { connectBurst: 2, connectsPerMinute: 0.001 }, handlers: { hello: serve } });
    for (let tried = 0; tried < 5; tried += 1) {
      const wire = await open();
      wire.send(publishPacket(hello, 'x'));
      await wire.closed;
    }
    isFull = false;
    const wire = await open();
    wire.send(publishPacket(hello, 'x'));
    await wire.next(4);
  });

  it('tells the device nothing of an unexpected error', async () => {
    harness = await startBroker(pki, { handlers: { hello: () => Promise.reject(new Error('SELECT password')) } });
    const wire = await open();
    wire.send(publishPacket(hello, 'not cbor'));
    const { payload } = readPublish(await wire.next(3));
    expect(decodeCbor(payload)).toEqual(
      new Map<number, unknown>([
        [1, 'INTERNAL'],
        [2, ''],
      ]),
    );
    await wire.closed;
  });

  it('cuts a connection whose handler never ends', async () => {
    harness = await startBroker(pki, { limits: { handlerTimeoutMs: 50 }, handlers: { hello: () => new Promise(() => undefined) } });
    const wire = await open();
    wire.send(publishPacket(hello, 'x'));
    await wire.closed;
    await until(() => endings(harness).includes('SERVER_FAULT: handler failed'));
    expect(pubackIds(wire)).toEqual([]);
  });

  it('keeps a gateway connected when one device behind it is refused, and cuts it when nothing can be stored', async () => {
    harness = await startBroker(pki, {
      isAttached: () => true,
      handlers: {
        hello: () => Promise.reject(new NusecError('STATE', 'no')),
        spdm: () => Promise.reject(new Error('disk full')),
      },
    });
    const wire = await openMqtt(pki, harness.port, pki.gateway('g1'), 'gateway-g1');
    wire.send(publishPacket(`n1/g/g1/${uid}/up/hello`, 'x', { id: 1 }));
    expect(readPublish(await wire.next(3)).topic).toBe(`n1/g/g1/dn/${uid}/err`);
    await wire.next(4);
    wire.send(publishPacket(`n1/g/g1/${uid}/up/spdm`, 'x', { id: 2 }));
    await wire.closed;
    expect(pubackIds(wire)).toEqual([]);
  });
});

describe('one frozen device stalls all', () => {
  const block = Buffer.alloc(64 * 1024);

  async function freeze(): Promise<Wire> {
    const frozen = await open();
    await until(() => harness.broker.isConnected(uid));
    frozen.socket.removeAllListeners('data');
    frozen.socket.pause();
    return frozen;
  }

  it('cuts it when too much is outstanding; the others are served meanwhile', async () => {
    harness = await startBroker(pki, { limits: { device: { publishPerSecond: 1e4, publishBurst: 1e4, maxOutstandingBytes: 1_000_000 } } });
    const healthy = await openMqtt(pki, harness.port, pki.device(uidOf(2)), uidOf(2));
    await freeze();
    for (let count = 0; count < 200 && !reasons(harness).includes('SLOW_CONSUMER'); count += 1) {
      void harness.broker.publish(uid, 'ota', block, 0);
      expect(await harness.broker.publish(uidOf(2), 'order', Buffer.from('x'))).toBe(true);
      await healthy.next(3);
    }
    expect(endings(harness)).toEqual([expect.stringMatching(/^SLOW_CONSUMER: \d+ bytes outstanding$/)]);
    expect(await harness.broker.publish(uid, 'ota', block, 0)).toBe(false);
  });

  it('does not count what a healthy client has taken', async () => {
    harness = await startBroker(pki, { limits: { device: { publishPerSecond: 1, publishBurst: 1, maxOutstandingBytes: 200_000 } } });
    const wire = await open();
    await until(() => harness.broker.isConnected(uid));
    for (let count = 0; count < 20; count += 1) expect(await harness.broker.publish(uid, 'ota', block, 0)).toBe(true);
    await until(() => wire.packets.length === 20);
  });

  it('cuts it when it does not drain in time', async () => {
    harness = await startBroker(pki, {
      limits: { drainTimeoutMs: 150, device: { publishPerSecond: 1, publishBurst: 1, maxOutstandingBytes: 1e9 } },
    });
    await freeze();
    const results = await Promise.all(Array.from({ length: 150 }, () => harness.broker.publish(uid, 'ota', block, 0)));
    expect(results).toContain(false);
    await until(() => reasons(harness).length === 1);
    expect(endings(harness)).toEqual(['SLOW_CONSUMER: drain timeout']);
  });
});

describe('the emitter', () => {
  it('delivers all of a mix of QoS 1 and QoS 0 in one tick (stock Aedes drops a QoS 1 message that is overtaken)', async () => {
    harness = await startBroker(pki);
    const wire = await open();
    await until(() => harness.broker.isConnected(uid));
    for (let count = 0; count < 20; count += 1) void harness.broker.publish(uid, 'ota', Buffer.from([count]), count % 2 === 0 ? 1 : 0);
    await until(() => wire.packets.length === 20);
  });
});

describe('the end of the server', () => {
  it('ends every connection with its reason and hands over no wills', async () => {
    const wills: string[] = [];
    harness = await startBroker(pki, { handlers: { lwt: async message => void wills.push(message.uid) } });
    const wire = await openMqtt(pki, harness.port, device, uid, { will: { topic: `n1/${uid}/up/lwt`, payload: 'x' } });
    await harness.broker.close();
    await wire.closed;
    await until(() => reasons(harness).length === 1);
    expect(reasons(harness)).toEqual(['SERVER_SHUTDOWN']);
    expect(wills).toEqual([]);
  });
});
