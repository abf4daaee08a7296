import { hash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { opendir, readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { parentPort, workerData } from 'node:worker_threads';
import Database from 'better-sqlite3';
import { toHex } from '../bytes.ts';
import { rowCheck } from './rowCheck.ts';
import type { ScrubData, ScrubMessage } from './scrub.ts';

/** The thread behind scrub.ts. */

const { places, pace } = workerData as ScrubData;
const send = (message: ScrubMessage): void => parentPort?.postMessage(message);
const report = (place: string, detail: string): void => send({ finding: { place, detail } });
const sha256 = (bytes: Uint8Array): string => hash('sha256', bytes, 'hex');

/** Work on one file; what makes it unreadable is a finding too. */
async function lookAt(file: string, work: (db: Database) => Promise<void>): Promise<void> {
  if (!existsSync(file)) return;
  let db: Database | undefined;
  try {
    db = new Database(file, { readonly: true });
    await work(db);
  } catch (error) {
    report(basename(file), (error as Error).message);
  } finally {
    db?.close();
  }
}

type Row = [position: number, stream: string, revision: number, prev: number, id: string, hash: string, body: string, crc: number];

async function lookAtEvents(db: Database): Promise<void> {
  const rows = db
    .prepare<Row>('SELECT position, stream, revision, prev, id, hash, body, crc FROM events WHERE position > ? ORDER BY position LIMIT ?')
    .raw();
  const indexed = db.prepare<number>('SELECT position FROM events INDEXED BY events_id WHERE id = ?').pluck();
  for (let after = 0, page = rows.all(after, pace.atOnce); page.length > 0; page = rows.all(after, pace.atOnce)) {
    for (const row of page) {
      const [position, , , , id] = row;
      if (position !== after + 1) report(`event ${after + 1}`, 'is missing');
      const [, stream, revision, prev, , eventHash, body, crc] = row;
      if (rowCheck(position, stream, revision, prev, id, eventHash, body) !== crc) report(`event ${position}`, 'is not what was stored');
      else if (!indexed.all(id).includes(position)) report(`event ${position}`, 'is not found by its id');
      after = position;
    }
    await setTimeout(pace.pauseMs);
  }
}

async function lookAtBlobRows(db: Database): Promise<void> {
  const rows = db.prepare<{ sha256: Uint8Array; bytes: Uint8Array }>(
    'SELECT sha256, bytes FROM blobs WHERE sha256 > ? ORDER BY sha256 LIMIT ?',
  );
  for (let after = new Uint8Array(), page = rows.all(after, pace.atOnce); page.length > 0; page = rows.all(after, pace.atOnce)) {
    for (const { sha256: key, bytes } of page) {
      const name = toHex(key);
      if (sha256(bytes) !== name) report(`blob ${name}`, 'is not what was stored');
      after = new Uint8Array(key);
    }
    await setTimeout(pace.pauseMs);
  }
}

async function lookAtBlobFiles(): Promise<void> {
  if (!existsSync(places.blobs)) return;
  for await (const entry of await opendir(places.blobs, { recursive: true })) {
    const name = basename(entry.parentPath) + entry.name;
    if (!entry.isFile() || !/^[0-9a-f]{64}$/.test(name)) continue;
    const bytes = await readFile(join(entry.parentPath, entry.name)).catch(() => undefined);
    // It may have been deleted since.
    if (bytes !== undefined && sha256(bytes) !== name) report(`blob ${name}`, 'is not what was stored');
    await setTimeout(pace.pauseMs);
  }
}

async function lookAtDatabase(db: Database, file: string): Promise<void> {
  const answer = db.pragma('quick_check(1)', { simple: true });
  if (answer !== 'ok') report(basename(file), String(answer));
}

async function scrub(): Promise<void> {
  for (;;) {
    await lookAt(places.store, lookAtEvents);
    await lookAt(places.store, lookAtBlobRows);
    await lookAtBlobFiles();
    for (const file of places.databases) await lookAt(file, db => lookAtDatabase(db, file));
    send({ roundEnded: true });
    await setTimeout(pace.betweenRoundsMs);
  }
}

await scrub();
