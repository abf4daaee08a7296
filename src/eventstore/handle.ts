import { type Decider, decideAll, fold } from '../domain/decider.ts';
import { schemaVersionOf, upcast } from '../domain/upcasters.ts';
import { canonicalCopy } from './canonical.ts';
import { noteOwnChange, requireExpected } from './expectation.ts';
import type { Append, AppendResult, Basis, EventStore, EventToAppend, JsonObject, RecordedEvent } from './port.ts';
import { noStream, RevisionConflict } from './revision.ts';
import { inLine, type Loaded, memoryOf } from './stateCache.ts';

/** One command to one aggregate: load and fold its stream, decide, append at the revision that was read. */

/** Decisions taken again because another process was faster. Within one process commands to a stream wait for each other. */
export const maxConflictRetries = 8;

/** Whatever the log can keep. */
export type StorableEvent = { readonly type: string; readonly data: JsonObject };

/** Who and when, for every event of the decision. */
export type CommandMeta = {
  readonly by: string;
  readonly cause?: string;
  readonly corr?: string;
  /** RFC 3339 UTC, milliseconds. */
  readonly now: string;
  /** UUIDv7, see ids.ts */
  readonly newId: () => string;
  /** Leadership under which the events are stored; default: they need none. */
  readonly epoch?: number;
};

export type Handled<State, Event> = {
  /** Newest revision of the stream, -1 when nothing was ever stored in it. */
  readonly revision: number;
  /** Position of the stream's newest event, to wait for in a read model; 0 when there is none. */
  readonly position: number;
  /** What this command added: `[]` when it was already done. */
  readonly events: readonly Event[];
  readonly state: State;
};

/** Decides a command on a stream and stores what it leads to.
 *  @throws whatever `decider.decide` throws; NusecError REVISION_CONFLICT after maxConflictRetries, RATE_LIMITED, and what append throws */
export function handle<Command, State, Event extends StorableEvent>(
  store: EventStore,
  decider: Decider<Command, State, Event>,
  stream: string,
  command: Command,
  meta: CommandMeta,
): Promise<Handled<State, Event>> {
  return handleOn(store, decider, stream, async () => command, meta);
}

/** Reads the state of another stream for a decision. What is decided on it is stored only while that stream is still as it was read. */
export type Read = <Command, State, Event extends StorableEvent>(decider: Decider<Command, State, Event>, stream: string) => Promise<State>;

/** As `handle`, for a command that depends on other streams.
 *  @param commandOf reads them, judges them, and gives the command; called again when one of them has changed before the decision was stored
 *  @throws as handle, and what `commandOf` throws */
export function handleOn<Command, State, Event extends StorableEvent>(
  store: EventStore,
  decider: Decider<Command, State, Event>,
  stream: string,
  commandOf: (read: Read) => Promise<Command>,
  meta: CommandMeta,
): Promise<Handled<State, Event>> {
  return handleAllOn(store, decider, stream, async read => [await commandOf(read)], meta);
}

/** As `handleOn`, for several commands that are decided as one. */
export function handleAllOn<Command, State, Event extends StorableEvent>(
  store: EventStore,
  decider: Decider<Command, State, Event>,
  stream: string,
  commandsOf: (read: Read) => Promise<readonly Command[]>,
  meta: CommandMeta,
): Promise<Handled<State, Event>> {
  return inLine(store, stream, async () => {
    for (let attempt = 0; ; attempt++) {
      try {
        return await decideOnce(store, decider, stream, commandsOf, meta);
      } catch (error) {
        if (!(error instanceof RevisionConflict) || attempt === maxConflictRetries) throw error;
      }
    }
  });
}

/** The state of a stream, from the cache and what is newer. States are values: never change one.
 *  @param asKnown without a look for what other processes have stored, see EventStore.readStream */
export async function loadState<Command, State, Event extends StorableEvent>(
  store: EventStore,
  decider: Decider<Command, State, Event>,
  stream: string,
  asKnown = false,
): Promise<Loaded<State>> {
  const { states } = memoryOf(store);
  const known = states.get(stream);
  const base =
    known?.decider === decider ? (known.loaded as Loaded<State>) : { revision: noStream, position: 0, state: decider.initialState };
  const newer = await store.readStream(stream, base.revision + 1, asKnown);
  const last = newer.at(-1);
  if (last === undefined) return base;
  // What was stored came out of the same decider, or of an older version of it: its events have its shapes.
  const state = fold(decider, newer.map(upcast) as readonly RecordedEvent[] as readonly (RecordedEvent & Event)[], base.state);
  const loaded = { revision: last.revision, position: last.position, state };
  states.set(stream, { decider, loaded });
  return loaded;
}

async function decideOnce<Command, State, Event extends StorableEvent>(
  store: EventStore,
  decider: Decider<Command, State, Event>,
  stream: string,
  commandsOf: (read: Read) => Promise<readonly Command[]>,
  meta: CommandMeta,
): Promise<Handled<State, Event>> {
  const basis = new Map<string, Basis>();
  // What others store after the first look is found at the commit.
  const commands = await commandsOf(async (other, otherStream) => {
    const { revision, state } = await loadState(store, other, otherStream, basis.size > 0);
    requireExpected(otherStream, revision);
    // Read twice, the older revision counts: then the two states must have been the same.
    if (!basis.has(otherStream)) basis.set(otherStream, { stream: otherStream, revision });
    return state;
  });
  const before = await loadState(store, decider, stream, basis.size > 0);
  requireExpected(stream, before.revision);
  const { events, state } = decideAll(decider, commands, before.state, asStored);
  if (events.length === 0) return { ...before, events };
  const expected = before.revision === noStream ? 'none' : before.revision;
  const request = { stream, expected, events: envelopes(events, meta) } as const;
  const { revision, position } = await append(store, request, [...basis.values()], meta.epoch);
  noteOwnChange(stream, revision);
  memoryOf(store).states.set(stream, { decider, loaded: { revision, position, state } });
  return { revision, position, events, state };
}

/** As whoever reads it from the log gets it: all processes fold the same. */
const asStored = <Event extends StorableEvent>(event: Event): Event => ({ ...event, data: canonicalCopy(event.data) });

async function append(store: EventStore, request: Append, basis: readonly Basis[], epoch: number | undefined): Promise<AppendResult> {
  if (epoch === undefined) return store.append(request.stream, request.expected, request.events, basis);
  const [result] = await store.commit({ appends: [request], basis, epoch });
  return result as AppendResult;
}

function envelopes(events: readonly StorableEvent[], { by, cause, corr, now, newId }: CommandMeta): EventToAppend[] {
  const common = { at: now, by, ...(cause === undefined ? {} : { cause }), ...(corr === undefined ? {} : { corr }) };
  return events.map(({ type, data }) => ({ ...common, type, v: schemaVersionOf(type), data, id: newId() }));
}
