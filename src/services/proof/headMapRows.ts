import Database from 'better-sqlite3';
import { noRevocations, type RevocationMark } from '../../merkle/checkpoint.ts';
import type { Hash } from '../../merkle/hashing.ts';
import { emptyHeads, type HeadProof, type HeadTile, type HeadTiles, proveHead } from '../../merkle/headMap.ts';
import { decodeTile, encodeTile } from '../../merkle/headTile.ts';
import { naming, snapshot, transaction, useWal } from '../../sqliteFile.ts';

/** The tables of `heads.db`: tiles of the map from streams to their newest events, and what the map is of. Several connections may have it open. */

/** Of new files. A tile has at most some 2 KB, and tiles change at random places. */
const pageBytes = 2048;
/** Pages of the log before they are moved into the file, by whoever writes tiles. */
const logPages = 4000;
/** A file of another one is begun again. */
const fileFormat = 2;

/** Newest signed checkpoint that has the root of the map as it is now, and a proof under it. */
export type HeadEvidence = { readonly note: string; readonly proof: HeadProof };

/** What the map is of. @property size events @property hash of the last of them @property root of the map */
export type Reached = { readonly size: number; readonly hash: string; readonly root: Hash; readonly revocations: RevocationMark };

export type HeadRows = {
  readonly tiles: HeadTiles;
  /** Loads many tiles: one look for what others have written, not one for each. */
  reading<Result>(work: () => Result): Result;
  now(): Reached;
  /** Begins with the first event. */
  begin(): void;
  /** @param from size that the file must still have @returns false when another process has written meanwhile: then nothing is written */
  write(from: number, reached: Reached, tiles: ReadonlyMap<string, HeadTile>): boolean;
  keep(note: string, size: number): void;
  prove(stream: string): HeadEvidence | undefined;
  close(): void;
};

type State = Pick<Reached, 'size' | 'hash' | 'root'> & {
  readonly revocations: number;
  readonly revocationsHash: string;
  readonly note: string;
  readonly noteSize: number;
};

/** @param file made when it is missing @param movesLog moves the write-ahead log into the file as it grows, and waits for the disk then
 *  @throws NusecError STORE_DAMAGED */
export const openHeadRows = (file: string, movesLog: boolean): HeadRows =>
  naming(file, 'delete it while no server runs; it is made again from the log', () => open(file, movesLog));

/** A file of another format is made again. */
function makeTables(db: Database): void {
  if (db.pragma('user_version', { simple: true }) !== fileFormat)
    db.exec(`DROP TABLE IF EXISTS tiles; DROP TABLE IF EXISTS state; PRAGMA user_version = ${fileFormat}`);
  db.exec(`
    CREATE TABLE IF NOT EXISTS tiles (prefix TEXT PRIMARY KEY, slots BLOB NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS state (size INTEGER NOT NULL, hash TEXT NOT NULL, root TEXT NOT NULL,
      revocations INTEGER NOT NULL, revocationsHash TEXT NOT NULL, note TEXT NOT NULL, noteSize INTEGER NOT NULL) STRICT;
    INSERT INTO state SELECT 0, '', '${emptyHeads}', 0, '${noRevocations.hash}', '', 0 WHERE NOT EXISTS (SELECT 1 FROM state)`);
}

function open(file: string, movesLog: boolean): HeadRows {
  const db = new Database(file);
  db.pragma(`page_size = ${pageBytes}`);
  useWal(db);
  db.pragma('synchronous = NORMAL');
  db.pragma(`wal_autocheckpoint = ${movesLog ? logPages : 0}`);
  transaction(db, () => makeTables(db));
  const load = db.prepare<Uint8Array>('SELECT slots FROM tiles WHERE prefix = ?').pluck();
  const save = db.prepare('INSERT INTO tiles VALUES (?, ?) ON CONFLICT DO UPDATE SET slots = excluded.slots');
  const select = db.prepare<State>('SELECT size, hash, root, revocations, revocationsHash, note, noteSize FROM state');
  const move = db.prepare('UPDATE state SET size = ?, hash = ?, root = ?, revocations = ?, revocationsHash = ?');
  const note = db.prepare('UPDATE state SET note = ?, noteSize = ?');
  const state = (): State => select.get() as State;
  const tiles: HeadTiles = {
    load(prefix) {
      const bytes = load.get(prefix);
      return bytes && decodeTile(bytes);
    },
    save: (prefix, tile) => void save.run(prefix, encodeTile(tile)),
  };
  return {
    tiles,
    reading: work => snapshot(db, work),
    now() {
      const { size, hash, root, revocations, revocationsHash } = state();
      return { size, hash, root, revocations: { count: revocations, hash: revocationsHash } };
    },
    begin: () =>
      transaction(db, () => {
        db.exec('DELETE FROM tiles');
        move.run(0, '', emptyHeads, 0, noRevocations.hash);
        note.run('', 0);
      }),
    write: (from, { size, hash, root, revocations }, changed) =>
      transaction(db, () => {
        if (state().size !== from) return false;
        for (const [prefix, tile] of changed) tiles.save(prefix, tile);
        move.run(size, hash, root, revocations.count, revocations.hash);
        return true;
      }),
    keep: (text, size) => void note.run(text, size),
    prove: stream =>
      snapshot(db, () => {
        const { size, note: text, noteSize } = state();
        return noteSize === size && text !== '' ? { note: text, proof: proveHead(tiles, stream) } : undefined;
      }),
    close: () => void db.close(),
  };
}
