import { setImmediate as nextTurn } from 'node:timers/promises';
import Database from 'better-sqlite3';
import type { EventType } from '../../domain/events.ts';
import type { EventStore, RecordedEvent } from '../../eventstore/port.ts';
import { noRevocations, type RevocationMark, withRevocation } from '../../merkle/checkpoint.ts';
import type { Hash } from '../../merkle/hashing.ts';
import { emptyHeads, type HeadProof, type HeadTile, type HeadTiles, proveHead, setHeads, streamKey } from '../../merkle/headMap.ts';
import { decodeTile, encodeTile } from '../../merkle/headTile.ts';
import { changesRevocation } from '../../projections/certificates.ts';
import { transaction } from '../../sqliteFile.ts';

/** The map from streams to their newest events on disk (`heads.db`), and the mark of all revocations. It is made of the log alone and can be deleted:
 *  it is built again. */

/** Events taken in between two turns of others. */
const batchEvents = 250;
/** Tiles that have changed and are not in the file yet: a tile that changes again is written once. */
const maxUnwrittenTiles = 2000;
/** Of new files. A tile has at most some 2 KB, and tiles change at random places. */
const pageBytes = 2048;
/** Pages of the log before they are moved into the file. */
const logPages = 4000;
/** A file of another one is begun again. */
const fileFormat = 2;

/** Newest signed checkpoint that has the root of the map as it is now, and a proof under it. */
export type HeadEvidence = { readonly note: string; readonly proof: HeadProof };

/** @property heads root of the map */
export type MadeOfTheLog = { readonly heads: Hash; readonly revocations: RevocationMark };

export type HeadMapFile = {
  /** Takes in the events up to `size`, until then or until the time is over. @returns what holds at exactly this size, or undefined when it is not reached */
  advance(store: EventStore, size: number, maxMs: number): Promise<MadeOfTheLog | undefined>;
  /** Keeps the checkpoint that names the present root. */
  keep(note: string, size: number): void;
  /** @returns the checkpoint with the root of the map as it is, and the stream's place under it; undefined when there is none just now */
  prove(stream: string): HeadEvidence | undefined;
  close(): void;
};

type State = {
  readonly size: number;
  readonly hash: string;
  readonly root: string;
  readonly revocations: number;
  readonly revocationsHash: string;
  readonly note: string;
  readonly noteSize: number;
};

/** What the map is of. */
type Reached = Pick<State, 'size' | 'hash' | 'root'> & { readonly revocations: RevocationMark };

const reachedIn = ({ size, hash, root, revocations, revocationsHash }: State): Reached => ({
  size,
  hash,
  root,
  revocations: { count: revocations, hash: revocationsHash },
});

function takeIn(tiles: HeadTiles, { revocations }: Reached, events: readonly RecordedEvent[]): Reached {
  const newest = new Map(events.map(event => [event.stream, event]));
  const heads = [...newest.values()].map(({ stream, revision, hash }) => ({ key: streamKey(stream), revision, hash }));
  const { position: size, hash } = events.at(-1) as RecordedEvent;
  const changes = events.filter(({ type }) => changesRevocation(type as EventType));
  return {
    size,
    hash,
    root: setHeads(tiles, heads),
    revocations: changes.reduce((mark, event) => withRevocation(mark, event.hash), revocations),
  };
}

/** @param file made when it is missing */
export function openHeadMap(file: string): HeadMapFile {
  const db = new Database(file);
  db.pragma(`page_size = ${pageBytes}`);
  db.pragma('journal_mode = WAL');
  db.pragma('synchronous = NORMAL');
  db.pragma(`wal_autocheckpoint = ${logPages}`);
  if (db.pragma('user_version', { simple: true }) !== fileFormat)
    db.exec(`DROP TABLE IF EXISTS tiles; DROP TABLE IF EXISTS state; PRAGMA user_version = ${fileFormat}`);
  db.exec(`
    CREATE TABLE IF NOT EXISTS tiles (prefix TEXT PRIMARY KEY, slots BLOB NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS state (size INTEGER NOT NULL, hash TEXT NOT NULL, root TEXT NOT NULL,
      revocations INTEGER NOT NULL, revocationsHash TEXT NOT NULL, note TEXT NOT NULL, noteSize INTEGER NOT NULL) STRICT;
    INSERT INTO state SELECT 0, '', '${emptyHeads}', 0, '${noRevocations.hash}', '', 0 WHERE NOT EXISTS (SELECT 1 FROM state)`);
  const load = db.prepare<Uint8Array>('SELECT slots FROM tiles WHERE prefix = ?').pluck();
  const save = db.prepare('INSERT INTO tiles VALUES (?, ?) ON CONFLICT DO UPDATE SET slots = excluded.slots');
  const state = db.prepare<State>('SELECT size, hash, root, revocations, revocationsHash, note, noteSize FROM state');
  const move = db.prepare('UPDATE state SET size = ?, hash = ?, root = ?, revocations = ?, revocationsHash = ?');
  const note = db.prepare('UPDATE state SET note = ?, noteSize = ?');
  const stored: HeadTiles = {
    load(prefix) {
      const bytes = load.get(prefix);
      return bytes && decodeTile(bytes);
    },
    save: (prefix, tile) => void save.run(prefix, encodeTile(tile)),
  };
  const now = (): State => state.get() as State;
  const begin = (): void =>
    transaction(db, () => {
      db.exec('DELETE FROM tiles');
      move.run(0, '', emptyHeads, 0, noRevocations.hash);
      note.run('', 0);
    });
  /** @param from size that the file must still have @returns false when another process has written meanwhile: then nothing is written */
  const write = (from: number, { size, hash, root, revocations }: Reached, tiles: ReadonlyMap<string, HeadTile>): boolean =>
    transaction(db, () => {
      if (now().size !== from) return false;
      for (const [prefix, tile] of tiles) stored.save(prefix, tile);
      move.run(size, hash, root, revocations.count, revocations.hash);
      return true;
    });
  return {
    async advance(store, size, maxMs) {
      const { size: known, hash } = now();
      // Another store, or an older one, has been put in the place of the one that the map is of.
      if (known > size || (known > 0 && (await store.readAll(known - 1, 1))[0]?.hash !== hash)) begin();
      const endMs = performance.now() + maxMs;
      const unwritten = new Map<string, HeadTile>();
      const tiles = { load: (prefix: string) => unwritten.get(prefix) ?? stored.load(prefix), save: unwritten.set.bind(unwritten) };
      let reached = reachedIn(now());
      let from = reached.size;
      const isWritten = (): boolean => {
        const isDone = reached.size === from || write(from, reached, unwritten);
        unwritten.clear();
        from = reached.size;
        return isDone;
      };
      for (; reached.size < size && performance.now() < endMs; await nextTurn()) {
        reached = takeIn(tiles, reached, await store.readAll(reached.size, Math.min(batchEvents, size - reached.size)));
        if (unwritten.size > maxUnwrittenTiles && !isWritten()) return undefined;
      }
      if (!isWritten()) return undefined;
      return reached.size === size ? { heads: reached.root, revocations: reached.revocations } : undefined;
    },
    keep: (text, size) => void note.run(text, size),
    prove: stream =>
      transaction(db, () => {
        const { size, note: text, noteSize } = now();
        return noteSize === size && text !== '' ? { note: text, proof: proveHead(stored, stream) } : undefined;
      }),
    close: () => void db.close(),
  };
}
