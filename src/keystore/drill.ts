import { randomBytes, verify } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { toBase64url, utf8 } from '../bytes.ts';
import { sha256 } from '../digest.ts';
import { curveOf, digestOf, importKey } from '../ecKey.ts';
import { NusecError } from '../errors.ts';
import { type BackupContent, restoreBackup } from './backup.ts';
import { type Custody, openCustody } from './custody.ts';
import type { Keystore } from './port.ts';
import { pages } from './rotation.ts';
import { openSoftwareKeystore } from './software.ts';

/** Restore drill: does the backup in the drawer bring everything back? It is restored into a folder that goes away, and every key is used. */

export type Proof = { readonly keys: number; readonly bootKeys: number; readonly destroyedBootKeys: number };

const probe = utf8('NuSEC keystore drill v1');
/** Nobody attacks a passphrase of 32 random bytes that lives for seconds. */
const drillCost = { memoryKiB: 64, passes: 1, lanes: 1 };

/** @throws as restoreBackup and proveKeystore */
export async function drillBackup(file: string, shareTexts: readonly string[]): Promise<BackupContent & Proof> {
  const folder = mkdtempSync(join(tmpdir(), 'nusec-drill-'));
  const [keyset, custodyFile] = [join(folder, 'keyset'), join(folder, 'custody')];
  const unlock = { passphrase: toBase64url(randomBytes(32)) };
  try {
    const content = await restoreBackup({ file, shareTexts, keyset, custody: custodyFile, newUnlock: unlock, argon2Cost: drillCost });
    const custody = openCustody(custodyFile);
    const keystore = await openSoftwareKeystore({ file: keyset, unlock });
    try {
      return { ...content, ...(await proveKeystore(keystore, custody)) };
    } finally {
      await keystore.close();
      await custody.close();
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Uses every key once: each private key answers for its public key. With either driver.
 *  @throws KEYSTORE_DAMAGED naming the key that does not, KEY_REFUSED or KEY_NOT_FOUND for a boot key that does not open */
export async function proveKeystore(keystore: Keystore, custody: Custody): Promise<Proof> {
  const keys = await keystore.list();
  for (const { id, publicKey } of keys) {
    if (publicKey) answersFor(id, publicKey, await keystore.sign(id, probe));
    else await keystore.mac(id, probe);
  }
  let [bootKeys, destroyedBootKeys] = [0, 0];
  for await (const page of pages(custody)) {
    for (const { keyId, kekId, publicKey, wrapped } of page) {
      if (wrapped) answersFor(keyId, publicKey, await keystore.signWrapped(kekId, keyId, wrapped, sha256(probe)));
      if (wrapped) bootKeys += 1;
      else destroyedBootKeys += 1;
    }
  }
  return { keys: keys.length, bootKeys, destroyedBootKeys };
}

function answersFor(id: string, publicKey: Uint8Array, signature: Uint8Array): void {
  const curve = curveOf(publicKey);
  if (!curve || !verify(digestOf[curve], probe, importKey(publicKey), signature))
    throw new NusecError('KEYSTORE_DAMAGED', `key ${id} does not sign for its public key`);
}
