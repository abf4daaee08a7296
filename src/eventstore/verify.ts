import Database from 'better-sqlite3';
import { NusecError } from '../errors.ts';
import { chainHash, chainStart } from './hashchain.ts';

/** Every stream is as it was written, or the first event that is not.
 *  position: the store-wide order has a gap · order: revision or pointer to the previous event · hash: the event's content */
export type StoreVerdict =
  | { readonly ok: true; readonly events: number; readonly streams: number }
  | {
      readonly ok: false;
      readonly stream: string;
      readonly revision: number;
      readonly position: number;
      readonly reason: 'position' | 'order' | 'hash';
    };

type Columns = [position: number, stream: string, revision: number, prev: number, id: string, hash: string, body: string];
type Link = { readonly revision: number; readonly position: number; readonly hash: string };

const beforeFirst: Link = { revision: -1, position: 0, hash: chainStart };

/** Walks a store file from the first event to the last and recomputes every hash from the stored bytes (T18).
 *  The store may be open in another process: it is only read, as of the moment of the call.
 *  What a chain cannot show is that a stream's newest events were cut off; the signed checkpoints do.
 *  @throws NusecError STORE_DAMAGED when it is not an event store */
export function verifyStore(file: string): StoreVerdict {
  const db = openForReading(file);
  try {
    return verifyRows(db.prepare<Columns>('SELECT position, stream, revision, prev, id, hash, body FROM events').raw().iterate());
  } catch (error) {
    throw new NusecError('STORE_DAMAGED', 'the event store cannot be read', { cause: error });
  } finally {
    db.close();
  }
}

function verifyRows(rows: Iterable<Columns>): StoreVerdict {
  const heads = new Map<string, Link>();
  let expected = 0;
  for (const row of rows) {
    const [position, stream, revision, , , hash] = row;
    const before = heads.get(stream) ?? beforeFirst;
    const reason = position === ++expected ? verifyRow(row, before) : 'position';
    if (reason !== undefined) return { ok: false, stream, revision: before.revision + 1, position, reason };
    heads.set(stream, { revision, position, hash });
  }
  return { ok: true, events: expected, streams: heads.size };
}

function verifyRow([, stream, revision, prev, id, hash, body]: Columns, before: Link): 'order' | 'hash' | undefined {
  if (revision !== before.revision + 1 || prev !== before.position) return 'order';
  return chainHash(before.hash, stream, revision, id, body) === hash ? undefined : 'hash';
}

function openForReading(file: string): Database {
  try {
    return new Database(file, { readonly: true, fileMustExist: true });
  } catch (error) {
    throw new NusecError('STORE_DAMAGED', 'the event store cannot be opened', { cause: error });
  }
}
