import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import Database from 'better-sqlite3';
import { sha256Hex } from '../../digest.ts';
import { NusecError } from '../../errors.ts';
import type { Edge } from '../../merkle/edge.ts';
import { leafOfHash } from '../../merkle/hashing.ts';
import { reading, transaction } from '../../sqliteFile.ts';
import { type KurrentStoreOptions, openKurrentStore } from '../kurrentdb.ts';
import { loadEdge } from '../logTree.ts';
import type { EventStore } from '../port.ts';
import { rowText, splitRowText } from '../rowCheck.ts';
import { createSealer, type Sealer } from '../seal.ts';
import { openSqliteStore } from '../sqlite.ts';
import { isCopy, makeCopy, makeOwn, movingId, takenRow } from '../sqliteTaken.ts';
import { treeRows } from '../sqliteTree.ts';
import type { Taken } from '../storage.ts';
import { damaged } from '../storeError.ts';
import { isIntact, type WholeRow } from '../streamRows.ts';
import type { Carrier } from './carrier.ts';
import type { CommitLog } from './commitLog.ts';
import { openConnection } from './connection.ts';
import { kurrentCommitLog } from './streams.ts';

/** Moves the log of a machine into KurrentDB, and out of it: every event keeps its id, place, hash and leaf, and the file becomes the copy of the log, or the log. */

/** Events of one commit, and about as many characters. */
const maxMovedEvents = 1024;
const maxMovedChars = 384 * 1024;

type Row = ReturnType<typeof splitRowText>;

/** Stops nowhere in between: called again after an interruption, it resumes. No server may run at the file.
 *  @returns how many events the log has
 *  @throws NusecError STATE (moved already, or KurrentDB has another log under this name), STORE_DAMAGED (an event or a blob is not what was stored), and as openSqliteStore and openKurrentStore */
export async function moveIntoKurrent({ file, seal, name, ...address }: KurrentStoreOptions): Promise<number> {
  const own = await openSqliteStore({ file, ...(seal !== undefined && { seal }) });
  const epoch = own.epoch();
  await own.close();
  const log = kurrentCommitLog(await openConnection(address), name);
  const db = new Database(file);
  try {
    if (isCopy(db)) throw new NusecError('STATE', 'the log of this data folder is in KurrentDB already');
    const begun = await begunIn(log, db);
    const blobs = await moveBlobs(log, db);
    const edge = loadEdge(treeRows(db), begun.events);
    const taken = await moveEvents(log, db, begun, { edge, epoch, blobs, sealer: seal && createSealer(seal.key) });
    transaction(db, () => makeCopy(db, taken));
    return edge.size();
  } finally {
    db.close();
    await rm(`${file}-head`, { force: true });
    await log.close();
  }
}

/** Makes the copy of this machine the log. First it takes in everything; then a last commit closes the log in KurrentDB, so that no other server adds to it or
 *  reads it. Called again after an interruption, it goes on. Without an address the database is lost: the copy is taken as it is, and nobody else is stopped.
 *  @param requireAlone throws when another server works on the log
 *  @returns how many events the log has
 *  @throws NusecError STATE (the file is a log already; another server stores events), and as openKurrentStore */
export async function moveOutOfKurrent(
  { file, ...options }: Omit<KurrentStoreOptions, 'url' | 'name'> & Partial<Pick<KurrentStoreOptions, 'url' | 'name'>>,
  requireAlone: (store: EventStore) => Promise<void>,
): Promise<number> {
  requireCopy(file);
  const { url, name } = options;
  const at = url === undefined || name === undefined ? undefined : { ...options, file, url, name };
  if (at !== undefined) await takeAll(at, requireAlone);
  const db = new Database(file);
  try {
    if (at !== undefined) await closeLog(db, at);
    transaction(db, () => makeOwn(db));
    return eventsIn(db);
  } finally {
    db.close();
  }
}

function requireCopy(file: string): void {
  if (!existsSync(file) || !reading(file, isCopy)) throw new NusecError('STATE', 'the log of this data folder is not in KurrentDB');
}

const eventsIn = (db: Database): number => db.prepare<number>('SELECT coalesce(max(position), 0) FROM events').pluck().get() ?? 0;

async function takeAll(options: KurrentStoreOptions, requireAlone: (store: EventStore) => Promise<void>): Promise<void> {
  const store = await openKurrentStore({ ...options, takesClosed: true });
  try {
    await requireAlone(store);
    await store.head();
  } finally {
    await store.close();
  }
}

async function closeLog(db: Database, options: KurrentStoreOptions): Promise<void> {
  const log = kurrentCommitLog(await openConnection(options), options.name);
  try {
    const { revision } = takenRow(db).taken();
    const move = movingId(db);
    const closed = (await log.at(revision))?.commit.closed;
    if (closed === move) return;
    if (closed !== undefined) throw new NusecError('STATE', 'the log was moved out of KurrentDB on another machine');
    const first = eventsIn(db);
    const seal = options.seal && createSealer(options.seal.key).seal(loadEdge(treeRows(db), first));
    if (!(await log.append(revision, randomUUID(), { first, appends: [], closed: move, seal })))
      throw new NusecError('STATE', 'another server stores events in this log: stop it, and move the log again');
  } finally {
    await log.close();
  }
}

/** How far an earlier move has come. @throws NusecError STATE when it is another log */
async function begunIn(log: CommitLog, db: Database): Promise<Taken & { readonly events: number }> {
  const revision = await log.head();
  if (revision === -1) return { revision, id: '', events: 0 };
  const newest = await log.at(revision);
  const ids = newest?.commit.appends.flatMap(({ events }) => events.map(({ id }) => id)) ?? [];
  const events = (newest?.commit.first ?? 0) + ids.length;
  const here = db.prepare<string>('SELECT id FROM events WHERE position = ?').pluck().get(events);
  if (newest === undefined || here === undefined || (ids.length > 0 && here !== ids.at(-1)))
    throw new NusecError('STATE', 'KurrentDB has another log of this project: a second machine joins with an empty data folder');
  return { revision, id: newest.id, events };
}

type Moving = {
  readonly edge: Edge;
  readonly epoch: number;
  /** SHA-256 of all of them, for the copies of other machines. */
  readonly blobs: readonly string[];
  readonly sealer: Sealer | undefined;
};

async function moveEvents(log: CommitLog, db: Database, begun: Taken, { edge, epoch, blobs, sealer }: Moving): Promise<Taken> {
  const page = rowsAfter(db);
  let { revision, id } = begun;
  const left = [...blobs];
  // The first commit has the epoch, also when there is nothing else to move: it opens a log that was closed.
  for (let rows = page(edge.size()); revision === begun.revision || rows.length + left.length > 0; rows = page(edge.size())) {
    const first = edge.size();
    const group = rows.slice(0, fitting(rows));
    for (const { hash } of group) edge.add(leafOfHash(hash));
    const commit: Carrier = {
      first,
      appends: appendsOf(group),
      blobs: left.splice(0, maxMovedEvents),
      seal: sealer?.seal(edge),
      epoch: revision === begun.revision ? epoch : undefined,
    };
    id = randomUUID();
    if (!(await log.append(revision, id, commit)))
      throw new NusecError('STATE', 'another server stores events in this log: stop it, and move the log again');
    revision += 1;
  }
  return { revision, id };
}

/** @returns reads the events behind a position */
function rowsAfter(db: Database): (position: number) => readonly Row[] {
  const page = db
    .prepare<WholeRow>(
      `SELECT position, revision, prev, crc, ${rowText} FROM events WHERE position > ? ORDER BY position LIMIT ${maxMovedEvents}`,
    )
    .raw();
  return after =>
    page.all(after).map((row, i) => {
      if (row[0] !== after + 1 + i || !isIntact(row)) throw damaged(`the event at position ${after + 1 + i} is not what was stored`);
      return splitRowText(row[4]);
    });
}

async function moveBlobs(log: CommitLog, db: Database): Promise<readonly string[]> {
  const moved: string[] = [];
  for (const { sha256, bytes } of db.prepare<{ sha256: Buffer; bytes: Uint8Array }>('SELECT sha256, bytes FROM blobs').iterate()) {
    const known = { sha256: Buffer.from(sha256).toString('hex'), bytes: new Uint8Array(bytes) };
    if (sha256Hex(known.bytes) !== known.sha256) throw damaged(`the blob ${known.sha256} is not what was stored`);
    if ((await log.blob(known.sha256)) === undefined) await log.putBlob(known);
    moved.push(known.sha256);
  }
  return moved;
}

const appendsOf = (rows: readonly Row[]): Carrier['appends'] => rows.map(({ stream, id, body }) => ({ stream, events: [{ id, body }] }));

/** How many rows make a commit: at least one. */
function fitting(rows: readonly Row[]): number {
  let chars = 0;
  const over = rows.findIndex(({ stream, body }) => {
    chars += stream.length + body.length + 100;
    return chars > maxMovedChars;
  });
  return over === -1 ? rows.length : Math.max(1, over);
}
