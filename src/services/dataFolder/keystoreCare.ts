import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { EventLogSettings, KeystoreSettings } from '../../config.ts';
import type { EventMap, EventType } from '../../domain/events.ts';
import { NusecError } from '../../errors.ts';
import { createIdSource } from '../../eventstore/ids.ts';
import type { JsonObject } from '../../eventstore/port.ts';
import { newEvent } from '../../eventstore/recorded.ts';
import { makeFolder } from '../../folder.ts';
import { type BackupContent, restoreBackup, writeBackup } from '../../keystore/backup.ts';
import { bootKekGeneration } from '../../keystore/bootKeys.ts';
import type { Custody } from '../../keystore/custody.ts';
import { drillBackup, type Proof } from '../../keystore/drill.ts';
import { type Migration, migrateToToken } from '../../keystore/migrate.ts';
import { openPkcs11Keystore } from '../../keystore/pkcs11.ts';
import type { KeyAlgorithm, KeyInfo, Keystore } from '../../keystore/port.ts';
import { type KekRotation, readKeyset, rekeyKeyset, resumeKeyFile, rotateBootKek, rotateKeyFile } from '../../keystore/rotation.ts';
import { createSecretFile } from '../../keystore/secretFile.ts';
import { type SharedKeyset, sharedKeyset } from '../../keystore/sharedKeyset.ts';
import { readPassphrase, type Unlock } from '../../keystore/unlock.ts';
import { livingServers } from '../processes/serverList.ts';
import { eventsFile, openEventLog } from './eventLog.ts';
import {
  custodyFile,
  hasCustody,
  keyFile,
  keysetFile,
  openKeystore,
  openObjects,
  openProjectCustody,
  requireDataFolder,
  softwareUnlock,
  tokenOptions,
} from './keystore.ts';

/** Care of the keys is recorded in the event log. */
type CareSettings = KeystoreSettings & EventLogSettings;

/** Care of the keystore on the server's own machine: `nusec keystore`. Who changed what is recorded in stream `keystore`. */

export type KeystoreStatus = {
  readonly driver: KeystoreSettings['keystore'];
  readonly keys: readonly { readonly id: string; readonly algorithm: KeyAlgorithm; readonly createdAt: string }[];
  /** Newest key-encryption key of boot keys; none before the ceremony. */
  readonly bootKek?: string;
  readonly bootKeys: number;
  readonly destroyedBootKeys: number;
  /** Boot keys still wrapped under each key-encryption key: more than one after a rotation that was cut off. */
  readonly wrappedBy: Readonly<Record<string, number>>;
};

/** Only looks, also while a server runs. @throws as opening the keystore */
export async function keystoreStatus(settings: CareSettings): Promise<KeystoreStatus> {
  const infos =
    settings.keystore === 'pkcs11' ? await tokenKeys(settings) : (await readKeyset(keysetFile(settings), softwareUnlock(settings))).entries;
  const keys = infos.map(({ id, algorithm, createdAt }) => ({ id, algorithm, createdAt })).toSorted((a, b) => (a.id < b.id ? -1 : 1));
  const bootKek = keys.map(key => key.id).toSorted((a, b) => (bootKekGeneration(b) ?? 0) - (bootKekGeneration(a) ?? 0))[0];
  const counts = hasCustody(settings) ? await withCustody(settings, countsOf) : noBootKeys;
  return {
    driver: settings.keystore,
    keys,
    ...(bootKek !== undefined && bootKekGeneration(bootKek) !== undefined && { bootKek }),
    ...counts,
  };
}

const noBootKeys = { bootKeys: 0, destroyedBootKeys: 0, wrappedBy: {} };

async function countsOf(custody: Custody): Promise<Pick<KeystoreStatus, 'bootKeys' | 'destroyedBootKeys' | 'wrappedBy'>> {
  const wrappedBy = Object.fromEntries(await custody.wrappedBy());
  const bootKeys = Object.values(wrappedBy).reduce((sum, count) => sum + count, 0);
  return { bootKeys, destroyedBootKeys: (await custody.count()) - bootKeys, wrappedBy };
}

async function tokenKeys(settings: CareSettings): Promise<readonly KeyInfo[]> {
  const { lock: _, ...options } = tokenOptions(settings);
  const keystore = await openPkcs11Keystore(options);
  try {
    return await keystore.list();
  } finally {
    await keystore.close();
  }
}

export type Rotation = KekRotation & { /** Keys of the software keyset under a new file key. */ readonly rekeyed?: number };

/** A new key-encryption key, every boot key under it; with the software driver also a new file key, and a new key file or the passphrase in
 *  `newPassphraseFile`. Where machines share the keyset, a person brings the new secret to the others before they start again.
 *  While no server runs, on any machine. Cut off, it is done again. @throws KEYSTORE_LOCKED, and as the rotations */
export async function rotateKeystore(
  settings: CareSettings,
  newPassphraseFile?: string,
  progress?: (rewrapped: number) => void,
): Promise<Rotation> {
  if (newPassphraseFile !== undefined && (settings.keystore === 'pkcs11' || !settings.passphraseFile))
    throw new NusecError('BAD_REQUEST', 'a new passphrase is for a keyset that a passphrase opens');
  const objects = settings.keystore === 'software' ? await openObjects(settings) : undefined;
  const sharedBy = (unlock: Unlock) => objects && sharedKeyset(objects, keysetFile(settings), unlock);
  try {
    if (settings.keystore === 'software' && !settings.passphraseFile)
      await resumeKeyFile({ file: keysetFile(settings), keyFile: keyFile(settings), sharedBy });
    const rotated = await rotateKek(settings, progress);
    const rekeyed = settings.keystore === 'software' ? await rekey(settings, newPassphraseFile, sharedBy) : undefined;
    const result = { ...rotated, ...(rekeyed !== undefined && { rekeyed }) };
    const opens = newPassphraseFile === undefined ? settings : { ...settings, passphraseFile: newPassphraseFile };
    await recordCare(opens, 'KeystoreRotated', result);
    return result;
  } finally {
    objects?.close();
  }
}

async function rotateKek(settings: CareSettings, progress?: (rewrapped: number) => void): Promise<KekRotation> {
  const keystore = await openKeystore(settings, { alone: true });
  try {
    await requireNoServerElsewhere(settings, keystore);
    return await withCustody(settings, custody => rotateBootKek(keystore, custody, progress));
  } finally {
    await keystore.close();
  }
}

/** A boot key that another machine wraps under the old key after all others were wrapped again would be lost with that key.
 *  @throws NusecError KEYSTORE_LOCKED */
async function requireNoServerElsewhere(settings: CareSettings, keystore: Keystore): Promise<void> {
  if (settings.eventStore === undefined) return;
  const store = await openEventLog(settings, keystore);
  try {
    const [living] = store.servers === undefined ? [] : await livingServers(store.servers);
    if (living !== undefined)
      throw new NusecError('KEYSTORE_LOCKED', `a server runs at ${living.host}:${living.port}: stop the servers of all machines`);
  } finally {
    await store.close();
  }
}

function rekey(
  settings: CareSettings,
  newPassphraseFile: string | undefined,
  sharedBy: (unlock: Unlock) => SharedKeyset | undefined,
): Promise<number> {
  const file = keysetFile(settings);
  if (!settings.passphraseFile) return rotateKeyFile({ file, keyFile: keyFile(settings), sharedBy });
  const passphrase = readPassphrase(newPassphraseFile ?? settings.passphraseFile);
  const unlock = softwareUnlock(settings);
  return rekeyKeyset({ file, unlock, newUnlock: { passphrase }, shared: sharedBy(unlock) });
}

export type BackupRequest = { readonly file: string; readonly sharesFolder: string; readonly threshold: number; readonly shares: number };
export type BackupResult = BackupContent & { readonly shareFiles: readonly string[]; readonly recorded: boolean };

/** Writes the backup and one file (mode 600) per share. A server may run.
 *  @throws KEY_REFUSED for a token: its keys do not leave it; KEY_EXISTS, BAD_REQUEST */
export async function backUpKeystore(settings: CareSettings, { sharesFolder, ...plan }: BackupRequest): Promise<BackupResult> {
  if (settings.keystore === 'pkcs11')
    throw new NusecError('KEY_REFUSED', 'the keys of a token do not leave it: back it up with its own tools, and copy the custody');
  makeFolder(sharesFolder);
  const places = { keyset: keysetFile(settings), unlock: softwareUnlock(settings) };
  const { shareTexts, ...content } = await withCustody(settings, custody => writeBackup({ ...places, custody, ...plan }));
  const shareFiles = shareTexts.map((text, index) => {
    const file = join(sharesFolder, `share-${index + 1}-of-${plan.shares}-${content.backupIdHex}.txt`);
    createSecretFile(file, new TextEncoder().encode(`${text}\n`));
    return file;
  });
  const { threshold, shares } = plan;
  const recorded = await recordCare(settings, 'KeystoreBackedUp', { ...content, threshold, shares });
  return { ...content, shareFiles, recorded };
}

/** @throws as restoreBackup; KEY_EXISTS when the data folder has a keystore */
export function restoreKeystore(settings: CareSettings, file: string, shareTexts: readonly string[]): Promise<BackupContent> {
  makeFolder(settings.dataDir);
  const software = { ...settings, keystore: 'software' } as const;
  return restoreBackup({
    file,
    shareTexts,
    keyset: keysetFile(software),
    custody: custodyFile(software),
    newUnlock: softwareUnlock(software),
  });
}

/** Restores into a folder that goes away, and uses every key. @throws as drillBackup */
export const drillKeystore = (file: string, shareTexts: readonly string[]): Promise<BackupContent & Proof> => drillBackup(file, shareTexts);

/** From the software keystore of the data folder into the token of the settings. @throws as migrateToToken */
export async function migrateKeystore(settings: CareSettings): Promise<Migration> {
  const [software, token] = [{ ...settings, keystore: 'software' } as const, { ...settings, keystore: 'pkcs11' } as const];
  requireDataFolder(settings);
  const migrated = await migrateToToken({
    keyset: keysetFile(software),
    unlock: softwareUnlock(software),
    custody: custodyFile(software),
    token: tokenOptions(token),
    tokenCustody: custodyFile(token),
  });
  await recordCare(settings, 'KeystoreMigrated', { ...migrated, token: settings.pkcs11Token ?? '' });
  return migrated;
}

async function withCustody<Result>(settings: CareSettings, work: (custody: Custody) => Promise<Result>): Promise<Result> {
  const custody = await openProjectCustody(settings);
  try {
    return await work(custody);
  } finally {
    await custody.close();
  }
}

/** @returns false when there is no store here */
async function recordCare<Type extends EventType>(settings: CareSettings, type: Type, data: EventMap[Type] & JsonObject): Promise<boolean> {
  if (!existsSync(eventsFile(settings))) return false;
  const keystore = await openKeystore(settings);
  const store = await openEventLog(settings, keystore).catch(async error => {
    await keystore.close();
    throw error;
  });
  try {
    const envelope = { id: createIdSource()(), at: new Date().toISOString(), by: 'system:keystore' };
    await store.append('keystore', 'any', [newEvent(type, data, envelope)]);
    return true;
  } finally {
    await store.close();
    await keystore.close();
  }
}
