import type Database from 'better-sqlite3';
import type { EventStore } from '../eventstore/port.ts';
import { isDamage, named, removeDatabase } from '../sqliteFile.ts';
import { openBuilds } from './builds.ts';
import { builtAgain, openReadModelWriter } from './database.ts';

/** Empties a read-model file that was not filled from this store: another project's, or one that has since been put back from a backup. Every
 *  position in it comes with the hash of the event there, which no other event has; a store without that event is not the one it came from.
 *  A file that SQLite cannot read is removed; nobody has it open yet.
 *  @throws NusecError STORE_READ_ONLY, STORE_UNAVAILABLE @returns why it is built again, if it is */
export async function dropUselessReadModels(store: EventStore, file: string): Promise<string | undefined> {
  let db: Database | undefined;
  try {
    db = openReadModelWriter(file);
    const builds = openBuilds(db);
    const origins = await Promise.all(builds.checkpoints().map(async ({ position, hash }) => (await hashAt(store, position)) === hash));
    if (!origins.includes(false)) return undefined;
    builds.clear();
    return 'of another store';
  } catch (error) {
    if (!isDamage(error)) throw named(file, builtAgain, error);
    removeDatabase(file);
    return 'damaged';
  } finally {
    db?.close();
  }
}

async function hashAt(store: EventStore, position: number): Promise<string | undefined> {
  const [event] = await store.readAll(position - 1, 1);
  return event?.position === position ? event.hash : undefined;
}
