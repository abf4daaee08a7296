import { describe, expect, it } from 'vitest';
import { sha256Hex } from '../../src/digest.ts';
import type { Decider } from '../../src/domain/decider.ts';
import { NusecError } from '../../src/errors.ts';
import { type CommandMeta, handle, handleOn, loadState } from '../../src/eventstore/handle.ts';
import { inOneCommit } from '../../src/eventstore/oneCommit.ts';
import type { EventStore, Unit } from '../../src/eventstore/port.ts';
import { openMemoryStore } from './memory.ts';
import { nextId } from './support.ts';

type Counted = { readonly type: 'Counted'; readonly data: { readonly n: number } };
type Count = { readonly add: number };

const limit = 60;
const counter: Decider<Count, number, Counted> = {
  initialState: 0,
  decide({ add }, count) {
    if (count + add > limit) throw new NusecError('COUNT_EXHAUSTED', 'no more');
    return Array.from({ length: add }, (_, i) => ({ type: 'Counted' as const, data: { n: count + i + 1 } }));
  },
  evolve: (count, event) => (event.type === 'Counted' ? event.data.n : count),
};

const meta: CommandMeta = { by: 'system:test', now: '2026-01-02T03:04:05.678Z', newId: nextId };
const add = (store: EventStore, stream: string, count = 1) => handle(store, counter, stream, { add: count }, meta);
const countOf = async (store: EventStore, stream: string) => (await loadState(store, counter, stream)).state;
const numbers = async (store: EventStore, stream: string) => (await store.readStream(stream)).map(({ data }) => data.n);

/** Notes every commit that reaches the store. */
function counted(store: EventStore): { readonly store: EventStore; readonly commits: Unit[] } {
  const commits: Unit[] = [];
  const commit = (unit: Unit) => {
    commits.push(unit);
    return store.commit(unit);
  };
  return { store: { ...store, commit }, commits };
}

describe('a unit of work', () => {
  it('is one commit over its streams, in the order of its events, with its blobs; inside it shows what it has staged', async () => {
    const { store, commits } = counted(openMemoryStore());
    await add(store, 'a', 2);
    const bytes = Uint8Array.of(1, 2, 3);
    const seen = await inOneCommit(store, async staged => {
      const first = await add(staged.store, 'a');
      await add(staged.store, 'b', 2);
      const second = await add(staged.store, 'a', 2);
      await staged.store.commit({ appends: [], blobs: [bytes] });
      expect(await store.readStream('b')).toEqual([]);
      expect(staged.blob(sha256Hex(bytes))).toEqual(bytes);
      expect(await staged.store.readStream('a', 1)).toMatchObject([{ revision: 1 }, { revision: 2 }, { revision: 3 }, { revision: 4 }]);
      return [first.revision, second.revision, await countOf(staged.store, 'a'), await countOf(staged.store, 'b')];
    });
    expect(seen).toEqual([2, 4, 5, 2]);
    expect(commits).toHaveLength(1);
    const all = await store.readAll(0, 100);
    expect(all.map(({ stream, data }) => `${stream}${data.n}`)).toEqual(['a1', 'a2', 'a3', 'b1', 'b2', 'a4', 'a5']);
    expect(await store.readBlob(sha256Hex(bytes))).toEqual(bytes);
    expect(await loadState(store, counter, 'a')).toEqual({ revision: 4, position: 7, state: 5 });
  });

  it('that decides nothing commits nothing', async () => {
    const { store, commits } = counted(openMemoryStore());
    expect(await inOneCommit(store, async staged => countOf(staged.store, 'a'))).toBe(0);
    expect(commits).toEqual([]);
  });

  it('that is refused stores what it had decided before, and is refused all the same', async () => {
    const store = openMemoryStore();
    const work = inOneCommit(store, async staged => {
      await add(staged.store, 'a', 3);
      await add(staged.store, 'b', limit + 1);
    });
    await expect(work).rejects.toMatchObject({ code: 'COUNT_EXHAUSTED' });
    expect(await numbers(store, 'a')).toEqual([1, 2, 3]);
    expect(await countOf(store, 'a')).toBe(3);
  });

  it('whose commit fails leaves nothing behind, neither events nor states', async () => {
    const store = openMemoryStore();
    await add(store, 'a');
    const failing: EventStore = { ...store, commit: () => Promise.reject(new NusecError('STORE_UNAVAILABLE', 'disk full')) };
    await expect(inOneCommit(failing, staged => add(staged.store, 'a'))).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' });
    expect(await countOf(failing, 'a')).toBe(1);
    expect(await numbers(store, 'a')).toEqual([1]);
  });

  it('is done again, as a whole, when another process was faster on one of its streams', async () => {
    const { store, commits } = counted(openMemoryStore());
    let runs = 0;
    await inOneCommit(store, async staged => {
      runs += 1;
      await add(staged.store, 'own');
      await add(staged.store, 'shared');
      if (runs === 1) await add({ ...store }, 'shared', 2);
    });
    expect(runs).toBe(2);
    expect(commits).toHaveLength(2);
    expect(await numbers(store, 'own')).toEqual([1]);
    expect(await numbers(store, 'shared')).toEqual([1, 2, 3]);
  });

  it('is done again when what it was based on has moved', async () => {
    const store = openMemoryStore();
    const seen: number[] = [];
    await inOneCommit(store, async staged => {
      const command = async (read: Parameters<Parameters<typeof handleOn>[3]>[0]) => {
        seen.push(await read(counter, 'job'));
        return { add: 1 };
      };
      await handleOn(staged.store, counter, 'unit', command, meta);
      if (seen.length === 1) await add(store, 'job');
    });
    expect(seen).toEqual([0, 1]);
    expect(await numbers(store, 'unit')).toEqual([1]);
  });

  it('many at the same time, beside single commands, never pass a limit and lose nothing', async () => {
    const store = openMemoryStore();
    const unit = (i: number) =>
      inOneCommit(store, async staged => {
        await add(staged.store, `own-${i}`);
        await add(staged.store, 'shared');
      });
    const outcomes = await Promise.allSettled(Array.from({ length: 80 }, (_, i) => (i % 4 === 0 ? add(store, 'shared') : unit(i))));
    const refused = outcomes.filter(outcome => outcome.status === 'rejected');
    expect(new Set(refused.map(({ reason }) => reason.code))).toEqual(new Set(['COUNT_EXHAUSTED']));
    expect(refused).toHaveLength(20);
    expect(await numbers(store, 'shared')).toEqual(Array.from({ length: limit }, (_, i) => i + 1));
  });
});
