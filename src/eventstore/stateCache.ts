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
export type KnownState = { readonly decider: unknown; readonly loaded: Loaded<unknown> };
type Memory = { readonly states: Pick<Lru<KnownState>, 'get' | 'set' | 'clear'>; readonly lines: Map<string, Line> };
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

/** Folds every stream again: what its events say has changed, because somebody was erased. */
export const forgetStates = (store: EventStore): void => memories.get(store)?.states.clear();

/** States by stream that were folded elsewhere, from the events of the store, for one unit of work: nobody else will ask for them. */
export type PassingStates = ReadonlyMap<string, KnownState>;

/** Lets a staged store know the states of the store behind it, and those in passing. States that rest on staged events are kept apart.
 *  @returns what hands those on when their events have been committed, with the positions they got; those in passing are forgotten */
export function shareStates(
  staged: EventStore,
  base: EventStore,
  isStaged: (stream: string) => boolean,
  passing: PassingStates,
): (positions: ReadonlyMap<string, number>) => void {
  const shared = memoryOf(base).states;
  const own = new Map<string, KnownState>();
  const isOwn = (stream: string): boolean => isStaged(stream) || passing.has(stream);
  memories.set(staged, {
    states: {
      get: stream => own.get(stream) ?? (isStaged(stream) ? undefined : (passing.get(stream) ?? shared.get(stream))),
      set: (stream, known) => void (isOwn(stream) ? own.set(stream, known) : shared.set(stream, known)),
      clear: () => own.clear(),
    },
    lines: new Map(),
  });
  return positions => {
    for (const [stream, { decider, loaded }] of own) {
      const position = positions.get(stream);
      if (position !== undefined && !passing.has(stream)) shared.set(stream, { decider, loaded: { ...loaded, position } });
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
