/** The writer of a process: takes each append's decision inside the group's transaction and keeps the stream heads, also of what other
 *  processes have written to the same store. */
import { NusecError } from '../errors.ts';
import type { Progress } from './durability.ts';
import type { EncodedEvent } from './envelope.ts';
import { chainHash, chainStart } from './hashchain.ts';
import type { AppendResult, Basis, ExpectedRevision } from './port.ts';
import { type RecentIds, recentIds } from './recentIds.ts';
import { matchesExpected, noStream, RevisionConflict } from './revision.ts';
import type { Blob, Link, Storage, StreamHead } from './storage.ts';

/** How far behind its head a stream is searched for the first result of a repeated append. */
const maxRepeatDistance = 10_000;

const emptyStream: StreamHead = { revision: noStream, position: 0, hash: chainStart };

export type AppendRequest = { readonly stream: string; readonly expected: ExpectedRevision; readonly events: readonly EncodedEvent[] };
/** What is stored together or not at all. */
export type CommitRequest = {
  readonly appends: readonly AppendRequest[];
  /** Streams that must be at these revisions, unless all of it is a repetition. */
  readonly basis: readonly Basis[];
  /** Refused unless this is the present leadership. */
  readonly epoch?: number | undefined;
  /** The leadership that begins with it. */
  readonly nextEpoch?: number;
  readonly blobs?: readonly Blob[] | undefined;
  /** SHA-256 of blobs that go. */
  readonly droppedBlobs?: readonly string[] | undefined;
};
/** What became of one request of a group: a result for each of its appends, or why none of it is stored. */
export type Outcome = readonly AppendResult[] | Error;

export type Writer = {
  headOf(stream: string): StreamHead;
  /** What is committed, as far as it is known here. */
  progress(): Progress;
  /** Takes in what other processes have written. @returns whether there was anything */
  catchUp(): boolean;
  /** Commits a group in one transaction. A request that is refused does not touch the others.
   *  @returns undefined while another process holds the write lock
   *  @throws NusecError STORE_UNAVAILABLE when the group could not be stored; then none of it is */
  write(group: readonly CommitRequest[]): readonly Outcome[] | undefined;
};

export function createWriter(storage: Storage): Writer {
  const heads = new Map<string, StreamHead>();
  const ids = recentIds();
  let newest = 0;
  let version = 0;
  const takeIn = (remember: (id: string) => void): void =>
    storage.scan(newest, (stream, revision, position, id, hash) => {
      if (position !== newest + 1) throw new NusecError('STORE_DAMAGED', `position ${newest + 1} is missing`);
      heads.set(stream, { revision, position, hash });
      remember(id);
      newest = position;
    });
  storage.changedElsewhere();
  takeIn(ids.forget);
  const catchUp = (): boolean => {
    if (!storage.changedElsewhere()) return false;
    version += 1;
    takeIn(ids.add);
    return true;
  };
  const headOf = (stream: string) => heads.get(stream) ?? emptyStream;

  const write = (group: readonly CommitRequest[]): readonly Outcome[] | undefined => {
    const undo: (() => void)[] = [];
    let next = 0;
    let changed = false;
    const insert = ({ stream, events }: AppendRequest): AppendResult => {
      const before = heads.get(stream);
      undo.push(() => (before === undefined ? heads.delete(stream) : heads.set(stream, before)));
      let head = before ?? emptyStream;
      for (const { id, body } of events) {
        const revision = head.revision + 1;
        const hash = chainHash(head.hash, stream, revision, id, body);
        storage.insert({ position: ++next, stream, revision, prev: head.position, id, hash, body });
        head = { revision, position: next, hash };
        ids.add(id);
      }
      heads.set(stream, head);
      return { revision: head.revision, position: head.position };
    };
    /** Everything is decided before anything is inserted. */
    const store = ({ appends, basis, epoch, nextEpoch, blobs, droppedBlobs }: CommitRequest): Outcome => {
      if (epoch !== undefined && epoch !== storage.epoch()) return new NusecError('LEADERSHIP_OVER', 'another process leads now');
      const ahead = new Map<string, number>();
      const decisions: (AppendResult | undefined)[] = [];
      for (const request of appends) {
        const head = headOf(request.stream);
        const decision = decide(storage, ids, head, ahead.get(request.stream) ?? head.revision, request);
        if (decision instanceof Error) return decision;
        if (decision === undefined) ahead.set(request.stream, (ahead.get(request.stream) ?? head.revision) + request.events.length);
        decisions.push(decision);
      }
      const moved = decisions.includes(undefined) ? movedOf(basis, headOf) : undefined;
      if (moved !== undefined) return moved;
      changed ||= decisions.includes(undefined) || nextEpoch !== undefined || (blobs?.length ?? 0) + (droppedBlobs?.length ?? 0) > 0;
      if (nextEpoch !== undefined) storage.setEpoch(nextEpoch);
      for (const blob of blobs ?? []) storage.putBlob(blob);
      for (const sha256 of droppedBlobs ?? []) storage.dropBlob(sha256);
      return decisions.map((decision, i) => decision ?? insert(appends[i] as AppendRequest));
    };
    try {
      // Most of what others have written is taken in before the lock is held.
      catchUp();
      if (!storage.begin()) return undefined;
      catchUp();
      next = newest;
      const outcomes = group.map(store);
      storage.commit();
      newest = next;
      if (changed) version += 1;
      return outcomes;
    } catch (error) {
      for (const step of undo.reverse()) step();
      storage.rollback();
      if (error instanceof NusecError) throw error;
      throw new NusecError('STORE_UNAVAILABLE', 'the events could not be stored', { cause: error });
    }
  };
  return { headOf, progress: () => ({ position: newest, version }), catchUp, write };
}

/** The outcome of a request that stores nothing: a repetition's first result or a refusal. */
function decide(
  storage: Storage,
  ids: RecentIds,
  head: StreamHead,
  /** Newest revision when the appends before it in the same request are stored. */
  revision: number,
  { stream, expected, events }: AppendRequest,
): AppendResult | Error | undefined {
  if (!matchesExpected(expected, revision)) {
    return repeatAtRevision(storage, head, expected, events) ?? new RevisionConflict(stream, expected, revision);
  }
  if (typeof expected === 'number' || expected === 'none') return undefined;
  return repeatAnywhere(storage, ids, head, events);
}

/** What a decision was based on has changed before the decision is stored. */
function movedOf(basis: readonly Basis[], headOf: Writer['headOf']): RevisionConflict | undefined {
  const moved = basis.find(({ stream, revision }) => headOf(stream).revision !== revision);
  return moved && new RevisionConflict(moved.stream, moved.revision, headOf(moved.stream).revision);
}

/** After an expected revision only the events that follow it can be the first append. */
function repeatAtRevision(storage: Storage, head: StreamHead, expected: ExpectedRevision, events: readonly EncodedEvent[]) {
  const from = expected === 'none' ? 0 : Number(expected) + 1;
  if (!(from >= 0 && from <= head.revision) || head.revision - from > maxRepeatDistance) return undefined;
  const stored = findInStream(storage, head, events, link => link.revision === from);
  return stored?.same ? stored.result : undefined;
}

/** Without an expected revision the ids alone tell: remembered, or searched in the stream when they may be older than the memory. */
function repeatAnywhere(
  storage: Storage,
  ids: RecentIds,
  head: StreamHead,
  events: readonly EncodedEvent[],
): AppendResult | Error | undefined {
  const first = (events[0] as EncodedEvent).id;
  if (head.revision === noStream || !ids.mayBeStored(first)) return undefined;
  const stored = findInStream(storage, head, events, link => link.id === first);
  if (stored === undefined) return undefined;
  return stored.same ? stored.result : new NusecError('CONFLICT', `event ${first} is already stored together with others`);
}

/** Walks back from the head to the event where the request may have begun and compares the ids from there on. */
function findInStream(storage: Storage, head: StreamHead, events: readonly EncodedEvent[], begins: (link: Link) => boolean) {
  let newer: Link[] = [];
  for (const link of storage.walk(head.position)) {
    newer = [link, ...newer.slice(0, events.length - 1)];
    if (!begins(link)) continue;
    const { revision, position } = newer.at(-1) as Link;
    return {
      same: events.length === newer.length && events.every((event, i) => newer[i]?.id === event.id),
      result: { revision, position },
    };
  }
  return undefined;
}
