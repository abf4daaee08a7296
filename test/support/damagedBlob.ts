import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';

/** Takes a stored blob away, be it a file or a row of the event store. */
export function loseBlob(dataDir: string, sha256: string): void {
  rmSync(join(dataDir, 'blobs', sha256.slice(0, 2), sha256.slice(2)), { force: true });
  const db = new Database(join(dataDir, 'events.db'));
  db.prepare('DELETE FROM blobs WHERE sha256 = ?').run(Buffer.from(sha256, 'hex'));
  db.close();
}

/** Flips a bit of a stored blob, be it a file or a row of the event store. */
export function flipBlobBit(dataDir: string, sha256: string, offset: number): void {
  const file = join(dataDir, 'blobs', sha256.slice(0, 2), sha256.slice(2));
  if (existsSync(file)) writeFileSync(file, flipped(readFileSync(file), offset));
  else flipRow(dataDir, sha256, offset);
}

function flipRow(dataDir: string, sha256: string, offset: number): void {
  const db = new Database(join(dataDir, 'events.db'));
  const key = Buffer.from(sha256, 'hex');
  const bytes = db.prepare<Uint8Array>('SELECT bytes FROM blobs WHERE sha256 = ?').pluck().get(key);
  if (bytes === undefined) throw new Error(`there is no blob ${sha256}`);
  db.prepare('UPDATE blobs SET bytes = ? WHERE sha256 = ?').run(flipped(bytes, offset), key);
  db.close();
}

function flipped(bytes: Uint8Array, offset: number): Uint8Array {
  const copy = Buffer.from(bytes);
  copy[offset] = (copy[offset] as number) ^ 1;
  return copy;
}
