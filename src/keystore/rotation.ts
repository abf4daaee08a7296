import { randomBytes as cryptoRandomBytes } from 'node:crypto';
import { existsSync, renameSync } from 'node:fs';
import { NusecError } from '../errors.ts';
import { lockFile } from '../fileLock.ts';
import { bootKekGeneration, bootKekId, newestBootKek } from './bootKeys.ts';
import type { Custody, CustodyKey } from './custody.ts';
import { replaceFile } from './durableFile.ts';
import { encodeKeyset, type KeysetEntry, type KeysetKeys, maxKeysetBytes, newKeyset, openKeyset, type RandomBytes } from './keyset.ts';
import { unwrapKey, wrapKey } from './kwp.ts';
import type { Keystore } from './port.ts';
import { readSecretFile } from './secretFile.ts';
import type { SharedKeyset } from './sharedKeyset.ts';
import { type Argon2Cost, checkNewPassphrase, defaultArgon2Cost, ensureKeyFile, type Unlock } from './unlock.ts';

/** Replaces old secrets by new ones. Both rotations can be interrupted at any moment; run again, they resume. */

export type KekRotation = { readonly kekId: string; readonly rewrapped: number; readonly retired: readonly string[] };

const pageKeys = 500;

/** A new key-encryption key for boot keys: every boot key is wrapped again under it, then the old ones are destroyed. With either driver, while
 *  nobody else uses the custody.
 *  @throws KEY_REFUSED when a boot key does not open: it is named, and the old key-encryption keys stay */
export async function rotateBootKek(
  keystore: Keystore,
  custody: Custody,
  progress: (rewrapped: number) => void = () => {},
): Promise<KekRotation> {
  const newest = await newestBootKek(keystore);
  const isCutOff = [...(await custody.wrappedBy()).keys()].some(kekId => kekId !== newest);
  const kekId = isCutOff ? newest : bootKekId((bootKekGeneration(newest) ?? 0) + 1);
  if (!isCutOff) await keystore.generate(kekId, 'AES-256');
  let rewrapped = 0;
  for await (const page of pages(custody)) {
    const old = page.filter(key => key.kekId !== kekId && key.wrapped !== undefined);
    await Promise.all(old.map(key => rewrapOne(keystore, custody, key, kekId)));
    rewrapped += old.length;
    progress(rewrapped);
  }
  return { kekId, rewrapped, retired: await retireOthers(keystore, custody, kekId) };
}

async function rewrapOne(keystore: Keystore, custody: Custody, key: CustodyKey, kekId: string): Promise<void> {
  const wrapped = await keystore.rewrap(key.kekId, key.keyId, key.wrapped as Uint8Array, kekId).catch(cause => {
    if (cause instanceof NusecError && cause.code === 'KEY_REFUSED')
      throw new NusecError('KEY_REFUSED', `boot key ${key.keyId} does not open under ${key.kekId}`, { cause });
    throw cause;
  });
  await custody.replaceWrapping({ keyId: key.keyId, kekId, wrapped }, key.kekId);
}

async function retireOthers(keystore: Keystore, custody: Custody, kekId: string): Promise<readonly string[]> {
  const used = await custody.wrappedBy();
  const retired = (await keystore.list()).map(key => key.id).filter(id => bootKekGeneration(id) && id !== kekId && !used.has(id));
  for (const id of retired) await keystore.destroy(id);
  return retired;
}

/** All of a custody in pages, in the order of key ids. */
export async function* pages(custody: Pick<Custody, 'list'>): AsyncGenerator<readonly CustodyKey[]> {
  for (let page = await custody.list('', pageKeys); page.length > 0; page = await custody.list(page.at(-1)?.keyId ?? '', pageKeys))
    yield page;
}

export type RekeyOptions = {
  readonly file: string;
  readonly unlock: Unlock;
  /** What opens the keyset from now on; a key file that is missing is made. */
  readonly newUnlock: Unlock;
  /** Where machines share the keyset, as what opens it before finds it. */
  readonly shared?: SharedKeyset | undefined;
  readonly argon2Cost?: Argon2Cost;
  readonly randomBytes?: RandomBytes;
};

/** A new file key for the software keyset: all keys are wrapped again, and the file is replaced in one step.
 *  @returns how many keys there are
 *  @throws as openSoftwareKeystore; KEYSTORE_LOCKED while a server has it open; STATE when another machine has changed it meanwhile */
export async function rekeyKeyset(options: RekeyOptions): Promise<number> {
  const { file, unlock, newUnlock, shared, argon2Cost, randomBytes = cryptoRandomBytes } = options;
  const lock = lockFile(file, 'alone');
  try {
    await shared?.pull();
    const { keys, entries } = await readKeyset(file, unlock);
    if ('passphrase' in newUnlock) checkNewPassphrase(newUnlock.passphrase);
    else ensureKeyFile(newUnlock.keyFile, randomBytes);
    const fresh = await newKeyset(newUnlock, argon2Cost ?? defaultArgon2Cost, randomBytes);
    const rewrapped = entries.map(entry => ({ ...entry, wrapped: moved(entry.wrapped, keys, fresh) }));
    const content = encodeKeyset(fresh, rewrapped, randomBytes);
    if (shared === undefined) await replaceFile(file, content);
    else if (!(await shared.push(content))) throw new NusecError('STATE', 'another machine has changed the keyset meanwhile: run it again');
    return entries.length;
  } finally {
    lock.release();
  }
}

export type KeyFileOptions = Omit<RekeyOptions, 'unlock' | 'newUnlock' | 'shared'> & {
  readonly keyFile: string;
  /** Where machines share the keyset, as this opens it. */
  readonly sharedBy?: (unlock: Unlock) => SharedKeyset | undefined;
};

/** Rekeys a keyset that a key file opens, with a new key file: it is made as `{keyFile}.next`, and takes the old one's place once the keyset
 *  opens with it. @returns how many keys there are @throws as rekeyKeyset */
export async function rotateKeyFile(options: KeyFileOptions): Promise<number> {
  const { keyFile, sharedBy, ...rest } = options;
  const done = await resumeKeyFile(options);
  if (done !== undefined) return done;
  const [unlock, newUnlock] = [{ keyFile }, { keyFile: nextTo(keyFile) }];
  const keys = await rekeyKeyset({ ...rest, unlock, newUnlock, shared: sharedBy?.(unlock) });
  renameSync(nextTo(keyFile), keyFile);
  return keys;
}

const nextTo = (keyFile: string): string => `${keyFile}.next`;

/** Puts the new key file in its place when an earlier rotation got as far as the keyset, and no further: until then nothing opens it.
 *  @returns how many keys there are; undefined when there was none */
export async function resumeKeyFile({ file, keyFile, sharedBy }: KeyFileOptions): Promise<number | undefined> {
  const unlock = { keyFile: nextTo(keyFile) };
  if (!existsSync(unlock.keyFile)) return undefined;
  try {
    await sharedBy?.(unlock)?.pull();
    const { entries } = await readKeyset(file, unlock);
    renameSync(unlock.keyFile, keyFile);
    return entries.length;
  } catch (error) {
    if (error instanceof NusecError && error.code === 'KEYSTORE_WRONG_PASSPHRASE') return undefined;
    throw error;
  }
}

/** The keyset as it is on disk now; a server may have it open. @throws KEYSTORE_MISSING, and as openKeyset */
export async function readKeyset(file: string, unlock: Unlock): Promise<{ keys: KeysetKeys; entries: readonly KeysetEntry[] }> {
  const content = readSecretFile(file, maxKeysetBytes);
  if (!content) throw new NusecError('KEYSTORE_MISSING', `there is no keystore ${file}`);
  return openKeyset(content, unlock);
}

function moved(wrapped: Uint8Array, from: KeysetKeys, to: KeysetKeys): Uint8Array {
  const secret = unwrapKey(from.entries, wrapped);
  try {
    return wrapKey(to.entries, secret);
  } finally {
    secret.fill(0);
  }
}
