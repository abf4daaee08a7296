import { closeSync, constants, copyFileSync, existsSync, fsyncSync, mkdirSync, openSync, readdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { fromBase64url } from '../../bytes.ts';
import type { KeystoreSettings } from '../../config.ts';
import { sha256Hex } from '../../digest.ts';
import type { EventType } from '../../domain/events.ts';
import { NusecError } from '../../errors.ts';
import { parseCertificate } from '../../pki/parse.ts';
import { reading } from '../../sqliteFile.ts';
import { eventsFile } from '../dataFolder/eventLog.ts';
import { checkpointFile } from '../proof/checkpointFiles.ts';
import { checkCopy, databaseNames } from './checkCopy.ts';
import { filesIn, type Manifest } from './manifest.ts';

/** Copies a data folder while a server writes to it, so that what is copied fits together. The keys stay in their keystore. */

export type Progress = (what: string, part: number) => void;

const pagesAtOnce = 1000;

/** The order matters: the checkpoint is older than the log, the log is as of one moment, and whatever it names is copied after it was written.
 *  @param into an empty folder @throws NusecError BACKUP_DAMAGED (what is copied does not hold), STORE_FULL; what the file system says */
export async function copyFolder(settings: KeystoreSettings, into: string, progress: Progress): Promise<Omit<Manifest, 'format' | 'at'>> {
  const { dataDir } = settings;
  for (const file of [checkpointFile(dataDir), join(dataDir, 'root.pem'), join(dataDir, 'nusec.json')])
    copyIfThere(file, join(into, nameOf(file)));
  // Twice: a list that is replaced meanwhile takes its file away, and what is new comes with the log.
  copyBlobs(dataDir, into);
  await copyDatabase(eventsFile(settings), join(into, 'events.db'), part => progress('event log', part));
  copyBlobs(dataDir, into);
  for (const name of databaseNames)
    if (existsSync(join(dataDir, name))) await copyDatabase(join(dataDir, name), join(into, name), part => progress(name, part));
  progress('check', 0);
  const { events } = await checkCopy(into);
  progress('check', 1);
  return {
    events,
    ...identityOf(join(into, 'events.db')),
    keystore: keystoreOf(settings, join(into, 'events.db')),
    files: [...(await filesIn(into))],
  };
}

const nameOf = (file: string): string => file.slice(file.lastIndexOf('/') + 1);

function copyIfThere(from: string, to: string): boolean {
  try {
    copyFileSync(from, to, constants.COPYFILE_FICLONE);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw error;
  }
  synchronise(to);
  return true;
}

/** A blob's file never changes: what has been copied is not copied again. */
function copyBlobs(dataDir: string, into: string): void {
  const from = join(dataDir, 'blobs');
  if (!existsSync(from)) return;
  for (const first of readdirSync(from).filter(name => /^[0-9a-f]{2}$/.test(name))) {
    mkdirSync(join(into, 'blobs', first), { recursive: true });
    for (const rest of readdirSync(join(from, first)).filter(name => /^[0-9a-f]{62}$/.test(name)))
      if (!existsSync(join(into, 'blobs', first, rest))) copyIfThere(join(from, first, rest), join(into, 'blobs', first, rest));
    synchronise(join(into, 'blobs', first));
  }
}

/** As of one moment, whatever is written meanwhile. */
async function copyDatabase(from: string, to: string, progress: (part: number) => void): Promise<void> {
  const source = new Database(from, { fileMustExist: true, timeout: 5000 });
  try {
    source.exec('BEGIN');
    source.prepare('SELECT count(*) FROM sqlite_master').get();
    await source.backup(to, {
      progress({ totalPages, remainingPages }) {
        progress(1 - remainingPages / totalPages);
        return pagesAtOnce;
      },
    });
  } finally {
    source.close();
  }
  // One file, without the log beside it that belongs to a store that is open.
  const copy = new Database(to);
  copy.pragma('journal_mode = DELETE');
  copy.close();
  for (const suffix of ['-wal', '-shm']) rmSync(to + suffix, { force: true });
  synchronise(to);
}

export function synchronise(path: string): void {
  const fd = openSync(path, statSync(path).isDirectory() ? 'r' : 'r+');
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

type RootData = { readonly keyId: string; readonly certificate: string };

const firstRoot = 'RootCaEstablished' satisfies EventType;

/** The first root of the project, from the event that made it. */
function rootIn(file: string): RootData {
  const sql = `SELECT body -> 6 FROM events WHERE body ->> 0 = '${firstRoot}' ORDER BY position LIMIT 1`;
  const found = reading(file, db => db.prepare<string>(sql).pluck().get());
  if (found === undefined) throw new NusecError('STATE', 'the project is not initialised: there is nothing to back up');
  return JSON.parse(found) as RootData;
}

function identityOf(file: string): Pick<Manifest, 'project' | 'newestHash'> {
  const newestHash = reading(file, db => db.prepare<string>('SELECT hash FROM events ORDER BY position DESC LIMIT 1').pluck().get()) ?? '';
  return { project: sha256Hex(fromBase64url(rootIn(file).certificate)), newestHash };
}

function keystoreOf({ keystore: driver }: KeystoreSettings, file: string): Manifest['keystore'] {
  const { keyId, certificate } = rootIn(file);
  return { driver, keyId, publicKeySha256: sha256Hex(parseCertificate(fromBase64url(certificate)).spki) };
}
