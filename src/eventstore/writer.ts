import { NusecError } from '../errors.ts';
import { createEdge, type Edge, type EdgeMark } from '../merkle/edge.ts';
import { leafOfHash } from '../merkle/hashing.ts';
import { TurnOver } from './committer/turnOver.ts';
import type { Progress } from './durability.ts';
import { chainHash } from './hashchain.ts';
import { createHeads, type Heads } from './heads.ts';
import { type AppendRequest, judge, type Stored } from './judge.ts';
import { loadEdge } from './logTree.ts';
import type { AppendResult, Basis, StreamHead } from './port.ts';
import { recentIds } from './recentIds.ts';
import type { Seal } from './seal.ts';
import { checkFirstSeal, requireSeal, requireSealing, type Sealing } from './sealing.ts';
import type { Blob, Committer, Storage, StoredId, Taken } from './storage.ts';
import { damaged, storeError } from './storeError.ts';

/** The writer of a process: takes each append's decision inside the group's transaction and keeps the stream heads, also of what other
 *  processes have written to the same store. */

/** Events behind the index of streams from which on the store is taken up from there, as when it is opened, and not event by event. */
const maxBehindIndex = 16_384;

/** What is stored together or not at all. */
export type CommitRequest = {
  readonly appends: readonly AppendRequest[];
  /** Streams that must be at these revisions, unless all of it is a repetition. */
  readonly basis: readonly Basis[];
  /** Refused unless this is the present leadership. */
  readonly epoch?: number | undefined;
  /** The leadership that begins with it. */
  readonly nextEpoch?: number;
  /** Refused with TurnOver unless this is the turn of the process that commits for all. */
  readonly turn?: number | undefined;
  /** The turn that begins with it. */
  readonly nextCommitter?: Committer | undefined;
  readonly blobs?: readonly Blob[] | undefined;
  /** SHA-256 of blobs that go. */
  readonly droppedBlobs?: readonly string[] | undefined;
  /** It is a commit of a log elsewhere, which is taken in as it is there, once. */
  readonly from?: CommitElsewhere | undefined;
};

export type CommitElsewhere = Taken & {
  /** Number of events before it. */
  readonly first: number;
  /** Of everything up to it. */
  readonly seal: Seal | undefined;
};
/** What became of one request of a group: a result for each of its appends, or why none of it is stored. */
export type Outcome = readonly AppendResult[] | Error;

export type Writer = {
  headOf(stream: string): StreamHead;
  /** As Heads. */
  readonly ends: Pick<Heads, 'end' | 'learn'>;
  /** Where an event of this id is stored. */
  find(id: string): StoredId | undefined;
  /** As Stored. */
  readonly doubtNew: Stored['doubtNew'];
  /** What is committed, as far as it is known here. */
  progress(): Progress;
  /** Right edge of the tree over all events up to there. */
  readonly edge: Edge;
  /** Takes in what other processes have written. @returns whether there was anything
   *  @throws NusecError STORE_DAMAGED: it is not what a process of this project writes; nothing of the store can be used any more */
  catchUp(): boolean;
  /** Commits a group in one transaction. A request that is refused does not touch the others.
   *  @returns undefined while another process holds the write lock
   *  @throws NusecError STORE_FULL, STORE_READ_ONLY, STORE_DAMAGED, STORE_UNAVAILABLE when the group could not be stored; then none of it is */
  write(group: readonly CommitRequest[]): readonly Outcome[] | undefined;
};

/** @param sealing how commits are sealed; without it a store that has a seal can be read only */
export function createWriter(storage: Storage, sealing?: Sealing): Writer {
  const heads = createHeads(storage);
  const ids = recentIds();
  const edge = createEdge();
  let newest = 0;
  let newestHash = '';
  let version = 0;
  let damage: NusecError | undefined;
  const takeIn = (addLeaf: (hash: string) => void): void =>
    storage.scan(newest, (stream, revision, position, id, hash) => {
      if (position !== newest + 1) throw damaged(`the event at position ${newest + 1} is missing`);
      heads.set(stream, { revision, position, hash });
      ids.add(id);
      addLeaf(hash);
      newest = position;
      newestHash = hash;
    });
  const takeInMore = (): void => takeIn(hash => void edge.add(leafOfHash(hash)));
  /** The events up to the end of the index are not looked at: the tiles have their hashes. */
  const takeUp = (): void => {
    heads.clear();
    newest = storage.indexedUpTo();
    newestHash = newest === 0 ? '' : (storage.hashes(newest - 1, 1)[0] ?? '');
    takeIn(() => {});
    ids.forget(storage.highestId());
    edge.restore(loadEdge(storage, newest).mark());
  };
  storage.changedElsewhere();
  takeUp();
  storage.extendIndex(newest);
  /** The seal is read after the events: it may be of a commit that came between the two. */
  const newestSeal = (): Seal | undefined => {
    for (let before = -1; ; ) {
      const seal = storage.seal();
      if (seal === undefined || seal.size <= newest || newest === before) return seal;
      before = newest;
      takeInMore();
    }
  };
  if (sealing !== undefined) checkFirstSeal(storage, sealing, edge, newestSeal());
  const takeInSealed = (): void => {
    const known = newest;
    if (storage.indexedUpTo() - newest > maxBehindIndex) takeUp();
    else takeInMore();
    if (sealing !== undefined) requireSeal(sealing, edge, newestSeal(), known);
  };
  const catchUp = (): boolean => {
    if (damage !== undefined) throw damage;
    if (!storage.changedElsewhere()) return false;
    version += 1;
    heads.trim(storage.indexedUpTo());
    try {
      takeInSealed();
      storage.extendIndex(newest);
    } catch (error) {
      if (error instanceof NusecError) damage = error;
      throw error;
    }
    return true;
  };
  const stored: Stored = {
    revisionOf: stream => heads.of(stream).revision,
    find: id => (ids.mayBeStored(id) ? storage.find(id) : undefined),
    doubtNew: (stream, id) => (ids.mayBeStored(id) ? storage.doubtNew(id, heads.of(stream).position) : undefined),
  };

  const write = (group: readonly CommitRequest[]): readonly Outcome[] | undefined => {
    const undo: (() => void)[] = [];
    let next = 0;
    let nextHash = '';
    let changed = false;
    let presentTurn: number | undefined;
    let mark: EdgeMark | undefined;
    const insert = ({ stream, events }: AppendRequest): AppendResult => {
      let head = heads.of(stream);
      for (const { id, body } of events) {
        const revision = head.revision + 1;
        const hash = chainHash(head.hash, stream, revision, id, body);
        storage.insert({ position: ++next, stream, revision, prev: head.position, id, hash, body });
        for (const tile of edge.add(leafOfHash(hash))) storage.insertTile(tile);
        head = { revision, position: next, hash };
        nextHash = hash;
        ids.add(id);
      }
      undo.push(heads.set(stream, head));
      return { revision: head.revision, position: head.position };
    };
    const turnNow = (): number => {
      presentTurn ??= storage.committer().turn;
      return presentTurn;
    };
    /** Everything is judged before anything is inserted. */
    const store = ({ appends, basis, epoch, nextEpoch, turn, nextCommitter, blobs, droppedBlobs, from }: CommitRequest): Outcome => {
      if (from !== undefined && !isNext(storage.taken(), from, next)) return [];
      if (turn !== undefined && turn !== turnNow()) return new TurnOver();
      const verdicts = judge(stored, appends, basis);
      if (verdicts instanceof NusecError) return verdicts;
      const isRepetition = appends.length > 0 && !verdicts.includes(undefined);
      if (epoch !== undefined && epoch !== storage.epoch() && !isRepetition)
        return new NusecError('LEADERSHIP_OVER', 'another process leads now');
      changed ||= verdicts.includes(undefined) || nextEpoch !== undefined || (blobs?.length ?? 0) + (droppedBlobs?.length ?? 0) > 0;
      if (nextCommitter !== undefined) {
        storage.setCommitter(nextCommitter);
        presentTurn = nextCommitter.turn;
        changed = true;
      }
      if (from !== undefined) storage.setTaken(from);
      if (nextEpoch !== undefined) storage.setEpoch(nextEpoch);
      for (const blob of blobs ?? []) storage.putBlob(blob);
      for (const sha256 of droppedBlobs ?? []) storage.dropBlob(sha256);
      return verdicts.map((verdict, i) => verdict ?? insert(appends[i] as AppendRequest));
    };
    try {
      // Most of what others have written is taken in before the lock is held.
      catchUp();
      if (!storage.begin()) return undefined;
      catchUp();
      next = newest;
      nextHash = newestHash;
      mark = edge.mark();
      requireSealing(storage, sealing);
      const outcomes = group.map(store);
      const from = group.at(-1)?.from;
      if (sealing !== undefined && next > newest) storage.setSeal(sealAs(sealing, edge, from, newest));
      storage.commit();
      newest = next;
      newestHash = nextHash;
      if (changed) version += 1;
      storage.extendIndex(newest);
      return outcomes;
    } catch (error) {
      for (const step of undo.reverse()) step();
      storage.rollback();
      // What others have written stays taken in.
      if (mark !== undefined) edge.restore(mark);
      throw storeError(error, 'the events could not be stored');
    }
  };
  return {
    headOf: heads.of,
    ends: heads,
    find: stored.find,
    doubtNew: stored.doubtNew,
    progress: () => ({ position: newest, hash: newestHash, version }),
    edge,
    catchUp,
    write,
  };
}

/** Whether a commit of a log elsewhere is the next one; false when another process has taken it in.
 *  @param size events so far @throws NusecError STORE_DAMAGED when one is missing before it */
function isNext({ revision }: Taken, from: CommitElsewhere, size: number): boolean {
  if (from.revision <= revision) return false;
  if (from.revision === revision + 1 && from.first === size) return true;
  throw damaged(`commit ${from.revision} of the log begins after ${from.first} events; here are ${size}, up to commit ${revision}`);
}

/** The seal of everything up to here, which must be the one that came with the commit. @throws NusecError STORE_DAMAGED */
function sealAs(sealing: Sealing, edge: Edge, from: CommitElsewhere | undefined, known: number): Seal {
  if (from !== undefined) requireSeal(sealing, edge, from.seal, known);
  return sealing.sealer.seal(edge);
}
