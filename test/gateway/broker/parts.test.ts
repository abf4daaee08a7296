import { EventEmitter } from 'node:events';
import { type Duplex, PassThrough, Writable } from 'node:stream';
import { Aedes } from 'aedes';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { statusOf } from '../../../src/api/problem.ts';
import { decodeCbor } from '../../../src/cbor/decode.ts';
import { errorCodes, NusecError } from '../../../src/errors.ts';
import { createBucket, createKeyedBuckets, reserveMs, tryTake } from '../../../src/gateway/broker/bucket.ts';
import { send } from '../../../src/gateway/broker/egress.ts';
import { createEmitter, routeNothing } from '../../../src/gateway/broker/emitter.ts';
import { cidOf, errorReply } from '../../../src/gateway/broker/errorReply.ts';
import { publishHead } from '../../../src/gateway/broker/farewell.ts';
import { createHooks } from '../../../src/gateway/broker/hooks.ts';
import type { Identity, Peer } from '../../../src/gateway/broker/identity.ts';
import type { ClientInternals } from '../../../src/gateway/broker/internals.ts';
import { defaultLimits } from '../../../src/gateway/broker/limits.ts';
import { createPerClientQueue } from '../../../src/gateway/broker/perClientQueue.ts';
import { judgeRefusal } from '../../../src/gateway/broker/refusals.ts';
import { createReplyCache } from '../../../src/gateway/broker/replies.ts';
import { assertInternals } from '../../../src/gateway/broker/selfTest.ts';
import { createSession } from '../../../src/gateway/broker/session.ts';
import { createSessions } from '../../../src/gateway/broker/sessions.ts';
import { spareMemory } from '../../../src/gateway/broker/spareMemory.ts';
import { downTopic, parseUpTopic } from '../../../src/gateway/broker/topics.ts';
import { upFamilies } from '../../../src/mqttTopics.ts';
import { covers } from '../../support/covers.ts';
import { uidOf } from './harness.ts';

const uid = uidOf(1);
const device: Identity = { kind: 'device', uid, serialHex: '01', certificateSha256: '' };
const gateway: Identity = { kind: 'gateway', gatewayId: 'g1', serialHex: '02', certificateSha256: '' };

describe('refusals', () => {
  it('charge no message with what is wrong with what the server stores or keeps', () => {
    const codes = errorCodes.filter(code => /^(STORE|BLOB|KEYSTORE|PROJECTION)_/.test(code) && statusOf(code) >= 500);
    expect(codes.length).toBeGreaterThan(12);
    for (const code of codes) expect([code, judgeRefusal(new NusecError(code, ''), false)]).toEqual([code, 'retry']);
  });
});

describe('topics', () => {
  it('accepts from a device nothing that is not below its own prefix (T20)', () => {
    covers('T20');
    const level = fc.oneof(fc.constantFrom('n1', 'g', 'g1', 'up', 'dn', uid, uidOf(2), 'next', '', '+', '#', ...upFamilies), fc.string());
    const topic = fc.array(level, { minLength: 1, maxLength: 8 }).map(levels => levels.join('/'));
    const accepted = (identity: Identity, text: string): boolean => {
      try {
        parseUpTopic(identity, text);
        return true;
      } catch (error) {
        expect(error).toMatchObject({ code: 'TOPIC_FORBIDDEN' });
        return false;
      }
    };
    fc.assert(
      fc.property(topic, text => {
        if (accepted(device, text)) expect(text).toMatch(new RegExp(`^n1/${uid}/up/(hello|spdm|csr|lwt|(job|ota)/[A-Za-z0-9_-]{1,64})$`));
        if (accepted(gateway, text))
          expect(text).toMatch(/^n1\/g\/g1\/[0-9a-f]{32}\/up\/(hello|spdm|csr|lwt|(job|ota)\/[A-Za-z0-9_-]{1,64})$/);
      }),
      { numRuns: 2_000 },
    );
  });

  it('names the way down', () => {
    expect(downTopic(device, uid, 'job')).toBe(`n1/${uid}/dn/job`);
    expect(downTopic(gateway, uid, 'job')).toBe(`n1/g/g1/dn/${uid}/job`);
    expect(downTopic(gateway, '', 'err')).toBe('n1/g/g1/dn/err');
  });
});

describe('the emitter', () => {
  it('carries nothing from one connection to another, and calls back in the same step', () => {
    const emitter = createEmitter();
    const calls: string[] = [];
    const note = (name: string) => (): void => void calls.push(name);
    emitter.on('#', expect.unreachable, note('on')).emit({ topic: 'a' }, note('emit')).removeListener('#', expect.unreachable, note('off'));
    routeNothing({ topic: 'a' }, null, note('publish'));
    routeNothing({ topic: 'a' }, note('publish without a client'));
    expect(calls).toEqual(['on', 'emit', 'off', 'publish', 'publish without a client']);
  });
});

describe('buckets', () => {
  it('take at most burst + rate × time, whatever the steps', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(2_000), { maxLength: 200 }), steps => {
        const bucket = createBucket(10, 5, 0);
        let now = 0;
        let taken = 0;
        for (const step of steps) {
          now += step;
          if (tryTake(bucket, now)) taken += 1;
        }
        expect(taken).toBeLessThanOrEqual(5 + (10 * now) / 1000);
      }),
    );
  });

  it('reserve says when the turn comes, and a clock that jumps back gives nothing', () => {
    const bucket = createBucket(10, 1, 1_000);
    expect([reserveMs(bucket, 1_000), reserveMs(bucket, 1_000), reserveMs(bucket, 1_000)]).toEqual([0, 100, 200]);
    expect(reserveMs(bucket, 0)).toBe(300);
  });

  it('forget the key that was used least recently', () => {
    const buckets = createKeyedBuckets(1, 1, 2);
    expect(['a', 'b', 'a', 'c', 'a', 'b'].map(key => buckets.tryTake(key, 0))).toEqual([true, true, false, true, false, true]);
  });
});

describe('lanes', () => {
  it('never overlap in one lane and settle in the order of arrival', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.tuple(fc.nat(2), fc.nat(2)), { maxLength: 12 }), async tasks => {
        const enqueue = createPerClientQueue();
        const running = new Set<number>();
        const settled: number[] = [];
        const all = tasks.map(
          ([lane, ms], index) =>
            new Promise<void>(resolve =>
              enqueue(
                String(lane),
                async () => {
                  expect(running.has(lane)).toBe(false);
                  running.add(lane);
                  await new Promise(later => setTimeout(later, ms));
                  running.delete(lane);
                  return index;
                },
                result => {
                  settled.push(result);
                  resolve();
                },
              ),
            ),
        );
        await Promise.all(all);
        expect(settled).toEqual(tasks.map((_, index) => index));
      }),
      { numRuns: 30 },
    );
  });
});

describe('replies', () => {
  const reply = (size: number): Uint8Array => new Uint8Array(size);

  it('keep the last 32 per device', () => {
    const cache = createReplyCache();
    for (let cid = 0; cid < 40; cid += 1) cache.put(uid, 'spdm', cid, reply(1));
    expect(cache.get(uid, 'spdm', 7)).toBeUndefined();
    expect(cache.get(uid, 'spdm', 8)).toEqual(reply(1));
    expect(cache.get(uid, 'job', 8)).toBeUndefined();
    expect(cache.get(uidOf(2), 'spdm', 8)).toBeUndefined();
    cache.forget(uid);
    expect(cache.get(uid, 'spdm', 39)).toBeUndefined();
  });

  it('are bounded in bytes over all devices', () => {
    const cache = createReplyCache(100);
    cache.put(uidOf(1), 'spdm', 1, reply(60));
    cache.put(uidOf(1), 'spdm', 1, reply(50));
    cache.put(uidOf(2), 'spdm', 1, reply(50));
    expect(cache.get(uidOf(1), 'spdm', 1)?.length).toBe(50);
    cache.put(uidOf(3), 'spdm', 1, reply(10));
    expect(cache.get(uidOf(1), 'spdm', 1)).toBeUndefined();
    expect(cache.get(uidOf(2), 'spdm', 1)?.length).toBe(50);
  });
});

describe('messages to a client', () => {
  it('have the head of MQTT 3.1.1 §3.3, with a packet id behind the topic when they have QoS 1', () => {
    expect([...publishHead('a/b', 1)]).toEqual([0x30, 6, 0, 3, 0x61, 0x2f, 0x62]);
    expect([...publishHead('a/b', 1, 0x1234)]).toEqual([0x32, 8, 0, 3, 0x61, 0x2f, 0x62, 0x12, 0x34]);
    expect([...publishHead('a/b', 121, 1)].slice(0, 3)).toEqual([0x32, 0x80, 1]);
  });

  it('have ids from 1 to 65535, and then from 1 again', async () => {
    const ids: number[] = [];
    const socket = new Writable({
      write(bytes: Buffer, _encoding, done) {
        ids.push(bytes.readUInt16BE(2 + 2 + bytes.readUInt16BE(2)));
        done();
      },
    });
    const session = createSession(device, {} as Peer, socket as Duplex, {} as ClientInternals, defaultLimits, 0);
    session.isOnline = true;
    session.packetId = 65_533;
    for (let count = 0; count < 4; count += 1) expect(await send(session, 'a', Buffer.from('x'), 1)).toBe(true);
    expect([ids, session.outstandingBytes]).toEqual([[65_534, 65_535, 1, 2], 0]);
  });
});

describe('error replies', () => {
  it('never fail, whatever the request was (T27)', () => {
    covers('T27');
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), request => {
        const map = decodeCbor(errorReply(request, new NusecError('STATE', 'no'))) as ReadonlyMap<number, unknown>;
        expect(map.get(1)).toBe('STATE');
        expect(map.get(0)).toBe(cidOf(request));
      }),
    );
  });
});

describe('start-up', () => {
  it('refuses an Aedes whose private fields moved: the limits must not vanish silently (T27)', async () => {
    covers('T27');
    const aedes = await Aedes.createBroker({ mq: createEmitter() });
    const { handle } = aedes;
    const altered = (alter: (client: ClientInternals) => void) => (): void => {
      aedes.handle = connection => {
        const client = handle(connection) as ClientInternals;
        alter(client);
        return client;
      };
      assertInternals(aedes);
    };
    expect(altered(() => undefined)).not.toThrow();
    expect(altered(client => Object.assign(client._parser, { _parseLength: undefined }))).toThrow('does not fit');
    expect(altered(client => Object.assign(client._parser, { _emitError: () => undefined }))).toThrow('does not fit');
    expect(altered(client => Object.assign(client, { _parsingBatch: 0 }))).toThrow('does not fit');
    expect(altered(client => Object.assign(client, { _keepaliveInterval: undefined }))).toThrow('does not fit');
    expect(altered(client => Object.assign(client._parser, { _list: { readUInt16BE: () => 0 } }))).toThrow('does not fit');
    aedes.close();
  });

  it('of a connection that are of no use here are let go, and the parser reads on without its stream', () => {
    const aedes = new Aedes();
    const clients = [1, 2].map(() => aedes.handle(new PassThrough()) as ClientInternals);
    const [one, other] = clients as [ClientInternals, ClientInternals];
    expect(one._parser._list).toBeInstanceOf(EventEmitter);
    for (const client of clients) spareMemory(client);
    expect(one._parser._list).not.toBeInstanceOf(EventEmitter);
    expect(one.duplicates).toBe(other.duplicates);
    const seen: string[] = [];
    one._parser.removeAllListeners('packet').on('packet', ({ cmd }) => seen.push(cmd));
    const ping = Buffer.from([0xc0, 0]);
    for (const bytes of [ping.subarray(0, 1), ping.subarray(1), ping]) one._parser.parse(bytes);
    expect(seen).toEqual(['pingreq', 'pingreq']);
    for (const client of clients) client.close();
    aedes.close();
  });
});

describe('the will of another process', () => {
  it('is let go without a handler: the hook copes with a client that is null', () => {
    const unused = new Proxy({}, { get: () => expect.unreachable() });
    const hooks = createHooks(
      unused as never,
      createSessions(() => false),
      unused as never,
      unused as never,
      Date.now,
    );
    let answer: unknown = 'none';
    hooks.authorizePublish(null, { cmd: 'publish', topic: `n1/${uid}/up/lwt`, payload: 'x', qos: 1, retain: false, dup: false }, error => {
      answer = error;
    });
    expect(answer).toBeNull();
  });
});
