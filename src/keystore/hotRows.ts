import type Database from 'better-sqlite3';
import { lru } from '../lru.ts';

/** Rows of the custody of boot keys that were read, until anybody writes to the file: SQLite counts the commits of all other connections, and ours clear them. So a key
 *  that another process has destroyed signs no more, and the look at the count takes half the time of reading a row with its checksum. */

/** About 500 bytes each. */
const maxHotRows = 4096;

export type HotRows<Row> = {
  /** @param read the row, when it is not known or may have changed @throws what `read` throws, and SqliteError */
  get(keyId: string, read: () => Row | undefined): Row | undefined;
  clear(): void;
};

export function createHotRows<Row>(database: Database): HotRows<Row> {
  const version = database.prepare<number>('PRAGMA data_version').pluck();
  const rows = lru<Row>(maxHotRows);
  let seen: number | undefined;
  return {
    get(keyId, read) {
      // What is not committed may be taken back.
      if (database.inTransaction) return read();
      const now = version.get();
      if (now !== seen) rows.clear();
      seen = now;
      const row = rows.get(keyId) ?? read();
      if (row !== undefined) rows.set(keyId, row);
      return row;
    },
    clear: rows.clear,
  };
}
