import { equalBytes } from '../../bytes.ts';
import type { Settings } from '../../config.ts';
import { NusecError } from '../../errors.ts';
import { makeFolder } from '../../folder.ts';
import { createSecretFile, readSecretFile } from '../../keystore/secretFile.ts';
import { keyFile as keyFileOf } from './keystore.ts';

const maxKeyFileBytes = 1024;

/** Makes the data folder of a further machine, ready to be opened: what is in it comes from the event store and the object store.
 *  @param keyFile copy of the key file of another machine; none when a passphrase or a token opens the keys
 *  @throws NusecError BAD_REQUEST, KEYSTORE_MISSING, KEYSTORE_PERMISSIONS, KEY_EXISTS, FOLDER_REFUSED */
export function makeFurtherFolder(settings: Settings, keyFile?: string): void {
  const { eventStore, objectStore, dataDir } = settings;
  if (eventStore === undefined || objectStore === undefined)
    throw new NusecError('BAD_REQUEST', 'which project: give --event-store and --object-store');
  makeFolder(dataDir);
  if (keyFile === undefined) return;
  const secret = readSecretFile(keyFile, maxKeyFileBytes);
  if (secret === undefined) throw new NusecError('KEYSTORE_MISSING', `there is no key file ${keyFile}`);
  const here = readSecretFile(keyFileOf(settings), maxKeyFileBytes);
  if (here === undefined) createSecretFile(keyFileOf(settings), secret);
  else if (!equalBytes(here, secret))
    throw new NusecError(
      'KEY_EXISTS',
      `${keyFileOf(settings)} is another key file: after a rotation put the new one in its place yourself`,
    );
}
