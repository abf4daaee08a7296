import type Database from 'better-sqlite3';
import { decodeEvent, typeIn } from './envelope.ts';
import type { EventOutline, RecordedEvent } from './port.ts';
import { rowText, rowTextCheck, splitRowText } from './rowCheck.ts';

/** The events of a stream as the store's file has them. */

/** `text` as `rowText` puts it together. */
export type WholeRow = [position: number, revision: number, prev: number, crc: number, text: string];

/** Whether a row is as it was stored; in a page that was overwritten, its text can be missing. */
export const isIntact = ([position, revision, prev, crc, text]: WholeRow): boolean =>
  typeof text === 'string' && rowTextCheck(position, revision, prev, text) === crc;

/** @throws NusecError STORE_DAMAGED when the text is no longer an event */
export function eventIn([position, revision, , , text]: WholeRow): RecordedEvent {
  const { stream, id, hash, body } = splitRowText(text);
  return decodeEvent(position, stream, revision, id, hash, body);
}

/** The same without what it says. */
export function outlineIn([position, revision, , , text]: WholeRow): EventOutline {
  const { stream, hash, body } = splitRowText(text);
  return { position, stream, revision, hash, type: typeIn(body) };
}

/** @returns reads from the event at a position back to a revision of the same stream, newest first */
export function streamRows(db: Database): (position: number, fromRevision: number) => readonly WholeRow[] {
  // The texts are read at the end: what a recursion hands on is copied twice.
  const back = db
    .prepare<WholeRow>(
      `WITH RECURSIVE chain (place, before, number) AS (
         SELECT position, prev, revision FROM events WHERE position = ?
         UNION ALL
         SELECT e.position, e.prev, e.revision FROM chain JOIN events e ON e.position = chain.before AND e.position < chain.place
         WHERE chain.number > ?
       ) SELECT position, revision, prev, crc, ${rowText} FROM chain CROSS JOIN events ON position = place`,
    )
    .raw();
  return (position, fromRevision) => back.all(position, fromRevision);
}
