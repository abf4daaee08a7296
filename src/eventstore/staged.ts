import { sha256Hex } from '../digest.ts';
import { canonicalCopy } from './canonical.ts';
import type { Append, AppendResult, Basis, EventStore, EventToAppend, JsonObject, RecordedEvent, Unit } from './port.ts';
import { matchesExpected, noStream, RevisionConflict } from './revision.ts';

/** A store in front of another one that keeps what is appended in memory, until all of it is committed in one step: what belongs together is stored
 *  together or not at all, with one wait for the disk. Reads show what is staged. */

export type Staged = {
  readonly store: EventStore;
  /** Whether something is staged for this stream. */
  has(stream: string): boolean;
  /** Bytes that are staged. @param sha256 64 lower-case hex */
  blob(sha256: string): Uint8Array | undefined;
  /** Drops everything that is staged so far. */
  forget(): void;
  /** Commits what is staged. @returns position of the newest event of each stream that has more now @throws as EventStore.commit */
  commit(): Promise<ReadonlyMap<string, number>>;
};

/** @param base where everything goes in the end */
export function stage(base: EventStore): Staged {
  const appends: Append[] = [];
  const basis = new Map<string, Basis>();
  const blobs = new Map<string, Uint8Array>();
  const droppedBlobs: string[] = [];
  const streams = new Map<string, RecordedEvent[]>();
  let epoch: number | undefined;

  /** Up to which revision a stream was read: once for all decisions of the unit. What others store meanwhile is found at the commit. */
  const readUpTo = new Map<string, number>();
  const readStored = async (stream: string, fromRevision: number): Promise<readonly RecordedEvent[]> => {
    const newest = readUpTo.get(stream);
    if (newest !== undefined && fromRevision > newest) return [];
    const stored = await base.readStream(stream, fromRevision, readUpTo.size > 0);
    readUpTo.set(stream, stored.at(-1)?.revision ?? fromRevision - 1);
    return stored;
  };
  const readStream = async (stream: string, fromRevision = 0): Promise<readonly RecordedEvent[]> => {
    const staged = streams.get(stream);
    if (staged === undefined) return readStored(stream, fromRevision);
    const first = staged[0]?.revision;
    const own = staged.filter(({ revision }) => revision >= fromRevision);
    if (first !== undefined && fromRevision >= first) return own;
    const stored = await readStored(stream, fromRevision);
    // What others stored behind the place where this begins is found at the commit.
    return [...(first === undefined ? stored : stored.filter(({ revision }) => revision < first)), ...own];
  };
  const revisionOf = async (stream: string, expected: Append['expected']): Promise<number> => {
    const newest = streams.get(stream)?.at(-1)?.revision;
    if (newest !== undefined) return newest;
    if (expected === 'none') return noStream;
    return typeof expected === 'number' ? expected : ((await base.readStream(stream)).at(-1)?.revision ?? noStream);
  };
  const append = async (request: Append): Promise<AppendResult> => {
    const { stream, expected, events } = request;
    const newest = await revisionOf(stream, expected);
    if (!matchesExpected(expected, newest)) throw new RevisionConflict(stream, expected, newest);
    const recorded = events.map((event, i) => stagedEvent(event, stream, newest + 1 + i));
    streams.set(stream, [...(streams.get(stream) ?? []), ...recorded]);
    appends.push(request);
    return { revision: newest + events.length, position: 0 };
  };
  const commitHere = async (unit: Unit): Promise<readonly AppendResult[]> => {
    for (const each of unit.basis ?? []) if (!streams.has(each.stream) && !basis.has(each.stream)) basis.set(each.stream, each);
    epoch = unit.epoch ?? epoch;
    for (const bytes of unit.blobs ?? []) blobs.set(sha256Hex(bytes), bytes);
    droppedBlobs.push(...(unit.droppedBlobs ?? []));
    const results: AppendResult[] = [];
    for (const request of unit.appends) results.push(await append(request));
    return results;
  };

  return {
    has: stream => streams.has(stream),
    blob: sha256 => blobs.get(sha256),
    forget() {
      appends.length = 0;
      droppedBlobs.length = 0;
      for (const kept of [basis, blobs, streams]) kept.clear();
    },
    store: {
      ...base,
      append: async (stream, expected, events, on) =>
        (await commitHere({ appends: [{ stream, expected, events }], basis: on }))[0] as AppendResult,
      commit: commitHere,
      readStream,
      readBlob: async sha256 => blobs.get(sha256) ?? base.readBlob(sha256),
    },
    async commit() {
      if (appends.length + blobs.size + droppedBlobs.length === 0) return new Map();
      const results = await base.commit({ appends, basis: [...basis.values()], blobs: [...blobs.values()], droppedBlobs, epoch });
      return new Map(appends.map(({ stream }, i) => [stream, (results[i] as AppendResult).position]));
    },
  };
}

/** An event that has no place in the log yet. */
const stagedEvent = (event: EventToAppend, stream: string, revision: number): RecordedEvent => ({
  ...event,
  data: canonicalCopy(event.data) as JsonObject,
  v: event.v ?? 1,
  stream,
  revision,
  position: 0,
  hash: '',
});
