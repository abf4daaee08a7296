import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { createPerDeviceQueue } from '../../../src/services/base/perDeviceQueue.ts';
import { codeOf } from '../../pki/support.ts';

/** Work on devices: who works, who waits, and who holds nobody up. */

const deferred = <T>() => Promise.withResolvers<T>();
const soon = (): Promise<void> => sleep(20);

it('works on a bounded number of devices, and on one device one after the other', async () => {
  const queue = createPerDeviceQueue({ maxRunning: 2, maxWaiting: 10 });
  let running = 0;
  let most = 0;
  const seen: string[] = [];
  const work = (uid: string) => async () => {
    running += 1;
    most = Math.max(most, running);
    seen.push(uid);
    await soon();
    running -= 1;
  };
  await Promise.all(['a', 'a', 'b', 'c', 'd'].map(uid => queue.run(uid, work(uid))));
  expect(most).toBe(2);
  expect(seen.filter(uid => uid === 'a')).toHaveLength(2);
});

it('gives the place of a device that does not answer to the next one: waiting is not working', async () => {
  const queue = createPerDeviceQueue({ maxRunning: 2, maxWaiting: 10, promptMs: 1 });
  const silence = deferred<string>();
  const silent = ['s1', 's2', 's3'].map(uid => queue.run(uid, answer => answer(silence.promise)));
  expect(await queue.run('good', async answer => answer(Promise.resolve('proof')))).toBe('proof');
  silence.resolve('late');
  expect(await Promise.all(silent)).toEqual(['late', 'late', 'late']);
});

it('works on no more devices than it may when those that were waited for answer all at once, and on these first', async () => {
  const queue = createPerDeviceQueue({ maxRunning: 1, maxWaiting: 20, promptMs: 1 });
  const [silence, busy] = [deferred<void>(), deferred<void>()];
  const order: string[] = [];
  let running = 0;
  const compute = async (name: string): Promise<void> => {
    expect(++running).toBe(1);
    order.push(name);
    await soon();
    running -= 1;
  };
  const late = ['l1', 'l2', 'l3'].map(uid =>
    queue.run(uid, async answer => {
      await answer(silence.promise);
      await compute(uid);
    }),
  );
  await sleep(50);
  const first = queue.run('busy', () => busy.promise);
  const fresh = queue.run('fresh', () => compute('fresh'));
  silence.resolve();
  await soon();
  busy.resolve();
  await Promise.all([...late, first, fresh]);
  expect(order).toEqual(['l1', 'l2', 'l3', 'fresh']);
});

it('has its place again when the answer is a refusal, and hands the refusal on', async () => {
  const queue = createPerDeviceQueue({ maxRunning: 1, maxWaiting: 5, promptMs: 1 });
  const refused = queue.run('a', answer => answer(sleep(20).then(() => Promise.reject(new Error('unreachable')))));
  await expect(refused).rejects.toThrow('unreachable');
  expect(await queue.run('b', async () => 'next')).toBe('next');
});

it('refuses what is more than may wait', async () => {
  const queue = createPerDeviceQueue({ maxRunning: 1, maxWaiting: 1, promptMs: 1 });
  const end = deferred<void>();
  const all = [queue.run('a', () => end.promise), queue.run('b', () => end.promise)];
  expect(await codeOf(() => queue.run('c', () => end.promise))).toBe('RATE_LIMITED');
  end.resolve();
  await Promise.all(all);
});
