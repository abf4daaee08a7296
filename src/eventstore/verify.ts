import Database from 'better-sqlite3';
import { chainHash, chainStart } from './hashchain.ts';
import { readHeadMark } from './headMark.ts';
import { damaged } from './storeError.ts';

/** Every stream is as it was written, or the first event that is not.
 *  missing: there is no event at this position · order: revision or pointer to the previous event · stream: the event is another stream's ·
 *  hash: the event's content. Stream and revision are absent when nothing tells which event is missing. */
export type StoreVerdict =
  | { readonly ok: true; readonly events: number; readonly streams: number }
  | {
      readonly ok: false;
      readonly position: number;
      readonly reason: 'missing' | 'order' | 'stream' | 'hash';
      readonly stream?: string;
      readonly revision?: number;
    };

type Columns = [position: number, stream: string, revision: number, prev: number, id: string, hash: string, body: string];
type Link = { readonly revision: number; readonly position: number; readonly hash: string };
type Walk = { readonly events: number; readonly heads: ReadonlyMap<string, Link>; readonly bad?: Columns };

const beforeFirst: Link = { revision: -1, position: 0, hash: chainStart };
const columns = 'position, stream, revision, prev, id, hash, body';

/** Walks a store file from the first event to the last and recomputes every hash from the stored bytes (T18). The store may be open in another
 *  process: it is only read, as of the moment of the call. The newest events must be those that were acknowledged, as the mark beside the file
 *  has it; somebody who changes both is found by the signed checkpoints.
 *  @throws NusecError STORE_DAMAGED when it is not an event store */
export function verifyStore(file: string): StoreVerdict {
  const mark = readHeadMark(`${file}-head`);
  const db = openForReading(file);
  try {
    const walk = walkRows(db.prepare<Columns>(`SELECT ${columns} FROM events ORDER BY position`).raw().iterate());
    if (walk.bad !== undefined) return nameBad(db, walk, walk.bad);
    if (mark !== undefined && mark.position > walk.events) return { ok: false, position: walk.events + 1, reason: 'missing' };
    return { ok: true, events: walk.events, streams: walk.heads.size };
  } catch (error) {
    throw damaged('the event store cannot be read', error);
  } finally {
    db.close();
  }
}

/** Up to the first event that is not as it should be. */
function walkRows(rows: Iterable<Columns>): Walk {
  const heads = new Map<string, Link>();
  let events = 0;
  for (const row of rows) {
    const [position, stream, revision, , , hash] = row;
    if (position !== events + 1 || !follows(row, stream, heads.get(stream))) return { events, heads, bad: row };
    heads.set(stream, { revision, position, hash });
    events = position;
  }
  return { events, heads };
}

/** Whether a row is the next event of a stream. */
function follows([, , revision, prev, id, hash, body]: Columns, stream: string, before = beforeFirst): boolean {
  return revision === before.revision + 1 && prev === before.position && chainHash(before.hash, stream, revision, id, body) === hash;
}

/** Says which event is not as it was, from what stands around it. */
function nameBad(db: Database, { events, heads }: Walk, bad: Columns): StoreVerdict {
  const [position, stream, revision, prev, id, hash, body] = bad;
  const successor = db.prepare<[string, number]>('SELECT stream, revision FROM events WHERE prev = ? ORDER BY position LIMIT 1').raw();
  if (position !== events + 1) {
    const [owner, next] = successor.get(events + 1) ?? [];
    return { ok: false, position: events + 1, reason: 'missing', ...(owner !== undefined && { stream: owner, revision: (next ?? 0) - 1 }) };
  }
  const [behind] = successor.get(position) ?? [];
  const [ahead] = db.prepare<[string]>('SELECT stream FROM events WHERE position = ?').raw().get(prev) ?? [];
  const owner = [behind, ahead].find(other => other !== undefined && other !== stream && follows(bad, other, heads.get(other)));
  if (owner !== undefined) return { ok: false, position, reason: 'stream', stream: owner, revision };
  const before = heads.get(stream) ?? beforeFirst;
  const isInOrder = revision === before.revision + 1 && prev === before.position;
  const isContent = isInOrder && chainHash(before.hash, stream, revision, id, body) !== hash;
  return { ok: false, position, reason: isContent ? 'hash' : 'order', stream, revision: before.revision + 1 };
}

function openForReading(file: string): Database {
  try {
    return new Database(file, { readonly: true, fileMustExist: true });
  } catch (error) {
    throw damaged('the event store cannot be opened', error);
  }
}
