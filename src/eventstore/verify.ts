import Database from 'better-sqlite3';
import { chainHash, chainStart } from './hashchain.ts';
import { readHeadMark } from './headMark.ts';
import { rowCheck } from './rowCheck.ts';
import { damaged, unreadable } from './storeError.ts';
import { type IndexFinding, idSum, indexFinding, mendingOfIndex } from './verifyIndex.ts';
import { createTreeCheck, type SignedTree, type TreeCheck, type TreeFinding } from './verifyTree.ts';

/** Every stream is as it was written, or the first event that is not.
 *  missing: there is no event at this position · order: revision or pointer to the previous event · stream: the event is another stream's ·
 *  hash: the event's content · tree: the event is not the one in the tree over all events, so it was rewritten or moved ·
 *  checkpoint, acknowledged: the events from `from` up to this position are not those that were signed, or acknowledged by the mark beside the file · index of streams, index over ids: every event is what was
 *  written, but this one is not found. Stream and revision are absent when the missing event cannot be determined. */
export type StoreVerdict =
  | { readonly ok: true; readonly events: number; readonly streams: number }
  | {
      readonly ok: false;
      readonly position: number;
      readonly reason: 'missing' | 'order' | 'stream' | 'hash' | 'acknowledged' | TreeFinding['reason'] | IndexFinding['reason'];
      readonly stream?: string;
      readonly revision?: number;
      /** With `checkpoint` and `acknowledged`: the first event that may be meant. */
      readonly from?: number;
    };

/** As much as is known about the first event that is not as it was. */
export function placeOf({ position, stream, revision, reason, from }: StoreVerdict & { readonly ok: false }): string {
  if (isOfIndex(reason)) return `position ${position} in the ${reason}`;
  if (stream !== undefined) return `position ${position}, stream ${stream}, revision ${revision}`;
  const isRange = (reason === 'checkpoint' || reason === 'acknowledged') && from !== undefined && from < position;
  return isRange ? `an event from position ${from} to ${position}` : `position ${position}`;
}

const isOfIndex = (reason: (StoreVerdict & { readonly ok: false })['reason']): reason is IndexFinding['reason'] => reason in mendingOfIndex;

/** What is wrong, and what it means for the rest, for people. */
export function faultOf(verdict: StoreVerdict & { readonly ok: false }): string {
  const place = `${placeOf(verdict)} is not what was stored`;
  if (!isOfIndex(verdict.reason)) return `${place}; everything before it is`;
  return `${place}; every event is: stop the server and have the index made again (sqlite3 events.db "${mendingOfIndex[verdict.reason]}")`;
}

/** Without a checksum in a store of an earlier format. */
type Columns = [...Parameters<typeof rowCheck>, crc: number | null];
type Link = { readonly revision: number; readonly position: number; readonly hash: string };
/** @property refused the first event whose checksum is not that of its row, though it is what was written: it is not served */
type Walk = {
  readonly events: number;
  readonly heads: ReadonlyMap<string, Link>;
  /** Over ids and positions. */
  readonly ids: string;
  readonly bad?: Columns;
  readonly finding?: TreeFinding;
  readonly refused?: { readonly position: number; readonly stream: string; readonly revision: number };
};

const beforeFirst: Link = { revision: -1, position: 0, hash: chainStart };
const columns = 'position, stream, revision, prev, id, hash, body';
/** Rows of one read: not more, so that a store that is written to can checkpoint its log. */
const pageRows = 10_000;

/** Walks a store file from the first event to the last and recomputes every hash from the stored bytes (T18). The store may be open in another
 *  process: it is only read, as of the moment of the call. The newest events must be those that were acknowledged, as the mark beside the file
 *  has it.
 *  @param signed what checkpoints say; their signatures are the caller's matter
 *  @param marked false for an older store that is meant: the mark is not looked at
 *  @throws NusecError STORE_DAMAGED when it is not an event store */
export function verifyStore(file: string, signed: readonly SignedTree[] = [], marked = true): StoreVerdict {
  const mark = marked ? readHeadMark(`${file}-head`) : undefined;
  const db = openForReading(file);
  try {
    const walk = walkRows(rowsOf(db), createTreeCheck(db, signed));
    if (walk.finding !== undefined) return { ok: false, ...walk.finding, ...ownerAt(db, walk.finding) };
    if (walk.bad !== undefined) return nameBad(db, walk, walk.bad);
    const known = signed.reduce((most, { size }) => Math.max(most, size), mark?.position ?? 0);
    if (known > walk.events) return { ok: false, position: walk.events + 1, reason: 'missing' };
    if (mark !== undefined && hashAt(db, mark.position) !== mark.hash) {
      const from = signed.reduce((most, { size }) => Math.max(most, size), 0) + 1;
      return { ok: false, position: mark.position, reason: 'acknowledged', from: Math.min(from, mark.position) };
    }
    if (walk.refused !== undefined) return { ok: false, ...walk.refused, reason: 'hash' };
    const index = indexFinding(db, walk.events, walk.heads, walk.ids);
    if (index !== undefined) return { ok: false, ...index };
    return { ok: true, events: walk.events, streams: walk.heads.size };
  } catch (error) {
    throw unreadable(file, error);
  } finally {
    db.close();
  }
}

/** The events that are there now. */
function* rowsOf(db: Database): Generator<Columns> {
  const newest = db.prepare<number>('SELECT coalesce(max(position), 0) FROM events').pluck().get() ?? 0;
  const hasCheck = db.prepare("SELECT 1 FROM pragma_table_info('events') WHERE name = 'crc'").get() !== undefined;
  const page = db
    .prepare<Columns>(
      `SELECT ${columns}, ${hasCheck ? 'crc' : 'NULL'} FROM events WHERE position > ? AND position <= ? ORDER BY position LIMIT ${pageRows}`,
    )
    .raw();
  const pageAfter = (position: number): readonly Columns[] => {
    try {
      return page.all(position, newest);
    } catch (error) {
      throw damaged(`the events from position ${Math.max(position, 0) + 1} on cannot be read`, error);
    }
  };
  for (let rows = pageAfter(Number.MIN_SAFE_INTEGER); rows.length > 0; rows = pageAfter(rows.at(-1)?.[0] ?? newest)) yield* rows;
}

const hashAt = (db: Database, position: number): string | undefined =>
  db.prepare<string>('SELECT hash FROM events WHERE position = ?').pluck().get(position);

/** In a page that was overwritten, texts can be missing. */
const hasTexts = ([, stream, , , id, hash, body]: Columns): boolean => [stream, id, hash, body].every(text => typeof text === 'string');

/** Up to the first event that is not as it should be. */
function walkRows(rows: Iterable<Columns>, tree: TreeCheck): Walk {
  const heads = new Map<string, Link>();
  const ids = idSum();
  let events = 0;
  let refused: Walk['refused'];
  for (const row of rows) {
    const [position, stream, revision, , id, hash] = row;
    if (position !== events + 1 || !follows(row, stream, heads.get(stream))) {
      const finding = tree.end();
      return { events, heads, ids: ids.text(), bad: row, ...(finding !== undefined && { finding }) };
    }
    heads.set(stream, { revision, position, hash });
    ids.add(id, position);
    events = position;
    if (!isChecked(row)) refused ??= { position, stream, revision };
    const finding = tree.add(hash);
    if (finding !== undefined) return { events, heads, ids: ids.text(), finding };
  }
  return { events, heads, ids: ids.text(), ...(refused !== undefined && { refused }) };
}

/** Stream and revision of an event that is there, but is another one. What a checkpoint covers has no one place. */
function ownerAt(db: Database, { position, reason }: TreeFinding): { readonly stream?: string; readonly revision?: number } {
  if (reason === 'checkpoint') return {};
  const [stream, revision] =
    db.prepare<[string, number]>('SELECT stream, revision FROM events WHERE position = ?').raw().get(position) ?? [];
  return stream === undefined || revision === undefined ? {} : { stream, revision };
}

/** Whether readers take the row for what was stored. */
const isChecked = ([position, stream, revision, prev, id, hash, body, crc]: Columns): boolean =>
  crc === null || rowCheck(position, stream, revision, prev, id, hash, body) === crc;

/** Whether a row is the next event of a stream. */
function follows(row: Columns, stream: string, before = beforeFirst): boolean {
  const [, , revision, prev, id, hash, body] = row;
  if (!hasTexts(row)) return false;
  return revision === before.revision + 1 && prev === before.position && chainHash(before.hash, stream, revision, id, body) === hash;
}

/** Finds the event that was changed, from its neighbours. */
function nameBad(db: Database, { events, heads }: Walk, bad: Columns): StoreVerdict {
  const [position, stream, revision, prev, id, hash, body] = bad;
  const successor = db.prepare<[string, number]>('SELECT stream, revision FROM events WHERE prev = ? ORDER BY position LIMIT 1').raw();
  if (position !== events + 1) {
    const [owner, next] = successor.get(events + 1) ?? [];
    return { ok: false, position: events + 1, reason: 'missing', ...(owner !== undefined && { stream: owner, revision: (next ?? 0) - 1 }) };
  }
  if (!hasTexts(bad)) return { ok: false, position, reason: 'hash' };
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
    throw unreadable(file, error);
  }
}
