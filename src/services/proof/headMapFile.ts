import { setImmediate as nextTurn } from 'node:timers/promises';
import Database from 'better-sqlite3';
import type { EventType } from '../../domain/events.ts';
import type { EventStore, RecordedEvent } from '../../eventstore/port.ts';
import { noRevocations, type RevocationMark, withRevocation } from '../../merkle/checkpoint.ts';
import type { Hash } from '../../merkle/hashing.ts';
import { emptyHeads, type HeadProof, type HeadTile, proveHead, setHeads, streamKey } from '../../merkle/headMap.ts';
import { changesRevocation } from '../../projections/certificates.ts';
import { transaction } from '../../sqliteFile.ts';

/** The map from streams to their newest events on disk (`heads.db`), and the mark of all revocations. It is made of the log alone and can be deleted:
 *  it is built again. */

/** Events taken in by one transaction, between two turns of others. */
const batchEvents = 250;
/** Of new files. A tile has at most some 2 KB, and tiles change at random places. */
const pageBytes = 2048;
/** Pages of the log before they are moved into the file. */
const logPages = 4000;
/** A file of another one is begun again. */
const fileFormat = 1;

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

const markIn = ({ revocations, revocationsHash }: State): RevocationMark => ({ count: revocations, hash: revocationsHash });

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
    CREATE TABLE IF NOT EXISTS tiles (prefix TEXT PRIMARY KEY, slots TEXT NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS state (size INTEGER NOT NULL, hash TEXT NOT NULL, root TEXT NOT NULL,
      revocations INTEGER NOT NULL, revocationsHash TEXT NOT NULL, note TEXT NOT NULL, noteSize INTEGER NOT NULL) STRICT;
    INSERT INTO state SELECT 0, '', '${emptyHeads}', 0, '${noRevocations.hash}', '', 0 WHERE NOT EXISTS (SELECT 1 FROM state)`);
  const load = db.prepare<string>('SELECT slots FROM tiles WHERE prefix = ?').pluck();
  const save = db.prepare('INSERT INTO tiles VALUES (?, ?) ON CONFLICT DO UPDATE SET slots = excluded.slots');
  const state = db.prepare<State>('SELECT size, hash, root, revocations, revocationsHash, note, noteSize FROM state');
  const move = db.prepare('UPDATE state SET size = ?, hash = ?, root = ?, revocations = ?, revocationsHash = ?');
  const note = db.prepare('UPDATE state SET note = ?, noteSize = ?');
  const tiles = {
    load(prefix: string) {
      const slots = load.get(prefix);
      return slots === undefined ? undefined : (JSON.parse(slots) as (HeadTile[number] | null)[]).map(slot => slot ?? undefined);
    },
    save: (prefix: string, tile: HeadTile) => void save.run(prefix, JSON.stringify(tile)),
  };
  const now = (): State => state.get() as State;
  const begin = (): void =>
    transaction(db, () => {
      db.exec('DELETE FROM tiles');
      move.run(0, '', emptyHeads, 0, noRevocations.hash);
      note.run('', 0);
    });
  const takeIn = (events: readonly RecordedEvent[]): void =>
    transaction(db, () => {
      const newest = new Map(events.map(event => [event.stream, event]));
      const heads = [...newest.values()].map(({ stream, revision, hash }) => ({ key: streamKey(stream), revision, hash }));
      const last = events.at(-1) as RecordedEvent;
      const { count, hash } = events
        .filter(({ type }) => changesRevocation(type as EventType))
        .reduce((mark, event) => withRevocation(mark, event.hash), markIn(now()));
      move.run(last.position, last.hash, setHeads(tiles, heads), count, hash);
    });
  return {
    async advance(store, size, maxMs) {
      const { size: known, hash } = now();
      // Another store, or an older one, has been put in the place of the one that the map is of.
      if (known > size || (known > 0 && (await store.readAll(known - 1, 1))[0]?.hash !== hash)) begin();
      const endMs = performance.now() + maxMs;
      for (let at = now().size; at < size && performance.now() < endMs; at = now().size) {
        takeIn(await store.readAll(at, Math.min(batchEvents, size - at)));
        await nextTurn();
      }
      const reached = now();
      return reached.size === size ? { heads: reached.root, revocations: markIn(reached) } : undefined;
    },
    keep: (text, size) => void note.run(text, size),
    prove: stream =>
      transaction(db, () => {
        const { size, note: text, noteSize } = now();
        return noteSize === size && text !== '' ? { note: text, proof: proveHead(tiles, stream) } : undefined;
      }),
    close: () => void db.close(),
  };
}
