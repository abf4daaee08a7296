import type Database from 'better-sqlite3';
import type { DomainEvent } from '../domain/events.ts';
import { statusAfter, type Walk } from '../domain/walk.ts';
import { subjectOf, type Write } from './projection.ts';

/** Keeps the column `status` of a table as the walk of the aggregate says. `key` is the column that has the id of the event's stream. */
export function statusColumn<Event extends DomainEvent, Status extends string>(
  db: Database,
  table: string,
  key: string,
  walk: Walk<Event, Status>,
): Write {
  const find = db.prepare<{ status: Status }>(`SELECT status FROM ${table} WHERE ${key} = ?`);
  const move = db.prepare(`UPDATE ${table} SET status = ? WHERE ${key} = ?`);
  return ({ type, stream }) => {
    if (!Object.hasOwn(walk, type)) return;
    const id = subjectOf(stream);
    const before = find.get(id)?.status;
    if (before !== undefined) move.run(statusAfter(walk, before, type), id);
  };
}
