import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { toHex } from '../../bytes.ts';
import { NusecError } from '../../errors.ts';
import { placeOf, verifyStore } from '../../eventstore/verify.ts';
import { readCheckpoint } from '../../merkle/checkpoint.ts';
import { parseNote } from '../../merkle/note.ts';
import { reading } from '../../sqliteFile.ts';
import { checkpointFile } from '../proof/checkpointFiles.ts';

/** Looks at everything in a copy of a data folder: every event against its hash, the tree and the checkpoint, every blob against its name, the databases beside it. */

/** Databases beside the log. What the log says of them was written to them before. */
export const databaseNames = ['attestations.db', 'custody.db', 'custody-pkcs11.db', 'subjects.db'] as const;

/** @throws NusecError BACKUP_DAMAGED, naming the first thing that does not hold */
export function checkCopy(folder: string): { readonly events: number } {
  const file = join(folder, 'events.db');
  const checkpoint = checkpointFile(folder);
  const signed = existsSync(checkpoint) ? [readCheckpoint(parseNote(readFileSync(checkpoint, 'utf8')).text)] : [];
  const verdict = verifyStore(file, signed);
  if (!verdict.ok) throw new NusecError('BACKUP_DAMAGED', `the event log: ${placeOf(verdict)} is not what was stored (${verdict.reason})`);
  checkBlobRows(file);
  checkBlobFiles(join(folder, 'blobs'));
  for (const name of databaseNames) if (existsSync(join(folder, name))) checkDatabase(join(folder, name));
  return { events: verdict.events };
}

function checkBlobRows(file: string): void {
  reading(file, db => {
    const rows = db.prepare<[key: Uint8Array, bytes: Uint8Array]>('SELECT sha256, bytes FROM blobs').raw().iterate();
    for (const [key, bytes] of rows) requireBlob(toHex(key), bytes);
  });
}

function checkBlobFiles(folder: string): void {
  if (!existsSync(folder)) return;
  for (const first of readdirSync(folder))
    for (const rest of readdirSync(join(folder, first))) requireBlob(first + rest, readFileSync(join(folder, first, rest)));
}

function requireBlob(name: string, bytes: Uint8Array): void {
  if (createHash('sha256').update(bytes).digest('hex') !== name)
    throw new NusecError('BACKUP_DAMAGED', `blob ${name} is not what was stored`);
}

function checkDatabase(file: string): void {
  const answer = reading(file, db => db.pragma('integrity_check(1)', { simple: true }));
  if (answer !== 'ok') throw new NusecError('BACKUP_DAMAGED', `${file}: ${answer}`);
}
