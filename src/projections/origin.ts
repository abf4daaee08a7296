import type { EventStore } from '../eventstore/port.ts';
import { openBuilds } from './builds.ts';
import { openReadModelWriter } from './database.ts';

/** Empties a read-model file that was not filled from this store: another project's, or one that has since been put back from a backup. Every
 *  position in it comes with the hash of the event there, which no other event has; a store without that event is not the one it came from.
 *  @returns whether it was emptied */
export async function dropForeignReadModels(store: EventStore, file: string): Promise<boolean> {
  const db = openReadModelWriter(file);
  try {
    const builds = openBuilds(db);
    const origins = await Promise.all(builds.checkpoints().map(async ({ position, hash }) => (await hashAt(store, position)) === hash));
    const isForeign = origins.includes(false);
    if (isForeign) builds.clear();
    return isForeign;
  } finally {
    db.close();
  }
}

async function hashAt(store: EventStore, position: number): Promise<string | undefined> {
  const [event] = await store.readAll(position - 1, 1);
  return event?.position === position ? event.hash : undefined;
}
