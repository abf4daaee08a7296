import { decodeEvent } from '../../src/eventstore/envelope.ts';
import type { EventStore, RecordedEvent } from '../../src/eventstore/port.ts';
import type { Seal } from '../../src/eventstore/seal.ts';
import type { Row, Storage } from '../../src/eventstore/storage.ts';
import { createStore } from '../../src/eventstore/store.ts';
import type { Hash } from '../../src/merkle/hashing.ts';

/** An event store that lives as long as the process; for tests, trials and benches. It holds the same rows as the durable one. */
export function openMemoryStore(): EventStore {
  return createStore(memoryStorage());
}

/** What several processes have open. */
export type SharedRows = { readonly rows: Row[]; readonly tiles: Map<string, readonly Hash[]>; seal?: Seal };

export function memoryStorage(shared: SharedRows = { rows: [], tiles: new Map() }): Storage {
  const { rows, tiles } = shared;
  /** Rows before the open transaction. */
  let begun: number | undefined;
  let seen = 0;
  let epoch = 0;
  const blobs = new Map<string, Uint8Array>();
  const at = (position: number) => rows[position - 1];
  return {
    scan: (after, visit) => {
      for (const { stream, revision, position, id, hash } of rows.slice(after)) visit(stream, revision, position, id, hash);
    },
    indexedUpTo: () => 0,
    indexedHead: () => undefined,
    indexedEnd: () => undefined,
    extendIndex() {},
    changedElsewhere() {
      const changed = rows.length !== seen;
      seen = rows.length;
      return changed;
    },
    begin() {
      begun = rows.length;
      return true;
    },
    insert: row => void rows.push(row),
    commit() {
      begun = undefined;
      seen = rows.length;
    },
    rollback() {
      rows.length = begun ?? rows.length;
      begun = undefined;
    },
    tile: (level, number) => tiles.get(`${level}/${number}`),
    insertTile: ({ level, number, hashes }) => void tiles.set(`${level}/${number}`, hashes),
    hashes: (after, limit) => rows.slice(after, after + limit).map(row => row.hash),
    seal: () => shared.seal,
    setSeal(seal) {
      shared.seal = seal;
    },
    back(position, fromRevision) {
      const events: RecordedEvent[] = [];
      for (let row = at(position); row && row.revision >= fromRevision; row = at(row.prev)) events.push(decode(row));
      return events;
    },
    find: id => rows.find(row => row.id === id),
    doubtNew: () => undefined,
    highestId: () => '',
    after: (position, limit) => rows.slice(position, position + limit).map(decode),
    outlinesAfter: (position, limit) => rows.slice(position, position + limit).map(decode),
    putBlob: ({ sha256, bytes }) => void blobs.set(sha256, bytes),
    dropBlob: sha256 => void blobs.delete(sha256),
    blob: sha256 => blobs.get(sha256),
    epoch: () => epoch,
    setEpoch(next) {
      epoch = next;
    },
    committer: () => ({ turn: 0, address: '' }),
    setCommitter() {},
    taken: () => ({ revision: -1, id: '' }),
    setTaken() {},
    freeBytes: async () => Number.POSITIVE_INFINITY,
    upkeepFailure: () => undefined,
    mark() {},
    sync: async () => {},
    close: async () => {},
  };
}

const decode = (row: Row): RecordedEvent => decodeEvent(row.position, row.stream, row.revision, row.id, row.hash, row.body);
