import { crc32 } from 'node:zlib';
import Database from 'better-sqlite3';
import { toHex } from '../../src/bytes.ts';

type Row = [string, string, Uint8Array, string, Uint8Array | null, string | null];

/** Changes the custody database as a person would who knows its format: the checksums fit again.
 *  @param sql an UPDATE of `custody_key`, with the values of its parameters */
export function forgeRows(file: string, sql: string, ...values: readonly string[]): void {
  const database = new Database(file);
  database.prepare(sql).run(...values);
  const rows = database.prepare<Row>('SELECT key_id, kek_id, public_key, created_at, wrapped, destroyed_at FROM custody_key').raw().all();
  const update = database.prepare('UPDATE custody_key SET crc = ? WHERE key_id = ?');
  for (const [keyId, kekId, publicKey, createdAt, wrapped, destroyedAt] of rows) {
    const text = JSON.stringify([keyId, kekId, toHex(publicKey), createdAt, wrapped && toHex(wrapped), destroyedAt]);
    update.run(crc32(text), keyId);
  }
  database.close();
}
