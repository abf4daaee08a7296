import { existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative, resolve } from 'node:path';
import type { Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { KeystoreSettings } from '../../config.ts';
import { NusecError } from '../../errors.ts';
import { storeError } from '../../eventstore/storeError.ts';
import { requireEventLog } from '../dataFolder/eventLog.ts';
import { requireDataFolder } from '../dataFolder/keystore.ts';
import { copyFolder, type Progress, synchronise } from './copyFolder.ts';
import { type Manifest, manifestName, readManifest } from './manifest.ts';
import { pack } from './tar.ts';

/** Backs up a data folder while a server runs. What was begun and did not come to its end leaves nothing behind. */

/** @param folder is made; nothing is written over
 *  @throws NusecError CONFLICT (it is there already), BAD_REQUEST (it is in the data folder), STATE (there is no event log), STORE_FULL, BACKUP_DAMAGED (the data folder is) */
export async function backUpToFolder(settings: KeystoreSettings, folder: string, progress: Progress): Promise<Manifest> {
  requireDataFolder(settings);
  requireEventLog(settings);
  const target = resolve(folder);
  if (!relative(resolve(settings.dataDir), target).startsWith('..'))
    throw new NusecError('BAD_REQUEST', 'a backup in the data folder goes with it: name another folder');
  if (existsSync(target) && readdirSync(target).length > 0)
    throw new NusecError('CONFLICT', `${folder} exists already: nothing is written over`);
  return whileStaged(`${target}.partial-`, async staged => {
    const manifest = await stage(settings, staged, progress);
    renameSync(staged, target);
    synchronise(dirname(target));
    return manifest;
  });
}

/** @param output gets a tar archive, after all of it was made and checked in the folder for temporary files */
export async function backUpToStream(settings: KeystoreSettings, output: Writable, progress: Progress): Promise<Manifest> {
  requireDataFolder(settings);
  requireEventLog(settings);
  return whileStaged(join(tmpdir(), 'nusec-backup-'), async staged => {
    const manifest = await stage(settings, staged, progress);
    await pipeline(pack(staged, [...manifest.files.map(({ path }) => path), manifestName]), output, { end: false });
    return manifest;
  });
}

async function stage(settings: KeystoreSettings, staged: string, progress: Progress): Promise<Manifest> {
  const copied = await copyFolder(settings, staged, progress);
  const manifest: Manifest = { format: 1, at: new Date().toISOString(), ...copied };
  writeFileSync(join(staged, manifestName), `${JSON.stringify(manifest)}\n`, { mode: 0o600, flush: true });
  synchronise(staged);
  // Read again from the disk, as a restore does.
  return readManifest(staged);
}

/** Works in a folder of its own, which goes away unless it got another name. */
async function whileStaged<Result>(prefix: string, work: (folder: string) => Promise<Result>): Promise<Result> {
  const before = process.umask(0o077);
  let folder: string | undefined;
  try {
    mkdirSync(dirname(prefix), { recursive: true });
    folder = mkdtempSync(prefix);
    return await work(folder);
  } catch (error) {
    throw isOfDisk(error) ? storeError(error, 'the backup was not made') : error;
  } finally {
    if (folder !== undefined) rmSync(folder, { recursive: true, force: true });
    process.umask(before);
  }
}

const isOfDisk = (error: unknown): boolean =>
  /^(SQLITE_|ENOSPC|EDQUOT|EROFS|EIO)/.test(String((error as { readonly code?: unknown }).code ?? ''));
