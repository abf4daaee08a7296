import { NusecError } from '../errors.ts';
import { type Lru, lru } from '../lru.ts';
import type { EventStore } from './port.ts';

/** What is remembered for each store: folded states, and which commands wait for which stream. */

/** Folded states kept per store. */
const maxCachedStates = 20_000;
/** Commands waiting for one stream. */
const maxWaitingCommands = 10_000;

/** A state and where it was folded up to. */
export type Loaded<State> = { readonly revision: number; readonly position: number; readonly state: State };
type Cached = { readonly decider: unknown; readonly loaded: Loaded<unknown> };
type Memory = { readonly states: Pick<Lru<Cached>, 'get' | 'set' | 'clear'>; readonly lines: Map<string, Line> };
/** The commands that wait for one stream. */
type Line = { last: Promise<unknown>; length: number };

const memories = new WeakMap<EventStore, Memory>();

export function memoryOf(store: EventStore): Memory {
  let memory = memories.get(store);
  if (memory === undefined) {
    memory = { states: lru(maxCachedStates), lines: new Map() };
    memories.set(store, memory);
  }
  return memory;
}

/** Keeps a state that was folded elsewhere, from the events of this store. */
export function remember<State>(store: EventStore, decider: unknown, stream: string, loaded: Loaded<State>): void {
  const { states } = memoryOf(store);
  const known = states.get(stream);
  if (known !== undefined && known.decider === decider && known.loaded.revision >= loaded.revision) return;
  states.set(stream, { decider, loaded });
}

/** Folds every stream again: what its events say has changed, because somebody was erased. */
export const forgetStates = (store: EventStore): void => memories.get(store)?.states.clear();

/** Lets a staged store know the states of the store behind it. States that rest on staged events are kept apart.
 *  @returns what hands those on when their events have been committed, with the positions they got */
export function shareStates(
  staged: EventStore,
  base: EventStore,
  isStaged: (stream: string) => boolean,
): (positions: ReadonlyMap<string, number>) => void {
  const shared = memoryOf(base).states;
  const own = new Map<string, Cached>();
  memories.set(staged, {
    states: {
      get: stream => (isStaged(stream) ? own.get(stream) : shared.get(stream)),
      set: (stream, cached) => void (isStaged(stream) ? own.set(stream, cached) : shared.set(stream, cached)),
      clear: () => own.clear(),
    },
    lines: new Map(),
  });
  return positions => {
    for (const [stream, { decider, loaded }] of own) {
      const position = positions.get(stream);
      if (position !== undefined) shared.set(stream, { decider, loaded: { ...loaded, position } });
    }
  };
}

/** Runs `work` when the commands before it on the same stream are done, whatever became of them. @throws RATE_LIMITED, and what `work` throws */
export async function inLine<Result>(store: EventStore, stream: string, work: () => Promise<Result>): Promise<Result> {
  const { lines } = memoryOf(store);
  const line = lines.get(stream) ?? { last: Promise.resolve(), length: 0 };
  if (line.length === maxWaitingCommands) throw new NusecError('RATE_LIMITED', `too many commands wait for stream ${stream}`);
  lines.set(stream, line);
  line.length++;
  const result = line.last.then(work);
  line.last = result.catch(() => undefined);
  try {
    return await result;
  } finally {
    if (--line.length === 0) lines.delete(stream);
  }
}
