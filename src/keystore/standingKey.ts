import { pointOf } from '../ecKey.ts';
import { NusecError } from '../errors.ts';
import { ensureKey } from './ensureKey.ts';
import type { Keystore } from './port.ts';

/** A secret of 32 bytes that only the keystore gives, and that stays the same for the life of a project. It leaves the keystore, for as long as a
 *  process runs: a token would take longer for each use than the disk does for a commit. */

/** @param name of the key in the keystore @param message what the secret is for @returns whether it was made now */
export async function standingKey(
  keystore: Keystore,
  name: string,
  message: Uint8Array,
): Promise<{ readonly key: Uint8Array; readonly isNew: boolean }> {
  const keyId = `${name}/1`;
  // A list asks the object store where the keyset is shared; a key that is here needs nobody.
  const known = await keystore.mac(keyId, message).catch(unlessMissing);
  if (known !== undefined) return { key: known, isNew: false };
  await makeKey(keystore, name, message);
  return { key: await keystore.mac(keyId, message), isNew: true };
}

/** Agreed by a pair with itself: unlike a generated key, an agreed one stays the same when the keystore moves into a token. */
async function makeKey(keystore: Keystore, name: string, message: Uint8Array): Promise<void> {
  const pairId = `${name}-pair/1`;
  await ensureKey(keystore, pairId, 'P-256');
  const point = pointOf(await keystore.publicKey(pairId));
  await keystore.derive(pairId, point, { salt: new Uint8Array(), info: message }, `${name}/1`).catch(error => {
    if (!(error instanceof NusecError && error.code === 'KEY_EXISTS')) throw error;
  });
}

function unlessMissing(error: unknown): undefined {
  if (!(error instanceof NusecError && error.code === 'KEY_NOT_FOUND')) throw error;
}
