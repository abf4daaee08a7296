import type { NusecError } from '../errors.ts';
import type { Hash } from '../merkle/hashing.ts';

/** The event store as the rest of the product sees it; engines: memory.ts, sqlite.ts. */

export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };
export type JsonObject = { readonly [key: string]: Json };

/** An event on its way into the store. Bytes inside `data` are base64url text; nothing in it is a secret. */
export type EventToAppend = {
  readonly type: string;
  /** Schema version of `data`; default: 1. See src/domain/upcasters.ts. */
  readonly v?: number;
  /** UUIDv7, never used twice. Appending the same ids again gives the first result. */
  readonly id: string;
  /** RFC 3339 UTC, milliseconds. */
  readonly at: string;
  /** Who: `operator:alice`, `programmer:<uid>`, `device:<uid>`, `gateway:<id>`, `system:<process>`. */
  readonly by: string;
  /** Id of the event that caused this one. */
  readonly cause?: string;
  /** Correlation id of the request or process. */
  readonly corr?: string;
  readonly data: JsonObject;
};

export type RecordedEvent = Required<Pick<EventToAppend, 'type' | 'v' | 'id' | 'at' | 'by' | 'data'>> &
  Pick<EventToAppend, 'cause' | 'corr'> & {
    readonly stream: string;
    /** 0, 1, 2 … within the stream, without gaps. */
    readonly revision: number;
    /** Its place in the order of the whole store: greater than that of every earlier event. That is all it says to those who read and follow; the
     *  tree counts by it, too (LogTree). */
    readonly position: number;
    /** 32 bytes, hex: SHA-256 over the previous event's hash of the same stream and this event (see hashchain.ts). */
    readonly hash: string;
  };

/** What the map of stream heads is made of. */
export type EventOutline = Pick<RecordedEvent, 'position' | 'stream' | 'revision' | 'hash' | 'type'>;

/** any: no check · none: the stream must not exist · exists: it must · number: its newest revision must be this one. */
export type ExpectedRevision = 'any' | 'none' | 'exists' | number;

/** Events for one stream. */
export type Append = { readonly stream: string; readonly expected: ExpectedRevision; readonly events: readonly EventToAppend[] };

/** Another stream at the revision (-1: no such stream) on which a decision was based. */
export type Basis = { readonly stream: string; readonly revision: number };

/** What is stored together or not at all, with one wait for the disk. */
export type Unit = {
  /** In this order; several for one stream each expect what the ones before them leave. */
  readonly appends: readonly Append[];
  /** Streams that must still be at these revisions, judged together with what is expected. */
  readonly basis?: readonly Basis[] | undefined;
  /** Kept beside the events that name them, at most 64 KiB each (see blobs.ts). */
  readonly blobs?: readonly Uint8Array[] | undefined;
  /** SHA-256 (hex) of blobs that nothing names any more. */
  readonly droppedBlobs?: readonly string[] | undefined;
  /** The leadership this is done under (see takeEpoch). */
  readonly epoch?: number | undefined;
};

/** Where a stream ends. */
export type StreamHead = { readonly revision: number; readonly position: number; readonly hash: string };

export type AppendResult = { readonly revision: number; readonly position: number };

export type Subscription = {
  /** Position of the last event whose handler has finished. */
  readonly position: number;
  /** Resolves when the subscription is over: with `undefined` after stop() or close(), with the error its handler threw otherwise. */
  readonly ended: Promise<unknown>;
  /** Resolves when the batch at hand is finished; not to be awaited inside the handler. */
  stop(): Promise<void>;
};

/** The Merkle tree over the order of all events (RFC 9162). Its leaf for the event at position p has index p - 1; the entry is the event's hash,
 *  32 bytes. Sizes are numbers of events from the first one on, which are on the disk. All throw BAD_REQUEST beyond what there is. */
export type LogTree = {
  root(size: number): Promise<Hash>;
  /** From the leaf's sibling up to the child of the root. */
  inclusion(position: number, size: number): Promise<readonly Hash[]>;
  consistency(first: number, second: number): Promise<readonly Hash[]>;
  /** Roots of the perfect subtrees of the tree, the smallest first: what is needed to continue from there. */
  peaks(size: number): Promise<readonly Hash[]>;
  /** The first `width` (1 to 256) hashes of a tile as C2SP tlog-tiles numbers them. */
  tile(level: number, number: number, width: number): Promise<readonly Hash[]>;
};

/** A sign that a leader lives, under its epoch. */
export type LeaderSign = {
  readonly epoch: number;
  /** Grows with every sign of this leader; 0 when it has ended. */
  readonly count: number;
  /** Which process of which machine leads; for people. */
  readonly holder: string;
};

/** Signs of life of the leader, for processes on several machines that share nothing but the store. They are judged by how often one sees a new
 *  one, never by a clock; what a leader may store is decided by its epoch alone. */
export type Lease = {
  /** The newest sign of any leader; undefined before the first. @throws NusecError STORE_UNAVAILABLE */
  read(): Promise<LeaderSign | undefined>;
  /** @throws NusecError STORE_UNAVAILABLE */
  give(sign: LeaderSign): Promise<void>;
  /** Resolves when every sign that the store was given before the call, by whomever, can be read. @throws NusecError STORE_UNAVAILABLE */
  settle(): Promise<void>;
};

/** Where a server process is reached by those of other machines. */
export type ServerSign = {
  /** New at each start of a process, so what is known of an earlier start does not count for this one. */
  readonly id: string;
  readonly host: string;
  readonly port: number;
  /** Grows with every sign of this process; 0 when it has ended. */
  readonly count: number;
};

/** Signs of life of all server processes that share the store from several machines; judged as those of the leader. */
export type ServerSigns = {
  /** The newest ones, oldest first. @throws NusecError STORE_UNAVAILABLE */
  read(): Promise<readonly ServerSign[]>;
  /** @throws NusecError STORE_UNAVAILABLE */
  give(sign: ServerSign): Promise<void>;
};

export type EventStore = {
  /** Resolves only when the events are durable. All events of one call are stored, or none.
   *  @throws RevisionConflict (REVISION_CONFLICT, STREAM_EXISTS, STREAM_NOT_FOUND: carries the actual revision), EVENT_TOO_LARGE,
   *  BAD_REQUEST (not a stream name, not JSON), RATE_LIMITED (too many appends not awaited), STORE_UNAVAILABLE (disk full: nothing stored), STORE_CLOSED */
  append(stream: string, expected: ExpectedRevision, events: readonly EventToAppend[], basis?: readonly Basis[]): Promise<AppendResult>;
  /** Appends to several streams, all or none. @returns one result for each append
   *  @throws as append, of the first append that is refused; LEADERSHIP_OVER when another process has taken the epoch, BLOB_TOO_LARGE */
  commit(unit: Unit): Promise<readonly AppendResult[]>;
  /** A blob that was committed here; the caller checks its hash. */
  readBlob(sha256: string): Promise<Uint8Array | undefined>;
  /** Why nothing can be stored now; undefined when a trial commit reached the disk. It is made at most once a second. */
  trouble(): Promise<NusecError | undefined>;
  /** Number of the present leadership among the processes that share the store; 0 before the first. */
  epoch(): number;
  /** Begins the next leadership: from here on, whatever is committed under an earlier epoch is refused.
   *  @param seen the epoch that is over @returns the new epoch, or undefined when another process was faster */
  takeEpoch(seen: number): Promise<number | undefined>;
  /** Undefined where only processes of one machine share the store: they have locks and files for it. */
  readonly lease: Lease | undefined;
  /** As `lease`. */
  readonly servers: ServerSigns | undefined;
  /** Events of one stream from `fromRevision` (default 0), oldest first; `[]` when the stream does not exist.
   *  @param asKnown without looking for what other processes have written: for a further read of one unit of work, whose commit looks again */
  readStream(stream: string, fromRevision?: number, asKnown?: boolean): Promise<readonly RecordedEvent[]>;
  /** Position of the newest event of a stream that this process knows, under the name that is kept; 0 when there is none. */
  endOf(stream: string): number;
  /** Keeps what was read elsewhere of the newest event of a stream: the next read or append need not look for it. */
  learnEnd(stream: string, end: StreamHead): void;
  /** At most `limit` events with position > `after`, oldest first. */
  readAll(after: number, limit: number): Promise<readonly RecordedEvent[]>;
  /** As `readAll`, as they are stored and without what they say: many events are gone through for half of the work. */
  readOutlines(after: number, limit: number): Promise<readonly EventOutline[]>;
  /** Calls `handler` with batches in order, from `after` on, past and future, one batch at a time; a batch is acknowledged when the handler's promise resolves. */
  subscribe(after: number, handler: (events: readonly RecordedEvent[]) => void | Promise<void>): Subscription;
  /** Somebody waits for what subscribers make of the events: those on the disk are handed out now, and do not gather first. */
  hurry(): void;
  readonly tree: LogTree;
  /** Position of the newest event, 0 when empty: everything acknowledged to any process before the call is at or below it. Only events on the
   *  disk are acknowledged, read or handed to subscribers. @throws NusecError STORE_CLOSED, STORE_UNAVAILABLE */
  head(): Promise<number>;
  /** Position of the newest event that this process knows: everything that was stored when the store was opened, and later what it was shown since.
   *  For where to begin to follow and for figures; a decision or an answer asks head(). */
  seen(): number;
  close(): Promise<void>;
};
