import type { NusecError } from '../errors.ts';
import type { Tile } from '../merkle/edge.ts';
import type { Hash } from '../merkle/hashing.ts';
import type { EventOutline, RecordedEvent, StreamHead } from './port.ts';
import type { Seal } from './seal.ts';

/** One event as a row. `prev` is the position of the previous event of the same stream, 0 for the first. */
export type Row = {
  readonly position: number;
  readonly stream: string;
  readonly revision: number;
  readonly prev: number;
  readonly id: string;
  readonly hash: string;
  readonly body: string;
};

/** @property sha256 of the bytes, 64 lower-case hex */
export type Blob = { readonly sha256: string; readonly bytes: Uint8Array };

/** A commit of a log elsewhere: its number there, 0, 1, 2 …, and its id, a UUID. */
export type Taken = { readonly revision: number; readonly id: string };

/** The process that commits for all, with the number of its turn and the name of its socket, beside the store; '' when there is none. */
export type Committer = { readonly turn: number; readonly address: string };

/** Where an event of some id is, and what it is. */
export type StoredId = Pick<Row, 'position' | 'stream' | 'revision' | 'body'>;

/** What an engine must offer to the writer in writer.ts. All but `freeBytes`, `sync` and `close` is synchronous; nothing is checked twice here. */
export type Storage = {
  /** Calls `visit` for every row with a greater position than `after`, oldest first. */
  scan(after: number, visit: (stream: string, revision: number, position: number, id: string, hash: string) => void): void;
  /** The index of streams covers the events up to here. */
  indexedUpTo(): number;
  /** Where a stream ended by then; undefined when it had no event. */
  indexedHead(stream: string): StreamHead | undefined;
  /** Its position alone, without a look at the event. */
  indexedEnd(stream: string): number | undefined;
  /** Has the index extended behind the scenes when it is far behind. @param newest position */
  extendIndex(newest: number): void;
  /** Whether another process has committed since the last call; inside a transaction, what it says stays true until the end of it. */
  changedElsewhere(): boolean;
  /** Begins a transaction. @returns false while another process holds the write lock: nothing has begun then */
  begin(): boolean;
  insert(row: Row): void;
  /** Stores a blob, or mends the one that is there; within a transaction. */
  putBlob(blob: Blob): void;
  dropBlob(sha256: string): void;
  /** As it was stored, or damaged. */
  blob(sha256: string): Uint8Array | undefined;
  /** Number of the present leadership. */
  epoch(): number;
  /** Within a transaction; the same number again is a write too. */
  setEpoch(epoch: number): void;
  committer(): Committer;
  /** Within a transaction. */
  setCommitter(committer: Committer): void;
  /** A complete tile of the tree over all events (see logTree.ts). */
  tile(level: number, number: number): readonly Hash[] | undefined;
  /** Within the transaction that completes it. */
  insertTile(tile: Tile): void;
  /** Hashes of at most `limit` events with a greater position, oldest first. */
  hashes(after: number, limit: number): Hash[];
  /** Seal of the newest commit; none in a store that no key has sealed yet. */
  seal(): Seal | undefined;
  /** Within a transaction. */
  setSeal(seal: Seal): void;
  /** Which commit of a log elsewhere these rows follow (kurrentdb/): the newest one that was taken in; revision -1 before the first. */
  taken(): Taken;
  /** Within the transaction that takes it in. */
  setTaken(taken: Taken): void;
  /** Shows the rows since begin() to every process. They are on the disk after the next sync(). */
  commit(): void;
  rollback(): void;
  /** Room left where the store is. */
  freeBytes(): Promise<number>;
  /** Why work behind the scenes is not done: moving the log into the file, extending the index. */
  upkeepFailure(): Error | undefined;
  /** Notes how far the disk is, beside the store. */
  mark(newest: Pick<StreamHead, 'position' | 'hash'>): void;
  /** Resolves when everything committed before the call is on the disk. */
  sync(): Promise<void>;
  /** The events of one stream, newest first: from the one at `position` back to `fromRevision`. */
  back(position: number, fromRevision: number): RecordedEvent[];
  /** The event of this id, also one of the transaction that runs. */
  find(id: string): StoredId | undefined;
  /** Looks again for an id that `find` does not have: its index may be damaged. @param end position of the newest event of the stream that is to have it
   *  @returns STORE_DAMAGED when the index is */
  doubtNew(id: string, end: number): NusecError | undefined;
  /** The id that sorts above all others; '' when there is none. @throws NusecError STORE_DAMAGED when the newest event's does */
  highestId(): string;
  /** At most `limit` events with a greater position, oldest first. */
  after(position: number, limit: number): RecordedEvent[];
  /** The same without what is in them. */
  outlinesAfter(position: number, limit: number): EventOutline[];
  close(): Promise<void>;
};
