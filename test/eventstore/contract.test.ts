import { createHash, randomUUID } from 'node:crypto';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { verifyStream } from '../../src/eventstore/hashchain.ts';
import { openKurrentStore } from '../../src/eventstore/kurrentdb.ts';
import type { Basis, EventStore, ExpectedRevision, RecordedEvent } from '../../src/eventstore/port.ts';
import { openSqliteStore } from '../../src/eventstore/sqlite.ts';
import { startDouble } from './kurrentdb/double.ts';
import { openMemoryStore } from './memory.ts';
import { event, nextId, temporaryFolder } from './support.ts';

/** Two handles of one store, as two processes have them: after each finished append the next calls go to the other one. */
async function openShared(): Promise<EventStore> {
  const file = join(temporaryFolder(), 'events.db');
  let [now, then] = [await openSqliteStore({ file }), await openSqliteStore({ file })];
  let appending = 0;
  const change = (): void => {
    appending -= 1;
    if (appending === 0) [now, then] = [then, now];
  };
  return {
    append(...args) {
      appending += 1;
      return now.append(...args).finally(change);
    },
    commit(...args) {
      appending += 1;
      return now.commit(...args).finally(change);
    },
    readBlob: (...args) => now.readBlob(...args),
    trouble: () => now.trouble(),
    epoch: () => now.epoch(),
    lease: undefined,
    servers: undefined,
    takeEpoch: (...args) => now.takeEpoch(...args),
    readStream: (...args) => now.readStream(...args),
    endOf: stream => now.endOf(stream),
    learnEnd: (...args) => now.learnEnd(...args),
    readAll: (...args) => now.readAll(...args),
    readOutlines: (...args) => now.readOutlines(...args),
    subscribe: (...args) => now.subscribe(...args),
    hurry() {
      now.hurry();
      then.hurry();
    },
    tree: {
      root: (...args) => now.tree.root(...args),
      inclusion: (...args) => now.tree.inclusion(...args),
      consistency: (...args) => now.tree.consistency(...args),
      peaks: (...args) => now.tree.peaks(...args),
      tile: (...args) => now.tree.tile(...args),
    },
    head: () => now.head(),
    seen: () => now.seen(),
    close: async () => void (await Promise.all([now.close(), then.close()])),
  };
}

/** Each time another project in the same database. */
const openOn = (url: string): Promise<EventStore> =>
  openKurrentStore({ url, name: `contract-${randomUUID()}`, file: join(temporaryFolder(), 'events.db') });

async function openOnDouble(): Promise<EventStore> {
  const double = await startDouble();
  const store = await openOn(double.url);
  return { ...store, close: () => store.close().finally(double.close) };
}

const engines = {
  memory: async () => openMemoryStore(),
  sqlite: async () => openSqliteStore({ file: join(temporaryFolder(), 'events.db') }),
  'sqlite, two processes': openShared,
  'kurrentdb, the double': openOnDouble,
  ...(process.env.KURRENTDB_URL && { 'kurrentdb, a server': () => openOn(process.env.KURRENTDB_URL as string) }),
};

describe.each(Object.entries(engines))('event store on %s', (_name, open) => {
  let store: EventStore;
  beforeEach(async () => {
    store = await open();
  });
  afterEach(() => store.close());

  const all = async (): Promise<readonly RecordedEvent[]> => store.readAll(0, 10_000);

  it('gives every field of an event back, with revision and position', async () => {
    const full = {
      ...event('DeviceMinted', { uid: 'ab', n: 1.5, deep: { list: [1, null, 'ü\u0000\ud83d'] } }),
      v: 3,
      cause: 'c',
      corr: 'r',
    };
    expect(await store.append('device-1', 'none', [full])).toEqual({ revision: 0, position: 1 });
    const plain = event('DeviceCertified');
    expect(await store.append('device-1', 0, [plain])).toEqual({ revision: 1, position: 2 });
    const [first, second] = await store.readStream('device-1');
    expect(first).toEqual({ ...full, stream: 'device-1', revision: 0, position: 1, hash: expect.stringMatching(/^[0-9a-f]{64}$/) });
    expect(second).toEqual({ ...plain, v: 1, stream: 'device-1', revision: 1, position: 2, hash: expect.stringMatching(/^[0-9a-f]{64}$/) });
    expect(await all()).toEqual([first, second]);
  });

  it('knows where a stream ends', async () => {
    for (const stream of ['device-1', 'device-2', 'device-1']) await store.append(stream, 'any', [event('Happened')]);
    await store.head();
    expect(['device-1', 'device-2', 'device-3'].map(stream => store.endOf(stream))).toEqual([3, 2, 0]);
  });

  it('keeps no tie to what the caller passed in', async () => {
    const data = { uid: 'a' };
    await store.append('s', 'any', [event('A', data)]);
    data.uid = 'b';
    expect((await store.readStream('s'))[0]?.data).toEqual({ uid: 'a' });
  });

  it('stores a decision only while the streams it was based on are as they were read', async () => {
    await store.append('job', 'none', [event('A')]);
    const append = (basis: readonly Basis[]) => store.append('unit', 'any', [event('B')], basis).then(({ revision }) => revision);
    expect(await append([{ stream: 'job', revision: 0 }])).toBe(0);
    expect(await append([{ stream: 'none', revision: -1 }])).toBe(1);
    await store.append('job', 0, [event('C')]);
    await expect(append([{ stream: 'job', revision: 0 }])).rejects.toMatchObject({ code: 'REVISION_CONFLICT', stream: 'job', actual: 1 });
    await expect(append([{ stream: 'job', revision: -1 }])).rejects.toMatchObject({ code: 'REVISION_CONFLICT' });
    await expect(append([{ stream: 'none', revision: 0 }])).rejects.toMatchObject({ code: 'REVISION_CONFLICT' });
    const many = Array.from({ length: 33 }, (_, n) => ({ stream: `s${n}`, revision: -1 }));
    await expect(append(many)).rejects.toMatchObject({ code: 'BAD_REQUEST' });
    expect(await store.readStream('unit')).toHaveLength(2);
  });

  it('judges a basis within a group too, and gives a repetition its first result whatever has changed since', async () => {
    await store.append('job', 'none', [event('A')]);
    const basis = [{ stream: 'job', revision: 0 }];
    const first = event('B');
    const [, early, late] = await Promise.allSettled([
      store.append('x', 'any', [first], basis),
      store.append('job', 0, [event('C')]),
      store.append('y', 'any', [event('D')], basis),
    ]);
    expect([early.status, late.status]).toEqual(['fulfilled', 'rejected']);
    expect(await store.append('x', 'any', [first], basis)).toMatchObject({ revision: 0 });
  });

  const rows: [expected: ExpectedRevision, onMissing: string | number, onThree: string | number][] = [
    ['any', 0, 3],
    ['none', 0, 'STREAM_EXISTS'],
    ['exists', 'STREAM_NOT_FOUND', 3],
    [2, 'REVISION_CONFLICT', 3],
    [1, 'REVISION_CONFLICT', 'REVISION_CONFLICT'],
    [3, 'REVISION_CONFLICT', 'REVISION_CONFLICT'],
  ];
  it.each(rows)('expecting %s: a missing stream gives %s, one of three events %s', async (expected, onMissing, onThree) => {
    await store.append('three', 'none', [event('A'), event('B'), event('C')]);
    const outcome = (stream: string) =>
      store.append(stream, expected, [event('D')]).then(
        result => result.revision,
        error => ({ code: error.code, actual: error.actual, expected: error.expected, stream: error.stream }),
      );
    const wanted = (result: string | number, stream: string, actual: number) =>
      typeof result === 'number' ? result : { code: result, actual, expected, stream };
    expect(await outcome('missing')).toEqual(wanted(onMissing, 'missing', -1));
    expect(await outcome('three')).toEqual(wanted(onThree, 'three', 2));
  });

  it.each<ExpectedRevision>(['any', 'none'])('a repeated first append expecting %s gives the first result', async expected => {
    const events = [event('A'), event('B')];
    const first = await store.append('s', expected, events);
    await store.append('other', 'none', [event('X')]);
    expect(await store.append('s', expected, events)).toEqual(first);
    await store.append('s', 1, [event('C')]);
    expect(await store.append('s', expected, events)).toEqual(first);
    expect(await all()).toHaveLength(4);
  });

  it.each<ExpectedRevision>(['any', 'exists', 0])('a repeated later append expecting %s gives the first result', async expected => {
    await store.append('s', 'none', [event('A')]);
    const events = [event('B'), event('C')];
    const first = await store.append('s', expected, events);
    await store.append('s', 'any', [event('D')]);
    expect(await store.append('s', expected, events)).toEqual(first);
    expect(await all()).toHaveLength(4);
  });

  it('an append repeated before the first has been answered is stored once', async () => {
    const events = [event('A')];
    const results = await Promise.all([
      store.append('s', 'any', events),
      store.append('s', 'any', events),
      store.append('s', 'none', events),
    ]);
    expect(results).toEqual([results[0], results[0], results[0]]);
    expect(await all()).toHaveLength(1);
  });

  it('refuses ids that are stored already among others', async () => {
    const [a, b] = [event('A'), event('B')];
    await store.append('s', 'any', [a, b]);
    await expect(store.append('s', 'any', [a, event('C')])).rejects.toMatchObject({ code: 'CONFLICT' });
    await expect(store.append('s', 'none', [a, event('C')])).rejects.toMatchObject({ code: 'STREAM_EXISTS' });
    await expect(store.append('s', 'none', [a, b, event('C')])).rejects.toMatchObject({ code: 'STREAM_EXISTS' });
    expect(await all()).toHaveLength(2);
  });

  it.each<ExpectedRevision>(['any', 'exists', 0, 1])(
    'an id that is stored with another content is a conflict, expecting %s',
    async expected => {
      const [a, b] = [event('A'), event('B', { n: 1 })];
      await store.append('s', 'none', [a]);
      await store.append('s', 0, [b]);
      const others = [
        { ...b, data: { n: 2 } },
        { ...b, type: 'C' },
        { ...b, at: '2026-01-02T03:04:05.679Z' },
        { ...b, by: 'operator:mallory' },
        { ...b, v: 2 },
        { ...b, cause: 'c' },
      ];
      for (const other of others) await expect(store.append('s', expected, [other])).rejects.toMatchObject({ code: 'CONFLICT' });
      await store.append('t', 'none', [event('A')]);
      await store.append('t', 0, [event('A')]);
      await expect(store.append('t', expected, [b])).rejects.toMatchObject({ code: 'CONFLICT' });
      expect(await store.append('s', expected, [b])).toEqual({ revision: 1, position: 2 });
      expect(await all()).toHaveLength(4);
    },
  );

  it('an id is stored once, also when the append that repeats it fits the present revision or begins with a new one', async () => {
    const [a, b, c] = [event('A'), event('B'), event('C')];
    await store.append('s', 'none', [a, b]);
    expect(await store.append('s', 1, [b])).toEqual({ revision: 1, position: 2 });
    await expect(store.append('s', 1, [c, a])).rejects.toMatchObject({ code: 'CONFLICT' });
    await expect(store.append('s', 'any', [c, a])).rejects.toMatchObject({ code: 'CONFLICT' });
    await expect(store.append('s', 'any', [b, a])).rejects.toMatchObject({ code: 'CONFLICT' });
    await expect(
      store.commit({
        appends: [
          { stream: 'x', expected: 'none', events: [c] },
          { stream: 'y', expected: 'none', events: [c] },
        ],
      }),
    ).rejects.toMatchObject({ code: 'BAD_REQUEST' });
    const twice = await Promise.allSettled([store.append('u', 'any', [c]), store.append('v', 'any', [c])]);
    expect(twice.map(({ status }) => status)).toEqual(['fulfilled', 'rejected']);
    expect((await all()).map(({ id }) => id)).toEqual([a.id, b.id, c.id]);
  });

  it('a commit stores appends to several streams together or not at all, with one result for each', async () => {
    await store.append('a', 'none', [event('A')]);
    const twice = [event('B'), event('C')];
    const results = await store.commit({
      appends: [
        { stream: 'a', expected: 0, events: twice },
        { stream: 'b', expected: 'none', events: [event('D')] },
        { stream: 'a', expected: 2, events: [event('E')] },
      ],
    });
    expect(results).toEqual([
      { revision: 2, position: 3 },
      { revision: 0, position: 4 },
      { revision: 3, position: 5 },
    ]);
    const late = { stream: 'c', expected: 'none', events: [event('F')] } as const;
    await expect(store.commit({ appends: [late, { stream: 'b', expected: 'none', events: [event('G')] }] })).rejects.toMatchObject({
      code: 'STREAM_EXISTS',
      stream: 'b',
      actual: 0,
    });
    expect(await store.readStream('c')).toEqual([]);
    expect((await all()).map(e => e.type)).toEqual(['A', 'B', 'C', 'D', 'E']);
    for (const stream of ['a', 'b']) expect(verifyStream(await store.readStream(stream))).toMatchObject({ ok: true });
    // The whole again: the first results.
    expect(await store.commit({ appends: [{ stream: 'a', expected: 0, events: twice }, late] })).toEqual([
      results[0],
      { revision: 0, position: 6 },
    ]);
    expect(await store.commit({ appends: [] })).toEqual([]);
  });

  it('a commit takes small blobs along; one that is refused stores none of them', async () => {
    const bytes = Uint8Array.from({ length: 1000 }, (_, i) => i & 0xff);
    const sha256 = createHash('sha256').update(bytes).digest('hex');
    await store.append('a', 'none', [event('A')]);
    const named = { stream: 'b', expected: 'none', events: [event('B', { sha256 })] } as const;
    await expect(
      store.commit({ appends: [named, { stream: 'a', expected: 'none', events: [event('C')] }], blobs: [bytes] }),
    ).rejects.toMatchObject({ code: 'STREAM_EXISTS' });
    expect(await store.readBlob(sha256)).toBeUndefined();
    await store.commit({ appends: [named], blobs: [bytes, Uint8Array.of(7)] });
    expect(Buffer.compare((await store.readBlob(sha256)) ?? Buffer.alloc(0), bytes)).toBe(0);
    await store.commit({ appends: [], blobs: [bytes] });
    await store.commit({ appends: [], droppedBlobs: [sha256] });
    expect(await store.readBlob(sha256)).toBeUndefined();
    await store.commit({ appends: [], blobs: [new Uint8Array(65_536)] });
    await expect(store.commit({ appends: [], blobs: [new Uint8Array(65_537)] })).rejects.toMatchObject({ code: 'BLOB_TOO_LARGE' });
  });

  it('a refused append in a group leaves the others alone', async () => {
    const appends = ['a', 'b', 'a', 'c'].map(stream => store.append(stream, 'none', [event('A'), event('B')]));
    const results = await Promise.allSettled(appends);
    expect(results.map(result => result.status)).toEqual(['fulfilled', 'fulfilled', 'rejected', 'fulfilled']);
    expect((await all()).map(({ stream, revision, position }) => [stream, revision, position])).toEqual([
      ['a', 0, 1],
      ['a', 1, 2],
      ['b', 0, 3],
      ['b', 1, 4],
      ['c', 0, 5],
      ['c', 1, 6],
    ]);
  });

  it('reads a stream from a revision on and the whole store in pages', async () => {
    for (let i = 0; i < 5; i++) await store.append('s', 'any', [event(`E${i}`), event(`F${i}`)]);
    expect((await store.readStream('s', 7)).map(e => e.type)).toEqual(['F3', 'E4', 'F4']);
    expect(await store.readStream('s', 10)).toEqual([]);
    expect(await store.readStream('nothing')).toEqual([]);
    expect((await store.readAll(4, 3)).map(e => e.position)).toEqual([5, 6, 7]);
    expect(await store.readAll(10, 3)).toEqual([]);
    const outlines = (await store.readAll(4, 3)).map(({ position, stream, revision, hash, type }) => ({
      position,
      stream,
      revision,
      hash,
      type,
    }));
    expect(await store.readOutlines(4, 3)).toMatchObject(outlines);
    expect(await store.readOutlines(10, 3)).toEqual([]);
    expect(await store.head()).toBe(10);
  });

  it('16 writers lose nothing: each sees its own events in order, positions without gaps, every chain whole', async () => {
    const perWriter = 200;
    await Promise.all(
      Array.from({ length: 16 }, async (_, writer) => {
        for (let n = 0; n < perWriter; n++) {
          await store.append(`own-${writer}`, n === 0 ? 'none' : n - 1, [event('N', { n })]);
          await store.append('shared', 'any', [event('S', { writer, n })]);
        }
      }),
    );
    const events = await all();
    expect(events.map(e => e.position)).toEqual(Array.from({ length: 16 * perWriter * 2 }, (_, i) => i + 1));
    for (let writer = 0; writer < 16; writer++) {
      const own = await store.readStream(`own-${writer}`);
      expect(own.map(e => e.data.n)).toEqual(Array.from({ length: perWriter }, (_, n) => n));
      expect(verifyStream(own)).toMatchObject({ ok: true, events: perWriter });
    }
    expect(verifyStream(await store.readStream('shared'))).toMatchObject({ ok: true, events: 16 * perWriter });
  });

  it('random appends leave what a plain list would hold', async () => {
    const step = fc.record({
      stream: fc.constantFrom('p', 'q', 'r'),
      count: fc.integer({ min: 1, max: 3 }),
      at: fc.integer({ min: -2, max: 6 }),
    });
    let run = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 30 }), async steps => {
        const prefix = `run${run++}`;
        const model = new Map<string, string[]>();
        const appends = steps.map(({ stream, count, at }) => {
          const expected: ExpectedRevision = at === -2 ? 'any' : at === -1 ? 'none' : at;
          const held = model.get(stream) ?? [];
          const fits = at === -2 || held.length - 1 === at;
          const events = Array.from({ length: count }, () => event('E'));
          if (fits) model.set(stream, [...held, ...events.map(e => e.id)]);
          return store.append(`${prefix}-${stream}`, expected, events).then(
            () => fits,
            () => !fits,
          );
        });
        expect(await Promise.all(appends)).toEqual(steps.map(() => true));
        for (const [stream, ids] of model) expect((await store.readStream(`${prefix}-${stream}`)).map(e => e.id)).toEqual(ids);
      }),
      { numRuns: 40 },
    );
  });

  it('refuses what is not an append', async () => {
    const refused = (code: string, stream: string, events: ReturnType<typeof event>[], expected: ExpectedRevision = 'any') =>
      expect(store.append(stream, expected, events)).rejects.toMatchObject({ code });
    const twin = event('A');
    await refused('BAD_REQUEST', 'with space', [event('A')]);
    await refused('BAD_REQUEST', '', [event('A')]);
    await refused('BAD_REQUEST', 'x'.repeat(257), [event('A')]);
    await refused('BAD_REQUEST', 's', []);
    await refused('BAD_REQUEST', 's', [twin, twin]);
    await refused('BAD_REQUEST', 's', [event('A', {}, 'x\n')]);
    await refused('BAD_REQUEST', 's', [event('A', { at: new Date(0) as never })]);
    await refused('BAD_REQUEST', 's', [event('A', { n: Number.NaN })]);
    await refused('BAD_REQUEST', 's', [event('A')], -1);
    await refused('EVENT_TOO_LARGE', 's', [event('A'), event('B', { text: 'ü'.repeat(131_072) })]);
    expect(await store.head()).toBe(0);
    await store.append('s', 'any', [event('B', { text: 'x'.repeat(262_000) })]);
  });

  it('refuses appends beyond the queue limit when nobody awaits them, and stores the others', async () => {
    const appends = Array.from({ length: 26 }, (_, s) =>
      store.append(
        `s-${s}`,
        'none',
        Array.from({ length: 4000 }, () => event('A')),
      ),
    );
    const results = await Promise.allSettled(appends);
    expect(results.slice(0, 25).every(result => result.status === 'fulfilled')).toBe(true);
    expect(results[25]).toMatchObject({ status: 'rejected', reason: { code: 'RATE_LIMITED' } });
    expect(await store.head()).toBe(100_000);
  });

  it('stores what was accepted before close and refuses what comes after', async () => {
    const before = store.append('s', 'any', [event('A')]);
    const closed = store.close();
    expect(await before).toEqual({ revision: 0, position: 1 });
    await closed;
    await expect(store.append('s', 'any', [event('B')])).rejects.toMatchObject({ code: 'STORE_CLOSED' });
    await expect(store.readStream('s')).rejects.toMatchObject({ code: 'STORE_CLOSED' });
    await expect(store.readAll(0, 1)).rejects.toMatchObject({ code: 'STORE_CLOSED' });
    await expect(store.readOutlines(0, 1)).rejects.toMatchObject({ code: 'STORE_CLOSED' });
    expect(() => store.subscribe(0, () => {})).toThrow(expect.objectContaining({ code: 'STORE_CLOSED' }));
    await store.close();
  });

  describe('subscriptions', () => {
    it('deliver past and future events in order, each once', async () => {
      await store.append('s', 'any', [event('A'), event('B')]);
      const seen: number[] = [];
      const subscription = store.subscribe(1, events => void seen.push(...events.map(e => e.position)));
      await Promise.all(Array.from({ length: 50 }, () => store.append('s', 'any', [event('C')])));
      await expect.poll(() => subscription.position).toBe(52);
      await subscription.stop();
      expect(seen).toEqual(Array.from({ length: 51 }, (_, i) => i + 2));
      await store.append('s', 'any', [event('D')]);
      expect(seen).toHaveLength(51);
      expect(await subscription.ended).toBeUndefined();
    });

    it('hand over one batch at a time and count it when its handler is done', async () => {
      let running = 0;
      let release: () => void = () => {};
      const subscription = store.subscribe(0, async () => {
        expect(++running).toBe(1);
        await new Promise<void>(resolve => {
          release = resolve;
        });
        running--;
      });
      await store.append('s', 'any', [event('A')]);
      await expect.poll(() => running).toBe(1);
      await store.append('s', 'any', [event('B')]);
      expect(subscription.position).toBe(0);
      release();
      await expect.poll(() => subscription.position).toBe(1);
      await expect.poll(() => running).toBe(1);
      release();
      await expect.poll(() => subscription.position).toBe(2);
    });

    it('resume exactly once from the checkpoint of the reader, wherever it stopped', async () => {
      const total = 3500;
      for (let i = 0; i < total; i += 500)
        await store.append(
          `s${i}`,
          'none',
          Array.from({ length: 500 }, () => event('A')),
        );
      const seen: number[] = [];
      let checkpoint = 0;
      while (checkpoint < total) {
        const failAfter = Math.floor(Math.random() * 3);
        let batches = 0;
        const subscription = store.subscribe(checkpoint, events => {
          if (batches++ === failAfter) throw new Error('reader gone');
          seen.push(...events.map(e => e.position));
          checkpoint = events.at(-1)?.position ?? checkpoint;
        });
        if (checkpoint < total) await Promise.race([subscription.ended, expect.poll(() => checkpoint).toBe(total)]).catch(() => {});
        await subscription.stop();
      }
      expect(seen).toEqual(Array.from({ length: total }, (_, i) => i + 1));
    });

    it('end with the error of their handler; the store goes on', async () => {
      const failure = new Error('handler');
      const subscription = store.subscribe(0, () => {
        throw failure;
      });
      await store.append('s', 'any', [event('A')]);
      expect(await subscription.ended).toBe(failure);
      expect(subscription.position).toBe(0);
      expect(await store.append('s', 'any', [event('B')])).toEqual({ revision: 1, position: 2 });
    });

    it('end when the store is closed', async () => {
      const subscription = store.subscribe(0, () => {});
      await store.close();
      expect(await subscription.ended).toBeUndefined();
    });
  });

  it('an old id is known on a long stream too', async () => {
    const old = [event('Old', {}, '01800000-0000-7000-8000-000000000001'), event('Old', {}, '01800000-0000-7000-8000-000000000002')];
    const first = await store.append('s', 'any', old);
    for (let i = 0; i < 30; i++)
      await store.append(
        's',
        'any',
        Array.from({ length: 4000 }, () => event('A', {}, nextId())),
      );
    expect(await store.append('s', 'any', old)).toEqual(first);
    expect(await store.append('s', 'exists', [event('New', {}, '01800000-0000-7000-8000-000000000003')])).toMatchObject({
      revision: 120_002,
    });
    expect(await store.append('s', 'none', old)).toEqual(first);
  });
});
