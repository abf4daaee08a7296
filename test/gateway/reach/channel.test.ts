import { setImmediate } from 'node:timers/promises';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { decodeAs } from '../../../src/cbor/schema.ts';
import { createChannel, type Transport } from '../../../src/gateway/reach/channel.ts';
import { spdmMessage } from '../../../src/mqttMessages.ts';
import { covers } from '../../support/covers.ts';

const uid = '00112233445566778899aabbccddeeff';
const times = { attemptMs: 30, attempts: 3, gatewayAttemptMs: 30 };
const message = Uint8Array.of(5, 0x10, 0x84, 0, 0);

/** A channel whose broker only notes what was published. */
function quietChannel(isOnline = true) {
  const cids: number[] = [];
  const transport: Transport = {
    publish: async (_uid, _family, payload) => {
      cids.push(decodeAs(spdmMessage, payload).cid);
      return isOnline;
    },
    publishToGateway: async () => isOnline,
    isConnected: () => isOnline,
    isOnline: () => isOnline,
  };
  const made = createChannel(times);
  made.connect(transport);
  return { ...made, cids };
}

/** Time goes on only when a test says so. */
beforeEach(() => void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] }));
afterEach(() => void vi.useRealTimers());
const attempts = (count: number) => vi.advanceTimersByTimeAsync(count * times.attemptMs);

it('asks again with the same cid, and the first answer counts', async () => {
  const { channel, settle, cids } = quietChannel();
  const asked = channel.spdm(uid, message);
  await attempts(1);
  const [cid = 0] = cids;
  expect(cids).toEqual([cid, cid]);
  settle('spdm', uid, cid, 'first');
  settle('spdm', uid, cid, 'second');
  expect(await asked).toBe('first');
});

it('drops an answer from somebody else, of another kind, or to another question (T20)', async () => {
  covers('T20');
  const { channel, settle, cids } = quietChannel();
  const refused = expect(channel.spdm(uid, message)).rejects.toMatchObject({ code: 'DEVICE_UNREACHABLE' });
  await attempts(0);
  const [cid = 0] = cids;
  settle('spdm', 'ff'.repeat(16), cid, 'x');
  settle('order', uid, cid, 'x');
  settle('spdm', uid, cid + 1, 'x');
  await attempts(times.attempts);
  await refused;
  expect(cids).toHaveLength(times.attempts);
});

it('gives up at once what was asked before a device restarted, and nothing else', async () => {
  const { channel, settle, restarted, cids } = quietChannel();
  const before = channel.spdm(uid, message);
  const order = channel.order(uid, message);
  await attempts(0);
  restarted(uid);
  await expect(before).rejects.toMatchObject({ code: 'DEVICE_UNREACHABLE', message: expect.stringContaining('restarted') });
  settle('order', uid, cids[1] ?? 0, { receipt: message });
  expect(await order).toBe(message);
  const after = channel.spdm(uid, message);
  await attempts(0);
  settle('spdm', uid, cids.at(-1) ?? 0, 'answer');
  expect(await after).toBe('answer');
});

it('survives that a device restarts while the question is still on its way to it', async () => {
  const sent = Promise.withResolvers<boolean>();
  const made = createChannel(times);
  made.connect({ publish: () => sent.promise, publishToGateway: async () => true, isConnected: () => true, isOnline: () => true });
  const asked = made.channel.spdm(uid, message);
  made.restarted(uid);
  // An unhandled rejection fails the run, as it ends a server.
  await setImmediate();
  sent.resolve(true);
  await expect(asked).rejects.toMatchObject({ code: 'DEVICE_UNREACHABLE', message: expect.stringContaining('restarted') });
});

it('says at once that a device is not connected', async () => {
  await expect(quietChannel(false).channel.spdm(uid, message)).rejects.toMatchObject({ code: 'DEVICE_UNREACHABLE' });
});
