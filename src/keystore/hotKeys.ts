import type Database from 'better-sqlite3';
import { lru } from '../lru.ts';
import type { CustodyKey } from './custody.ts';

/** Rows of the custody that were read, until anybody writes to the file: SQLite counts the commits of all other connections, and ours clear them. So a key
 *  that another process has destroyed signs no more, and the look at the count takes half the time of reading a row with its checksum. */

/** About 500 bytes each. */
const maxHotKeys = 4096;

export type HotKeys = {
  /** @param read the row, when it is not known or may have changed @throws what `read` throws, and SqliteError */
  get(keyId: string, read: () => CustodyKey | undefined): CustodyKey | undefined;
  clear(): void;
};

export function createHotKeys(database: Database): HotKeys {
  const version = database.prepare<number>('PRAGMA data_version').pluck();
  const keys = lru<CustodyKey>(maxHotKeys);
  let seen: number | undefined;
  return {
    get(keyId, read) {
      // What is not committed may be taken back.
      if (database.inTransaction) return read();
      const now = version.get();
      if (now !== seen) keys.clear();
      seen = now;
      const key = keys.get(keyId) ?? read();
      if (key !== undefined) keys.set(keyId, key);
      return key;
    },
    clear: keys.clear,
  };
}
