import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Decider } from '../../src/domain/decider.ts';
import { NusecError } from '../../src/errors.ts';
import { type CommandMeta, handle, handleOn, loadState, maxConflictRetries } from '../../src/eventstore/handle.ts';
import type { EventStore } from '../../src/eventstore/port.ts';
import { openSqliteStore } from '../../src/eventstore/sqlite.ts';
import { covers } from '../support/covers.ts';
import { openMemoryStore } from './memory.ts';
import { nextId, temporaryFolder } from './support.ts';

/** A counter with a hard limit, as an allotment has one. */
type Reserved = { readonly type: 'UnitReserved'; readonly data: { readonly unit: string; readonly count: number } };
type Command = { readonly unit: string };
type State = { readonly units: readonly string[] };

const quota = 100;
let folds = 0;
const allotment: Decider<Command, State, Reserved> = {
  initialState: { units: [] },
  decide({ unit }, { units }) {
    if (units.includes(unit)) return [];
    if (units.length === quota) throw new NusecError('COUNT_EXHAUSTED', 'no more');
    return [{ type: 'UnitReserved', data: { unit, count: units.length + 1 } }];
  },
  evolve(state, event) {
    folds++;
    return event.type === 'UnitReserved' ? { units: [...state.units, event.data.unit] } : state;
  },
};

const meta: CommandMeta = { by: 'system:test', corr: 'r', now: '2026-01-02T03:04:05.678Z', newId: nextId };
const reserve = (store: EventStore, unit: string, stream = 'allotment-1') => handle(store, allotment, stream, { unit }, meta);

/** A second process on the same store: nothing of the first one's cache or waiting line. */
const elsewhere = (store: EventStore): EventStore => ({ ...store });

describe('handle', () => {
  it('decides on the folded stream and stores what it leads to, with who and when', async () => {
    const store = openMemoryStore();
    expect(await reserve(store, 'a')).toEqual({
      revision: 0,
      position: 1,
      events: [{ type: 'UnitReserved', data: { unit: 'a', count: 1 } }],
      state: { units: ['a'] },
    });
    expect(await reserve(store, 'b')).toMatchObject({ revision: 1, position: 2, state: { units: ['a', 'b'] } });
    const [first] = await store.readStream('allotment-1');
    expect(first).toMatchObject({ by: 'system:test', corr: 'r', at: meta.now, v: 1 });
    expect(first).not.toHaveProperty('cause');
  });

  it('a command that is already done stores nothing and says where the stream is', async () => {
    const store = openMemoryStore();
    await reserve(store, 'a');
    await reserve(store, 'x', 'allotment-2');
    expect(await reserve(store, 'a')).toEqual({ revision: 0, position: 1, events: [], state: { units: ['a'] } });
    expect(await store.head()).toBe(2);
    const nothing: Decider<Command, State, Reserved> = { ...allotment, decide: () => [] };
    expect(await handle(store, nothing, 'new', { unit: 'a' }, meta)).toMatchObject({ revision: -1, position: 0, events: [] });
  });

  it('passes the refusal of the decider on; the next command is not held up by it', async () => {
    const store = openMemoryStore();
    for (let i = 0; i < quota; i++) await reserve(store, `u${i}`);
    const [refused, done] = await Promise.allSettled([reserve(store, 'more'), reserve(store, 'u0')]);
    expect(refused).toMatchObject({ status: 'rejected', reason: { code: 'COUNT_EXHAUSTED' } });
    expect(done).toMatchObject({ status: 'fulfilled', value: { events: [] } });
  });

  it.each(['memory', 'sqlite'])('64 concurrent writers on %s never pass the quota and reserve no unit twice (I1, RULE-4)', async engine => {
    covers('I1', 'RULE-4');
    const store = engine === 'memory' ? openMemoryStore() : await openSqliteStore({ file: join(temporaryFolder(), 'events.db') });
    // Four processes' worth of callers, 240 different units, each asked for twice.
    const processes = [store, elsewhere(store), elsewhere(store), elsewhere(store)];
    const units = Array.from({ length: 480 }, (_, i) => `u${i % 240}`);
    const outcomes: string[] = [];
    const writer = async (n: number) => {
      for (let i = n; i < units.length; i += 64) {
        const outcome = await reserve(processes[n % 4] as EventStore, units[i] as string).then(
          ({ events }) => (events.length === 1 ? 'reserved' : 'done'),
          error => error.code as string,
        );
        outcomes.push(outcome);
      }
    };
    await Promise.all(Array.from({ length: 64 }, (_, n) => writer(n)));
    const stored = (await store.readStream('allotment-1')).map(e => e.data as Reserved['data']);
    expect(stored.map(e => e.count)).toEqual(Array.from({ length: quota }, (_, i) => i + 1));
    expect(new Set(stored.map(e => e.unit)).size).toBe(quota);
    expect(outcomes.filter(outcome => outcome === 'reserved')).toHaveLength(quota);
    expect(outcomes).toHaveLength(480);
    expect(new Set(outcomes)).toEqual(new Set(['reserved', 'done', 'COUNT_EXHAUSTED']));
    await store.close();
  });

  it('random commands over several streams leave every stream within its quota (I1)', async () => {
    covers('I1');
    const command = fc.record({ stream: fc.constantFrom('a', 'b', 'c'), unit: fc.integer({ min: 0, max: 150 }), process: fc.boolean() });
    await fc.assert(
      fc.asyncProperty(fc.array(command, { maxLength: 200 }), async commands => {
        const store = openMemoryStore();
        const other = elsewhere(store);
        await Promise.allSettled(commands.map(({ stream, unit, process }) => reserve(process ? store : other, `${unit}`, stream)));
        for (const stream of ['a', 'b', 'c']) {
          const asked = new Set(commands.filter(c => c.stream === stream).map(c => `${c.unit}`));
          const units = (await store.readStream(stream)).map(e => e.data.unit as string);
          expect(new Set(units)).toEqual(asked.size <= quota ? asked : new Set(units));
          expect(units.length).toBe(Math.min(quota, asked.size));
        }
      }),
      { numRuns: 25 },
    );
  });

  it('folds an event once: a hundred commands in a row do not read the stream again', async () => {
    const store = openMemoryStore();
    folds = 0;
    for (let i = 0; i < quota; i++) await reserve(store, `u${i}`);
    expect(folds).toBe(quota);
    await reserve(elsewhere(store), 'u0');
    expect(folds).toBe(2 * quota);
    expect((await loadState(store, allotment, 'allotment-1')).state.units).toHaveLength(quota);
    expect(folds).toBe(2 * quota);
  });

  it('sees what another process stored in between', async () => {
    const store = openMemoryStore();
    await reserve(store, 'a');
    await reserve(elsewhere(store), 'b');
    expect((await reserve(store, 'c')).state.units).toEqual(['a', 'b', 'c']);
    expect(await loadState(store, allotment, 'allotment-1')).toMatchObject({ revision: 2, position: 3 });
  });

  it('two deciders on one stream do not get each other’s state', async () => {
    const store = openMemoryStore();
    const counter: Decider<Command, number, Reserved> = { initialState: 0, decide: () => [], evolve: count => count + 1 };
    await reserve(store, 'a');
    expect((await loadState(store, counter, 'allotment-1')).state).toBe(1);
    expect((await reserve(store, 'b')).state.units).toEqual(['a', 'b']);
  });

  it('gives up with REVISION_CONFLICT when another process is always faster, after the named number of retries', async () => {
    const store = openMemoryStore();
    const rival = elsewhere(store);
    let attempts = 0;
    const beaten: EventStore = {
      ...store,
      async append(stream, expected, events) {
        await reserve(rival, `rival${attempts++}`);
        return store.append(stream, expected, events);
      },
    };
    await reserve(store, 'a');
    await expect(reserve(beaten, 'b')).rejects.toMatchObject({ code: 'REVISION_CONFLICT' });
    expect(attempts).toBe(maxConflictRetries + 1);
    expect((await reserve(store, 'b')).events).toHaveLength(1);
  });
});

describe('handleOn', () => {
  const readThenReserve = (store: EventStore, beforeStored: (reads: number) => Promise<unknown>) => {
    let reads = 0;
    return handleOn(
      store,
      allotment,
      'allotment-1',
      async read => {
        const { units } = await read(allotment, 'allotment-2');
        reads++;
        await beforeStored(reads);
        if (units.includes('stop')) throw new NusecError('JOB_NOT_RUNNING', 'stopped');
        return { unit: `a${reads}` };
      },
      meta,
    );
  };

  it('takes the decision again when a stream it has read changes before the decision is stored', async () => {
    const store = openMemoryStore();
    const { state } = await readThenReserve(store, async reads => reads < 3 && reserve(store, `x${reads}`, 'allotment-2'));
    expect(state.units).toEqual(['a3']);
  });

  it('refuses what is no longer allowed then, and stores nothing', async () => {
    const store = openMemoryStore();
    const late = readThenReserve(store, reads => (reads === 1 ? reserve(store, 'stop', 'allotment-2') : Promise.resolve()));
    await expect(late).rejects.toMatchObject({ code: 'JOB_NOT_RUNNING' });
    expect(await store.readStream('allotment-1')).toEqual([]);
  });

  it('gives up after too many changes', async () => {
    const store = openMemoryStore();
    const restless = readThenReserve(store, reads => reserve(store, `x${reads}`, 'allotment-2'));
    await expect(restless).rejects.toMatchObject({ code: 'REVISION_CONFLICT' });
    expect((await store.readStream('allotment-2')).length).toBe(maxConflictRetries + 1);
  });
});
