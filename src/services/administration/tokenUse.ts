import { lru } from '../../lru.ts';
import { openShared } from '../../sqliteFile.ts';
import { areWithin, dayMs, minuteMs } from '../../times.ts';

/** When each token and each session was used last, to the minute, so that forgotten ones are found. In a file of its own, for all server processes: a use is no event.
 *  It can be deleted. */

export type TokenUse = {
  /** What cannot be written, on a full disk, is left out: whoever has a right looks and acts as before.
   *  @param credential SHA-256 of a token, or the id of a session */
  used(credential: string): void;
  /** RFC 3339 UTC. */
  last(credential: string): string | undefined;
  close(): Promise<void>;
};

const maxRemembered = 10_000;
/** Longer than any token lives. */
const keptDays = 400;
const tables = 'CREATE TABLE IF NOT EXISTS token_use (sha256 TEXT PRIMARY KEY, at TEXT NOT NULL) STRICT, WITHOUT ROWID';

/** @param now milliseconds since 1970 @param failed with what keeps a use from being written @throws NusecError STORE_DAMAGED */
export function openTokenUse(file: string, now: () => number, failed: (error: unknown) => void): TokenUse {
  const remedy = 'delete it while no server runs; it says no more than when tokens and sessions were used last';
  const db = openShared(file, { tables, synchronous: 'OFF', remedy });
  db.prepare('DELETE FROM token_use WHERE at < ?').run(new Date(now() - keptDays * dayMs).toISOString());
  const write = db.prepare(
    'INSERT INTO token_use VALUES (?, ?) ON CONFLICT (sha256) DO UPDATE SET at = excluded.at WHERE at < excluded.at',
  );
  const read = db.prepare<{ at: string }>('SELECT at FROM token_use WHERE sha256 = ?');
  const written = lru<number>(maxRemembered);
  return {
    used(credential) {
      const at = now();
      if (areWithin(minuteMs, at, written.get(credential) ?? Number.NEGATIVE_INFINITY)) return;
      written.set(credential, at);
      try {
        write.run(credential, new Date(at).toISOString());
      } catch (error) {
        failed(error);
      }
    },
    last: credential => read.get(credential)?.at,
    close: async () => void db.close(),
  };
}
