import { NusecError } from '../errors.ts';
import type { KeyAlgorithm, Keystore } from './port.ts';

/** Makes a key when it is missing; another process may have been faster. @throws as `generate`, but for KEY_EXISTS */
export async function ensureKey(keystore: Keystore, id: string, algorithm: KeyAlgorithm): Promise<void> {
  if ((await keystore.list()).some(key => key.id === id)) return;
  await keystore.generate(id, algorithm).catch(error => {
    if (!(error instanceof NusecError && error.code === 'KEY_EXISTS')) throw error;
  });
}
