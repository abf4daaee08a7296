import { chmodSync } from 'node:fs';
import Database from 'better-sqlite3';
import { lru } from '../../lru.ts';
import { naming } from '../../sqliteFile.ts';
import { areWithin, minuteMs } from '../../times.ts';

/** When each token was used last, to the minute, so that forgotten ones are found. In a file of its own, for all server processes: a use is no event.
 *  It can be deleted. */

export type TokenUse = {
  used(tokenSha256: string): void;
  /** RFC 3339 UTC. */
  last(tokenSha256: string): string | undefined;
  close(): Promise<void>;
};

const maxRemembered = 10_000;
const busyTimeoutMs = 5000;
const table = 'CREATE TABLE IF NOT EXISTS token_use (sha256 TEXT PRIMARY KEY, at TEXT NOT NULL) STRICT, WITHOUT ROWID';

function openFile(file: string): Database {
  const db = new Database(file, { timeout: busyTimeoutMs });
  chmodSync(file, 0o600);
  db.pragma('journal_mode = WAL');
  db.pragma('synchronous = OFF');
  db.exec(table);
  return db;
}

/** @param now milliseconds since 1970 @throws NusecError STORE_DAMAGED */
export function openTokenUse(file: string, now: () => number): TokenUse {
  const db = naming(file, 'delete it while no server runs; it says no more than when tokens were used last', () => openFile(file));
  const write = db.prepare(
    'INSERT INTO token_use VALUES (?, ?) ON CONFLICT (sha256) DO UPDATE SET at = excluded.at WHERE at < excluded.at',
  );
  const read = db.prepare<{ at: string }>('SELECT at FROM token_use WHERE sha256 = ?');
  const written = lru<number>(maxRemembered);
  return {
    used(tokenSha256) {
      const at = now();
      if (areWithin(minuteMs, at, written.get(tokenSha256) ?? Number.NEGATIVE_INFINITY)) return;
      written.set(tokenSha256, at);
      write.run(tokenSha256, new Date(at).toISOString());
    },
    last: tokenSha256 => read.get(tokenSha256)?.at,
    close: async () => void db.close(),
  };
}
