import { hash } from 'node:crypto';
import { NusecError } from '../errors.ts';
import { within } from '../within.ts';
import { type CommitQueue, createCommitQueue, defaultLockWaitMs } from './commitQueue.ts';
import { createSharedQueue, type SharedQueueParts } from './committer/sharedQueue.ts';
import { createDurability } from './durability.ts';
import { encodeAppend } from './envelope.ts';
import type { AppendRequest } from './judge.ts';
import { createLogTree } from './logTree.ts';
import type { Append, AppendResult, EventStore, ExpectedRevision, RecordedEvent, StreamHead, Subscription } from './port.ts';
import type { Sealing } from './sealing.ts';
import type { Blob, Storage } from './storage.ts';
import { damaged, storeError } from './storeError.ts';
import { follow, readTogether, showTogether } from './subscription.ts';
import { createWriter, type Writer } from './writer.ts';

/** Most events one readAll returns. */
const maxReadEvents = 10_000;

/** Streams that one decision is based on. */
const maxBasisStreams = 32;
/** One blob that is kept in the log; a larger one is a file. */
export const maxRowBlobBytes = 64 * 1024;
/** Events of one commit, together, in UTF-8; with the blobs they go in one frame from a process to the one that commits (committer/link.ts). */
const maxCommitEventBytes = 16 * 1024 * 1024;
/** Blobs of one commit, together. */
const maxUnitBlobBytes = 16 * 1024 * 1024;

/** How often a trial shows whether the store can be written, and how long one may take. */
const troubleEveryMs = 1000;
const troubleWaitMs = 2000;
/** With less room than this the store does not count as writable. */
const minFreeBytes = 1024 * 1024;

/** How long what another process has written may wait for the subscribers here. */
const catchUpEveryMs = 20;

type StoreOptions = {
  readonly sealing?: Sealing | undefined;
  readonly lockWaitMs?: number | undefined;
  /** Where processes meet that have the store open; without it each commits by itself. */
  readonly sharing?: Pick<SharedQueueParts, 'file' | 'sealKey'> | undefined;
  /** Who puts what is to be stored in order; default: the writer of these rows.
   *  @param changed to be called when the writer has more */
  readonly order?: ((writer: Writer, changed: () => void) => CommitQueue) | undefined;
};

/** The log file has room for a small commit, written over, long after the disk is full. */
export async function fullDisk(storage: Pick<Storage, 'freeBytes'>): Promise<NusecError | undefined> {
  return (await storage.freeBytes()) < minFreeBytes ? new NusecError('STORE_FULL', 'the disk of the event store is full') : undefined;
}

/** The event store over one engine's rows; the engines differ in nothing but where the rows are. */
export function createStore(storage: Storage, options: StoreOptions = {}): EventStore {
  const writer = createWriter(storage, options.sealing);
  const durability = createDurability(storage.sync, writer.progress, storage.mark, () => {
    shown.advanced();
    commits.advance();
  });
  const shown = showTogether(durability.position);
  const changed = (): void => void durability.reached().catch(() => undefined);
  const onStored = (position: number): void => {
    durability.confirm(position);
    shown.advanced();
  };
  const sharedQueue = (): CommitQueue => {
    const local = createCommitQueue(writer, durability, options.lockWaitMs ?? defaultLockWaitMs);
    if (options.sharing === undefined) return local;
    return createSharedQueue({ ...options.sharing, storage, local, onStored });
  };
  const commits = options.order?.(writer, changed) ?? sharedQueue();
  const subscriptions = new Set<Subscription>();
  let closing: Promise<void> | undefined;
  let seenBefore = 0;
  /** Looks for subscribers only: whoever reads or stores looks for himself, and a process that does neither spends nothing on what others write.
   *  What was seen the last time and is not on the disk yet is put there; mostly the process that has written it was faster, and has told. */
  const catchUp = (): void => {
    if (subscriptions.size === 0) return;
    try {
      writer.catchUp();
      if (seenBefore > durability.position()) changed();
      seenBefore = writer.progress().position;
    } catch {
      // The next read or append gets the same error, and its caller can report it.
    }
  };
  const following = setInterval(catchUp, catchUpEveryMs);
  following.unref();
  const requireOpen = () => {
    if (closing !== undefined) throw new NusecError('STORE_CLOSED', 'the event store is closed');
  };
  const close = async (): Promise<void> => {
    await commits.close();
    clearInterval(following);
    await Promise.all([...subscriptions].map(subscription => subscription.stop()));
    await durability.idle();
    await storage.close();
  };

  /** Begins the present epoch again: a write like any other. */
  const tryToWrite = async (): Promise<NusecError | undefined> => {
    const full = await fullDisk(storage);
    if (full !== undefined) return full;
    const epoch = storage.epoch();
    const commit = commits.add({ appends: [], basis: [], epoch, nextEpoch: epoch }).then(
      () => 'stored' as const,
      error => storeError(error, 'the event store cannot be written'),
    );
    const outcome = (await within(commit, troubleWaitMs)) ?? new NusecError('STORE_UNAVAILABLE', 'the event store does not answer');
    return outcome instanceof NusecError && outcome.code !== 'LEADERSHIP_OVER' ? outcome : upkeepTrouble(storage);
  };
  let trial: { readonly atMs: number; readonly outcome: Promise<NusecError | undefined> } | undefined;

  const sizeOnDisk = async (): Promise<number> => {
    requireOpen();
    writer.catchUp();
    const { position } = writer.progress();
    await durability.reached();
    return position;
  };

  const readInOrder = async <Read extends Pick<RecordedEvent, 'position'>>(
    read: (after: number, limit: number) => readonly Read[],
    after: number,
    limit: number,
  ): Promise<readonly Read[]> => {
    requireOpen();
    writer.catchUp();
    const events = read(after, Math.min(limit, maxReadEvents));
    requireGapless(events, after, Math.min(limit, maxReadEvents, writer.progress().position - after));
    if ((events.at(-1)?.position ?? 0) > durability.position()) await durability.reached();
    return events;
  };

  const store: EventStore = {
    async trouble() {
      if (closing !== undefined) return new NusecError('STORE_CLOSED', 'the event store is closed');
      if (trial === undefined || performance.now() - trial.atMs > troubleEveryMs) {
        trial = { atMs: performance.now(), outcome: tryToWrite().catch(error => storeError(error, 'the event store cannot be read')) };
      }
      return trial.outcome;
    },
    async append(stream, expected, events, basis): Promise<AppendResult> {
      const [result] = await store.commit({ appends: [{ stream, expected, events }], basis });
      return result as AppendResult;
    },
    async commit({ appends, basis = [], epoch, blobs, droppedBlobs }) {
      requireOpen();
      if (basis.length > maxBasisStreams) throw new NusecError('BAD_REQUEST', `a decision is based on at most ${maxBasisStreams} streams`);
      return commits.add({ appends: encodeAll(appends), basis, epoch, blobs: blobs && namedBlobs(blobs), droppedBlobs });
    },
    async readBlob(sha256) {
      requireOpen();
      return storage.blob(sha256);
    },
    epoch: () => storage.epoch(),
    lease: undefined,
    servers: undefined,
    async takeEpoch(seen) {
      requireOpen();
      const nextEpoch = seen + 1;
      return commits.add({ appends: [], basis: [], epoch: seen, nextEpoch }).then(
        () => nextEpoch,
        error => {
          if (error instanceof NusecError && error.code === 'LEADERSHIP_OVER') return undefined;
          throw error;
        },
      );
    },
    async readStream(stream, fromRevision = 0, asKnown = false): Promise<readonly RecordedEvent[]> {
      requireOpen();
      if (!asKnown) writer.catchUp();
      const head = writer.headOf(stream);
      const events = readBack(storage, stream, head, fromRevision);
      if (head.position > durability.position()) await durability.reached();
      return events;
    },
    endOf(stream) {
      requireOpen();
      return writer.ends.end(stream);
    },
    learnEnd: writer.ends.learn,
    readAll: (after, limit) => readInOrder(storage.after, after, limit),
    readOutlines: (after, limit) => readInOrder(storage.outlinesAfter, after, limit),
    subscribe(after, handler) {
      requireOpen();
      const subscription = follow({ readAll: readForSubscribers, shown }, after, handler);
      subscriptions.add(subscription);
      void subscription.ended.then(() => subscriptions.delete(subscription));
      return subscription;
    },
    hurry: shown.hurry,
    tree: createLogTree(storage, writer.edge, sizeOnDisk),
    async head() {
      requireOpen();
      writer.catchUp();
      return writer.progress().position;
    },
    seen() {
      if (closing === undefined) writer.catchUp();
      return writer.progress().position;
    },
    close() {
      closing ??= close();
      return closing;
    },
  };
  const readForSubscribers = readTogether(store.readAll);
  // A process that was killed may have left events that are not on the disk yet.
  changed();
  return store;
}

/** The store can be written, but its log or what it has in memory grows. */
export function upkeepTrouble(storage: Pick<Storage, 'upkeepFailure'>): NusecError | undefined {
  const failure = storage.upkeepFailure();
  return failure && storeError(failure, 'the file of the event store cannot be kept up');
}

function encodeAll(appends: readonly Append[]): readonly AppendRequest[] {
  const encoded = appends.map(encode);
  requireCommitSize(encoded);
  if (appends.length < 2) return encoded;
  const ids = encoded.flatMap(({ events }) => events.map(({ id }) => id));
  if (new Set(ids).size !== ids.length) throw new NusecError('BAD_REQUEST', 'a commit names the same event id twice');
  return encoded;
}

function encode({ stream, expected, events }: Append): AppendRequest {
  requireExpected(expected);
  return { stream, expected, events: encodeAppend(stream, events) };
}

/** @throws NusecError EVENT_TOO_LARGE */
function requireCommitSize(appends: readonly AppendRequest[]): void {
  const sum = (sizeOf: (body: string) => number): number =>
    appends.reduce((total, { events }) => events.reduce((bytes, { body }) => bytes + sizeOf(body), total), 0);
  // Three bytes of UTF-8 per UTF-16 unit at most: the exact count is needed only near the limit.
  if (sum(body => body.length * 3) > maxCommitEventBytes && sum(body => Buffer.byteLength(body)) > maxCommitEventBytes)
    throw new NusecError('EVENT_TOO_LARGE', `the events of a commit have at most ${maxCommitEventBytes} bytes together`);
}

/** @throws NusecError BLOB_TOO_LARGE */
function namedBlobs(blobs: readonly Uint8Array[]): readonly Blob[] {
  const bytes = blobs.reduce((sum, blob) => sum + blob.length, 0);
  if (bytes > maxUnitBlobBytes || blobs.some(blob => blob.length > maxRowBlobBytes))
    throw new NusecError('BLOB_TOO_LARGE', `a blob in the log has at most ${maxRowBlobBytes} bytes, a commit ${maxUnitBlobBytes}`);
  return blobs.map(blob => ({ sha256: hash('sha256', blob, 'hex'), bytes: blob }));
}

function requireExpected(expected: ExpectedRevision): void {
  if (expected === 'any' || expected === 'none' || expected === 'exists') return;
  if (!Number.isSafeInteger(expected) || expected < 0) throw new NusecError('BAD_REQUEST', 'not an expected revision');
}

/** @param least how many there must be */
function requireGapless(events: readonly Pick<RecordedEvent, 'position'>[], after: number, least: number): void {
  const gap = events.findIndex(({ position }, i) => position !== after + 1 + i);
  if (gap !== -1 || events.length < least)
    throw damaged(`the event at position ${after + 1 + (gap === -1 ? events.length : gap)} is missing`);
}

function readBack(storage: Storage, stream: string, head: StreamHead, fromRevision: number): RecordedEvent[] {
  if (head.revision < fromRevision) return [];
  const events = storage.back(head.position, fromRevision).reverse();
  const whole = events.length === head.revision - fromRevision + 1 && events.every(event => event.stream === stream);
  if (!whole) throw damaged(`events of stream ${stream} are missing at or before position ${head.position}`);
  return events;
}
