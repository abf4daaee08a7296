import type Database from 'better-sqlite3';
import { createEdge, type Tile } from '../merkle/edge.ts';
import { fromBytes, type Hash, leafOfHash, toBytes } from '../merkle/hashing.ts';
import { boundLimit } from '../sqliteFile.ts';
import type { Seal } from './seal.ts';
import type { Storage } from './storage.ts';
import { damaged } from './storeError.ts';

/** The tree over all events and the seal, as the store's file keeps them. */

/** Events of one read while the tree of an older store is made. */
const plantedAtOnce = 10_000;

/** Complete tiles; the seal of the newest commit (no row, or one). */
const tables = `
  CREATE TABLE tiles (key INTEGER PRIMARY KEY, hashes BLOB NOT NULL) STRICT;
  CREATE TABLE seal (size INTEGER NOT NULL, code TEXT NOT NULL) STRICT`;

/** Level and number of a tile as one key. */
const keyOf = (level: number, number: number): number => level * 2 ** 40 + number;

/** Makes the tables, and the tiles of a store that had none. */
export function addTree(db: Database): void {
  db.exec(tables);
  const { hashes, insertTile } = treeRows(db);
  const edge = createEdge();
  for (let page = hashes(0, plantedAtOnce); page.length > 0; page = hashes(edge.size(), plantedAtOnce))
    for (const hash of page) edge.add(leafOfHash(hash)).forEach(insertTile);
}

/** What the writer keeps of the tree. */
export function treeRows(db: Database): Pick<Storage, 'tile' | 'insertTile' | 'hashes' | 'seal' | 'setSeal'> {
  const tile = db.prepare<Uint8Array>('SELECT hashes FROM tiles WHERE key = ?').pluck();
  const insert = db.prepare('INSERT INTO tiles (key, hashes) VALUES (?, ?)');
  const hashes = db.prepare<Hash>(`SELECT hash FROM events WHERE position > ? ORDER BY position ${boundLimit}`).pluck();
  const seal = db.prepare<Seal>('SELECT size, code FROM seal');
  const setSeal = db.prepare(
    'INSERT INTO seal (rowid, size, code) VALUES (1, ?, ?) ON CONFLICT DO UPDATE SET size = excluded.size, code = excluded.code',
  );
  return {
    tile(level, number) {
      const bytes = tile.get(keyOf(level, number));
      return bytes && fromBytes(bytes);
    },
    insertTile: ({ level, number, hashes: complete }: Tile) => void insert.run(keyOf(level, number), toBytes(complete)),
    hashes: (after, limit) => hashes.all(after, limit),
    seal() {
      const row = seal.get();
      if (row !== undefined && !(typeof row.size === 'number' && typeof row.code === 'string'))
        throw damaged('the seal of the event store cannot be read');
      return row;
    },
    setSeal: ({ size, code }) => void setSeal.run(size, code),
  };
}
