import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { KeystoreSettings, ObjectStoreSettings } from '../../config.ts';
import { NusecError } from '../../errors.ts';
import { requireFolder } from '../../folder.ts';
import { type Custody, openCustody } from '../../keystore/custody.ts';
import { objectCustody } from '../../keystore/objectCustody.ts';
import type { TokenWatch } from '../../keystore/pkcs11/tokenClient.ts';
import { openPkcs11Keystore, type Pkcs11Options } from '../../keystore/pkcs11.ts';
import type { Keystore } from '../../keystore/port.ts';
import { sharedKeyset } from '../../keystore/sharedKeyset.ts';
import { openSoftwareKeystore } from '../../keystore/software.ts';
import { readPassphrase, type Unlock } from '../../keystore/unlock.ts';
import type { StoreWatch } from '../../objects/asking.ts';
import type { ObjectStore } from '../../objects/port.ts';
import { openS3 } from '../../objects/s3.ts';
import { credentialsIn } from './credentials.ts';

/** Which keystore the settings ask for, and where its files are. */

export const keysetFile = ({ dataDir }: KeystoreSettings): string => join(dataDir, 'keyset.bin');
export const keyFile = ({ dataDir }: KeystoreSettings): string => join(dataDir, 'keystore.key');

/** Boot keys wrapped by one driver do not open in the other: each has its own custody. */
export const custodyFile = ({ dataDir, keystore }: KeystoreSettings): string =>
  join(dataDir, keystore === 'pkcs11' ? 'custody-pkcs11.db' : 'custody.db');

/** @throws FOLDER_MISSING, FOLDER_REFUSED */
export const requireDataFolder = ({ dataDir }: KeystoreSettings): void => requireFolder(dataDir, `make it by nusec init --data ${dataDir}`);

/** @throws KEYSTORE_MISSING, KEYSTORE_PERMISSIONS */
export function softwareUnlock(settings: KeystoreSettings): Unlock {
  return settings.passphraseFile ? { passphrase: readPassphrase(settings.passphraseFile) } : { keyFile: keyFile(settings) };
}

/** @throws BAD_REQUEST when a setting is missing */
export function tokenOptions({
  dataDir,
  pkcs11Module,
  pkcs11Token,
  pkcs11PinFile,
}: KeystoreSettings): Required<Pick<Pkcs11Options, 'lock'>> & Pkcs11Options {
  if (!pkcs11Module || !pkcs11Token || !pkcs11PinFile)
    throw new NusecError('BAD_REQUEST', 'the pkcs11 keystore needs the settings pkcs11Module, pkcs11Token and pkcs11PinFile');
  return { module: pkcs11Module, label: pkcs11Token, pinFile: pkcs11PinFile, lock: join(dataDir, 'pkcs11') };
}

export type OpenHow = {
  /** Makes a software keyset when there is none; a token is made with its vendor's tools. */
  readonly create?: boolean;
  /** Not beside a server. */
  readonly alone?: boolean;
  /** Called when the token is lost, hangs or refuses its PIN, so that an operator is informed, and when it is there again. */
  readonly watch?: TokenWatch;
  /** What the caller has open, and closes; by default the keystore opens it for itself. */
  readonly objects?: ObjectStore | undefined;
};

/** @throws FOLDER_MISSING, FOLDER_REFUSED; as the driver: wrong passphrase or PIN, KEYSTORE_LOCKED, damaged, token not there */
export function openKeystore(
  settings: KeystoreSettings,
  { create = false, alone = false, watch = {}, objects }: OpenHow = {},
): Promise<Keystore> {
  requireDataFolder(settings);
  if (settings.keystore === 'pkcs11') return openPkcs11Keystore({ ...tokenOptions(settings), alone, watch });
  return openKeysetOf(settings, { create, alone, objects });
}

async function openKeysetOf(
  settings: KeystoreSettings,
  { create, alone, objects: given }: Required<Pick<OpenHow, 'create' | 'alone'>> & Pick<OpenHow, 'objects'>,
): Promise<Keystore> {
  const file = keysetFile(settings);
  const unlock = softwareUnlock(settings);
  const options = { file, unlock, create: create && !existsSync(file), alone };
  const objects = given ?? (await openObjects(settings));
  if (objects === undefined) return openSoftwareKeystore(options);
  const shared = { ...options, shared: sharedKeyset(objects, file, unlock) };
  if (given !== undefined) return openSoftwareKeystore(shared);
  try {
    const keystore = await openSoftwareKeystore(shared);
    return { ...keystore, close: () => keystore.close().finally(objects.close) };
  } catch (error) {
    objects.close();
    throw error;
  }
}

/** What several machines share beside the log; undefined where the data folder has it. @throws NusecError as openS3, and of the file of credentials */
export async function openObjects(
  { objectStore, objectStoreCredentialsFile: file }: ObjectStoreSettings,
  watch?: StoreWatch,
): Promise<ObjectStore | undefined> {
  if (objectStore === undefined) return undefined;
  return openS3({ url: objectStore, credentials: file === undefined ? undefined : credentialsIn(file, 'the object store'), watch });
}

/** @throws NusecError as openObjects and openCustody */
export async function openProjectCustody(settings: KeystoreSettings): Promise<Custody> {
  const objects = await openObjects(settings);
  if (objects === undefined) return openCustody(custodyFile(settings));
  return { ...objectCustody(objects, settings.keystore), close: async () => objects.close() };
}

export const hasCustody = (settings: KeystoreSettings): boolean => settings.objectStore !== undefined || existsSync(custodyFile(settings));
