import { copyFileSync, createReadStream, existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, statSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import type { Readable } from 'node:stream';
import { readSettings, type Settings } from '../../config.ts';
import { sha256Hex } from '../../digest.ts';
import { NusecError } from '../../errors.ts';
import { moveOutOfKurrent } from '../../eventstore/kurrentdb/move.ts';
import { storeError } from '../../eventstore/storeError.ts';
import { openCustody } from '../../keystore/custody.ts';
import { eventsFile } from '../dataFolder/eventLog.ts';
import { custodyFile, keyFile, keysetFile, openKeystore } from '../dataFolder/keystore.ts';
import type { Accepted } from './acceptStore.ts';
import { checkCopy } from './checkCopy.ts';
import { synchronise } from './copyFolder.ts';
import { isBackupPath, type Manifest, manifestName, readManifest } from './manifest.ts';
import { takeUp } from './takeUp.ts';
import { unpack } from './tar.ts';

/** Puts a backup into a data folder. Everything is looked at beside it first; the folder gets it only when all of it holds. */

export type Restored = Accepted & { readonly at: string };

/** @param source a folder, a tar archive, or a stream of one
 *  @param dataDir not there, or with nothing but the keystore that the backup belongs to, and settings
 *  @param tokens none, or those of two administrators, for a backup that lacks what this machine has known
 *  @param isDatabaseLost the log of the backup is a copy of one in KurrentDB that is gone: it becomes the log
 *  @throws NusecError CONFLICT (a store is there), STATE (its log is in KurrentDB), BACKUP_DAMAGED, KEYSTORE_MISSING, KEY_REFUSED (another project's keystore), STORE_OLDER, and as takeUp */
export async function restoreBackup(
  source: string | Readable,
  dataDir: string,
  tokens: readonly string[],
  isDatabaseLost = false,
): Promise<Restored> {
  const target = resolve(dataDir);
  requireNoStore(target);
  const before = process.umask(0o077);
  mkdirSync(dirname(target), { recursive: true });
  // A folder that is there may be all that this user writes to, and a disk of its own.
  const staged = mkdtempSync(existsSync(target) ? join(target, stagedName) : `${target}${stagedName}`);
  try {
    const manifest = await take(source, staged);
    const { events } = await checkCopy(staged);
    if (events !== manifest.events) throw new NusecError('BACKUP_DAMAGED', `it has ${events} events, and had ${manifest.events}`);
    for (const file of ownFiles(target)) copyFileSync(join(target, file), join(staged, file));
    rmSync(join(staged, manifestName));
    const { eventStore, ...own } = readSettings(staged);
    const settings: Settings = { ...own, ...(!isDatabaseLost && eventStore !== undefined && { eventStore }) };
    await requireKeystore(settings, manifest);
    if (isDatabaseLost) await moveOutOfKurrent({ file: eventsFile(settings) }, async () => {});
    const accepted = await takeUp(settings, tokens);
    requireNoStore(target);
    moveInto(staged, target);
    return { at: manifest.at, ...accepted };
  } catch (error) {
    throw (error as { readonly code?: unknown }).code === 'ENOSPC' ? storeError(error, 'the backup was not restored') : error;
  } finally {
    rmSync(staged, { recursive: true, force: true });
    process.umask(before);
  }
}

/** What a folder may have before a backup comes into it: its keystore and its settings; and compiled code, which the launcher keeps in the home of its
 *  user, where that is the data folder (docs/deploy.md). */
const ownNames: ReadonlySet<string> = new Set(['keyset.bin', 'keystore.key', 'nusec.json', 'custody.db', 'custody-pkcs11.db']);
const isLock = (name: string): boolean => /\.lock(-journal)?$/.test(name);
const isCache = (name: string): boolean => name === '.cache';
const stagedName = '.restoring-';
const isStaged = (name: string): boolean => name.startsWith(stagedName);
const ownFiles = (target: string): readonly string[] =>
  existsSync(target) ? readdirSync(target).filter(name => ownNames.has(name) && !name.startsWith('custody')) : [];

function requireNoStore(target: string): void {
  const others = existsSync(target)
    ? readdirSync(target).filter(name => !(ownNames.has(name) || isLock(name) || isCache(name) || isStaged(name)))
    : [];
  if (others.length > 0)
    throw new NusecError(
      'CONFLICT',
      `${target} has ${others[0]} already: a backup is not restored over anything; move the folder away first`,
    );
}

async function take(source: string | Readable, staged: string): Promise<Manifest> {
  if (typeof source !== 'string') await unpack(source, staged);
  else if (!statSync(source).isDirectory()) await unpack(createReadStream(source) as AsyncIterable<Uint8Array>, staged);
  else {
    const paths = readdirSync(source, { recursive: true, encoding: 'utf8' }).filter(isBackupPath);
    for (const path of paths) {
      mkdirSync(dirname(join(staged, path)), { recursive: true });
      copyFileSync(join(source, path), join(staged, path));
      synchronise(join(staged, path));
    }
  }
  return readManifest(staged);
}

/** @throws NusecError KEYSTORE_MISSING, KEY_REFUSED (it is another project's, or too old for the boot keys of the backup) */
async function requireKeystore(settings: Settings, { keystore: { driver, keyId, publicKeySha256 } }: Manifest): Promise<void> {
  const hint = 'restore it first (nusec keystore restore), or copy its files into the folder';
  if (settings.keystore !== driver) throw new NusecError('KEY_REFUSED', `the backup belongs to a keystore of the kind ${driver}: ${hint}`);
  if (driver === 'software' && !existsSync(keysetFile(settings)))
    throw new NusecError('KEYSTORE_MISSING', `a backup has no keys, and the folder has no keyset.bin: ${hint}`);
  if (driver === 'software' && !settings.passphraseFile && !existsSync(keyFile(settings)))
    throw new NusecError('KEYSTORE_MISSING', `the folder has no keystore.key, and no passphrase file is set: ${hint}`);
  const keystore = await openKeystore(settings);
  try {
    const ids = new Set((await keystore.list()).map(({ id }) => id));
    if (!ids.has(keyId) || sha256Hex(await keystore.publicKey(keyId)) !== publicKeySha256)
      throw new NusecError('KEY_REFUSED', 'the keystore is that of another project');
    const lacking = (await wrappersIn(settings)).filter(id => !ids.has(id));
    if (lacking.length > 0) throw new NusecError('KEY_REFUSED', `the keystore is older than the backup: it has no ${lacking.join(', ')}`);
  } finally {
    await keystore.close();
  }
}

/** Keys that boot keys of the custody are wrapped under. */
async function wrappersIn(settings: Settings): Promise<readonly string[]> {
  if (!existsSync(custodyFile(settings))) return [];
  const custody = openCustody(custodyFile(settings));
  const wrappers = [...(await custody.wrappedBy()).keys()];
  await custody.close();
  return wrappers;
}

/** The log comes last: a folder without it is no store yet. */
function moveInto(staged: string, target: string): void {
  if (!existsSync(target)) renameSync(staged, target);
  else {
    const names = readdirSync(staged).toSorted(
      (a, b) => Number(a.startsWith('events.db')) - Number(b.startsWith('events.db')) || (a < b ? -1 : 1),
    );
    for (const name of names.filter(each => !isLock(each))) renameSync(join(staged, name), join(target, name));
    synchronise(target);
  }
  synchronise(dirname(target));
}
