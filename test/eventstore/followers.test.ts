import { expect, it, onTestFinished } from 'vitest';
import { parkedEvents, parkedEventsStream } from '../../src/domain/parkedEvents.ts';
import { createFollowers, type Trouble } from '../../src/eventstore/followers.ts';
import { handle } from '../../src/eventstore/handle.ts';
import type { EventStore } from '../../src/eventstore/port.ts';
import { waiting } from '../../src/eventstore/waiting.ts';
import { openMemoryStore } from './memory.ts';
import { event, nextId } from './support.ts';

function setUp(wrap: (store: EventStore) => EventStore = store => store) {
  const store = openMemoryStore();
  const troubles: Trouble[] = [];
  const followers = createFollowers(wrap(store), trouble => troubles.push(trouble));
  onTestFinished(() => followers.close().then(store.close));
  const add = (count: number) =>
    store.append(
      's',
      'any',
      Array.from({ length: count }, () => event('E')),
    );
  return { store, followers, troubles, add };
}

it('a handler that throws is called again with the same events, and the trouble is seen until it goes on', async () => {
  const { followers, troubles, add } = setUp();
  const seen: number[] = [];
  let isBroken = true;
  const follower = followers.follow('one', 0, events => {
    if (isBroken) throw new Error('no room');
    seen.push(...events.map(({ position }) => position));
  });
  await add(2);
  await expect
    .poll(() => followers.troubles())
    .toEqual([{ name: 'one', position: 0, behindEvents: 2, failure: 'no room', standsBefore: 1 }]);
  await add(1);
  isBroken = false;
  await follower.caughtUp(3);
  expect(seen).toEqual([1, 2, 3]);
  expect(followers.troubles()).toEqual([]);
  expect(troubles).toHaveLength(1);
});

it('is told of as fine once it follows, and once more after each trouble', async () => {
  const store = openMemoryStore();
  const told: string[] = [];
  const followers = createFollowers(
    store,
    ({ name }) => told.push(`${name} stopped`),
    name => told.push(`${name} fine`),
  );
  onTestFinished(() => followers.close().then(store.close));
  let isBroken = true;
  followers.follow('one', 0, () => {
    if (isBroken) throw new Error('no room');
  });
  await store.append('s', 'any', [event('E')]);
  await expect.poll(() => told).toEqual(['one stopped']);
  isBroken = false;
  await expect.poll(() => told).toEqual(['one stopped', 'one fine']);
});

it('an event that it cannot handle is named, and left out for this follower when two people have parked it', async () => {
  const { store, followers, add } = setUp();
  const seen: Record<string, number[]> = { one: [], other: [] };
  const handlerOf = (name: string) => (events: readonly { readonly position: number }[]) => {
    if (events.some(({ position }) => position === 3)) throw new Error('what is this?');
    seen[name]?.push(...events.map(({ position }) => position));
  };
  await add(5);
  const one = followers.follow('one', 0, handlerOf('one'));
  followers.follow('other', 0, handlerOf('other'));
  const standing = () => followers.states().map(({ name, standsBefore }) => [name, standsBefore]);
  await expect.poll(standing).toEqual([
    ['one', 3],
    ['other', 3],
  ]);
  const park = (follower: string, position: number, by: string) => {
    const meta = { by, now: '2026-01-02T03:04:05.678Z', newId: nextId };
    return handle(
      store,
      parkedEvents,
      parkedEventsStream,
      { type: 'ParkEvent', follower, position, reason: 'test', by, now: meta.now },
      meta,
    );
  };
  await park('one', 3, 'operator:alice');
  for (const by of ['operator:alice', 'operator:bob']) await park('one', 4, by);
  await expect.poll(standing).toEqual([
    ['one', 3],
    ['other', 3],
  ]);
  await park('one', 3, 'operator:bob');
  await one.caughtUp(await store.head());
  expect(seen.one?.slice(0, 4)).toEqual([1, 2, 4, 5]);
  expect(seen.other).toEqual([1, 2]);
  expect(followers.troubles().map(({ name }) => name)).toEqual(['other']);
});

it('a read that fails ends no follower', async () => {
  let failures = 2;
  const { followers, troubles, add } = setUp(store => ({
    ...store,
    subscribe(after, handler) {
      if (failures-- <= 0) return store.subscribe(after, handler);
      return { position: after, ended: Promise.resolve(new Error('disk')), stop: async () => undefined };
    },
  }));
  const follower = followers.follow('one', 0, () => undefined);
  await add(3);
  await follower.caughtUp(3);
  expect(troubles.map(({ name, failure }) => ({ name, failure }))).toEqual([{ name: 'one', failure: 'disk' }]);
});

it('one that fails holds up no other, and one that is closed is forgotten', async () => {
  const { followers, add } = setUp();
  const broken = followers.follow('broken', 0, () => {
    throw new Error('no');
  });
  const sound = followers.follow('sound', 0, () => undefined);
  await add(1);
  await sound.caughtUp(1);
  expect(followers.names()).toEqual(['broken', 'sound']);
  await expect.poll(() => followers.troubles().map(({ name }) => name)).toEqual(['broken']);
  await broken.close();
  expect(followers.names()).toEqual(['sound']);
  expect(followers.troubles()).toEqual([]);
});

it('a wait goes on as long as there is progress, however long the way is, and is given up when there is none', async () => {
  const reads = waiting(() => undefined);
  let steps = 0;
  const walk = setInterval(() => {
    steps += 1;
    if (steps <= 6) reads.check();
  }, 500);
  onTestFinished(() => clearInterval(walk));
  await reads.until(() => steps >= 6, 2000);
  await expect(reads.until(() => false, 50)).rejects.toMatchObject({ code: 'PROJECTION_BEHIND' });
});

it('a follower that is closed lets nobody wait', async () => {
  const { followers } = setUp();
  const follower = followers.follow('one', 0, () => undefined);
  const waits = expect(follower.caughtUp(1)).rejects.toMatchObject({ code: 'PROJECTION_BEHIND' });
  await follower.close();
  await waits;
});
