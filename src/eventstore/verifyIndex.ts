import { crc32 } from 'node:zlib';
import type Database from 'better-sqlite3';
import { snapshot } from '../sqliteFile.ts';
import { openHeadIndex } from './headIndex.ts';
import { checkPage, pageNumber, type Run, runsOf } from './headRuns.ts';

/** Holds the two indices of a store, of streams and over ids, against its events. Both can be made again from the events (docs/event-store.md), so a
 *  damage of them is no loss; but an append that trusts them would be. */

/** @property position of the first event that is not found, or the first that the damaged part covers */
export type IndexFinding = {
  readonly position: number;
  readonly reason: keyof typeof mendingOfIndex;
  readonly stream?: string;
  readonly revision?: number;
};

/** Statements after which the next start has a whole index again. */
export const mendingOfIndex = { 'index of streams': 'PRAGMA user_version = 4', 'index over ids': 'REINDEX events_id' } as const;

type Ends = ReadonlyMap<string, { readonly revision: number; readonly position: number }>;

/** What the index over ids must have, whatever its order: a sum over its entries. */
export function idSum() {
  let [entries, sum] = [0, 0];
  return {
    add(id: string, position: number): void {
      entries += 1;
      sum = (sum + crc32(id, position % 2 ** 32)) % 2 ** 48;
    },
    text: () => `${entries} ${sum}`,
  };
}

/** @param events how many were walked through: newer ones do not count @param ends of all streams then
 *  @param ids sum over all of them */
export function indexFinding(db: Database, events: number, ends: Ends, ids: string): IndexFinding | undefined {
  const has = (name: string): boolean => db.prepare('SELECT 1 FROM sqlite_schema WHERE name = ?').get(name) !== undefined;
  return (
    (has('head_runs') ? snapshot(db, () => streamFinding(db, events, ends)) : undefined) ??
    (has('events_id') ? snapshot(db, () => idFinding(db, events, ids)) : undefined)
  );
}

function streamFinding(db: Database, events: number, ends: Ends): IndexFinding | undefined {
  const reason = 'index of streams';
  const runs = trying(() => runsOf(db));
  if (runs === undefined) return { position: 1, reason };
  const unreadable = runs.find(run => trying(() => readAllPages(db, run)) === undefined);
  if (unreadable !== undefined) return { position: unreadable.after + 1, reason };
  const index = openHeadIndex(db);
  const before = db.prepare<[prev: number, revision: number]>('SELECT prev, revision FROM events WHERE position = ?').raw();
  for (const [stream, end] of ends) {
    let { position, revision } = end;
    while (position > index.upTo()) {
      [position] = before.get(position) ?? [0];
      revision -= 1;
    }
    const found = trying(() => index.find(stream) ?? 0);
    const isRight = found === position || (found !== undefined && found > events);
    if (!isRight) return { position: position || end.position, reason, stream, revision: position === 0 ? end.revision : revision };
  }
  return undefined;
}

/** @throws NusecError STORE_DAMAGED */
function readAllPages(db: Database, { run, pages }: Run): true {
  const select = db.prepare<{ crc: number; entries: Uint8Array }>('SELECT crc, entries FROM head_pages WHERE page = ?');
  for (let page = 0; page < pages; page += 1) {
    const number = pageNumber(run, page);
    checkPage(number, select.get(number) ?? { crc: -1, entries: new Uint8Array() });
  }
  return true;
}

function idFinding(db: Database, events: number, ids: string): IndexFinding | undefined {
  const isRight = trying(() => sumOfIndex(db, events) === ids);
  if (isRight) return undefined;
  const positions = db.prepare<number>('SELECT position FROM events INDEXED BY events_id WHERE id = ?').pluck();
  const rows = db.prepare<[number, string, number, string]>('SELECT position, stream, revision, id FROM events ORDER BY position').raw();
  for (const [position, stream, revision, id] of rows.iterate())
    if (!trying(() => positions.all(id))?.includes(position)) return { position, reason: 'index over ids', stream, revision };
  return { position: 1, reason: 'index over ids' };
}

function sumOfIndex(db: Database, events: number): string {
  const sum = idSum();
  const entries = db.prepare<[string, number]>('SELECT id, position FROM events INDEXED BY events_id ORDER BY id').raw();
  for (const [id, position] of entries.iterate()) if (position <= events) sum.add(id, position);
  return sum.text();
}

/** @returns undefined when it cannot be read */
function trying<Result>(read: () => Result): Result | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}
