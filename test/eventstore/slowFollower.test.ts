import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { expect, it, onTestFinished } from 'vitest';
import { createFollowers } from '../../src/eventstore/followers.ts';
import { openSqliteStore } from '../../src/eventstore/sqlite.ts';
import { event, temporaryFolder } from './support.ts';

/** A follower that is slower than those who store events, for as long as they like. */

const events = 40_000;
const eventsAtOnce = 200;
const dataChars = 1000;
/** What a batch and the memory of the store itself take; all events would be more than three times as much. */
const mayGrowBytes = 12 * 1024 * 1024;

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;
function heapBytes(): number {
  collectGarbage();
  return process.memoryUsage().heapUsed;
}

it('a follower that is slower than the writers takes no memory for what it has not handled, and gets all of it in order', async () => {
  const store = await openSqliteStore({ file: join(temporaryFolder(), 'events.db') });
  const followers = createFollowers(store);
  onTestFinished(async () => {
    await followers.close();
    await store.close();
  });
  const released = Promise.withResolvers<void>();
  let [handled, largest] = [0, 0];
  const follower = followers.follow('slow', 0, async batch => {
    await released.promise;
    expect(batch.map(({ position }) => position)).toEqual(batch.map((_, i) => handled + 1 + i));
    handled += batch.length;
    largest = Math.max(largest, batch.length);
  });
  const add = async (count: number) => {
    for (let done = 0; done < count; done += eventsAtOnce) {
      const some = Array.from({ length: eventsAtOnce }, (_, i) => event('E', { text: `${done + i}`.padEnd(dataChars, 'x') }));
      await store.append('s', 'any', some);
    }
  };
  await add(2000);
  const before = heapBytes();
  await add(events);
  expect(handled).toBe(0);
  expect(heapBytes() - before).toBeLessThan(mayGrowBytes);
  released.resolve();
  await follower.caughtUp(await store.head());
  expect([handled, largest]).toEqual([events + 2000, 1000]);
});
