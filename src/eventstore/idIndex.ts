import type Database from 'better-sqlite3';
import { NusecError } from '../errors.ts';
import { rowText, splitRowText } from './rowCheck.ts';
import type { Storage } from './storage.ts';
import type { WholeRow } from './streamRows.ts';

/** Looks up events by their ids. The index is SQLite's own and has no checksum, so what it says is held against the rows: an event that it finds must
 *  have the id, and an id that it does not find is looked for where a repetition would be. */

/** Newest events of a stream that are searched for an id which the index does not have. Only an id that is older than those which are remembered
 *  (recentIds.ts) is looked up at all, so this is rare. */
const maxSearchedEvents = 1000;

const idIndexDamaged = (): NusecError =>
  new NusecError(
    'STORE_DAMAGED',
    'the index over ids is damaged; no event is lost: stop the server and have it made again (sqlite3 events.db "REINDEX events_id")',
  );

type Entry = { readonly id: string; readonly position: number };

/** @param check throws unless a row is as it was stored */
export function openIdIndex(db: Database, check: (row: WholeRow) => void): Pick<Storage, 'find' | 'doubtNew' | 'highestId'> {
  const highestId = db.prepare<string | null>('SELECT max(id) FROM events').pluck();
  const newestId = db.prepare<string>('SELECT id FROM events ORDER BY position DESC LIMIT 1').pluck();
  const placeOf = db.prepare<number>('SELECT position FROM events INDEXED BY events_id WHERE id = ? ORDER BY position LIMIT 1').pluck();
  const rowAt = db.prepare<WholeRow>(`SELECT position, revision, prev, crc, ${rowText} FROM events WHERE position = ?`).raw();
  const before = db.prepare<Entry>('SELECT id, position FROM events INDEXED BY events_id WHERE id < ? ORDER BY id DESC LIMIT 1');
  const behind = db.prepare<Entry>('SELECT id, position FROM events INDEXED BY events_id WHERE id > ? ORDER BY id LIMIT 1');
  const idAt = db.prepare<string>('SELECT id FROM events WHERE position = ?').pluck();
  const inStream = db
    .prepare<number>(
      `WITH RECURSIVE chain (place, before, own, number) AS (
         SELECT position, prev, id, 1 FROM events WHERE position = ?
         UNION ALL
         SELECT e.position, e.prev, e.id, number + 1 FROM chain JOIN events e ON e.position = chain.before AND e.position < chain.place
         WHERE number < ${maxSearchedEvents}
       ) SELECT place FROM chain WHERE own = ? LIMIT 1`,
    )
    .pluck();
  /** An entry whose id was changed stands where the id was, so it is a neighbour of that place. */
  const isOfItsRow = (entry: Entry | undefined): boolean => entry === undefined || idAt.get(entry.position) === entry.id;
  return {
    find(id) {
      const place = placeOf.get(id);
      if (place === undefined) return undefined;
      const row = rowAt.get(place);
      if (row === undefined) throw idIndexDamaged();
      check(row);
      const [position, revision, , , text] = row;
      const { stream, id: own, body } = splitRowText(text);
      if (own !== id) throw idIndexDamaged();
      return { position, stream, revision, body };
    },
    doubtNew(id, end) {
      const isNew = isOfItsRow(before.get(id)) && isOfItsRow(behind.get(id)) && inStream.get(end, id) === undefined;
      return isNew ? undefined : idIndexDamaged();
    },
    highestId() {
      const newest = newestId.get() ?? '';
      const highest = highestId.get() ?? '';
      if (newest > highest) throw idIndexDamaged();
      return highest;
    },
  };
}
