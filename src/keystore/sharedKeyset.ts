import { equalBytes } from '../bytes.ts';
import { NusecError } from '../errors.ts';
import type { ObjectStore } from '../objects/port.ts';
import { replaceFile } from './durableFile.ts';
import { headerBytes, type KeysetEntry, maxKeysetBytes, openKeyset } from './keyset.ts';
import type { Keystore } from './port.ts';
import { readSecretFile } from './secretFile.ts';
import type { Unlock } from './unlock.ts';

/** The sealed keyset of servers on several machines: an object, whose file in the data folder is the copy. Each change is made on the newest content and
 *  stored if that is still the newest, so no machine overwrites a key of another. The secret that opens it is not in the object store. */

const object = 'keyset';
/** How long a key that another machine has destroyed may still be used here. */
export const pullEveryMs = 1000;

/** Callers hold the lock on the file. */
export type SharedKeyset = {
  /** Puts the newest content into the file. @returns whether there is any
   *  @throws NusecError STORE_UNAVAILABLE, KEYSTORE_WRONG_PASSPHRASE (another machine has rotated it, and what opens it is not here yet),
   *  KEYSTORE_DAMAGED (of another project) */
  pull(): Promise<boolean>;
  /** Stores a content that was made from the one last pulled, here and there, and has earlier ones deleted. @returns false when there is a newer one */
  push(content: Uint8Array): Promise<boolean>;
};

/** @param unlock what opens it on this machine */
export function sharedKeyset(objects: ObjectStore, file: string, unlock: Unlock): SharedKeyset {
  let tag: string | undefined;
  return {
    async pull() {
      if (tag !== undefined && (await objects.look(object))?.tag === tag) return true;
      const stored = await objects.get(object);
      if (stored === undefined) return false;
      const here = readSecretFile(file, maxKeysetBytes);
      if (here !== undefined) await requireSameProject(here, stored.bytes, file, unlock);
      await replaceFile(file, stored.bytes);
      tag = stored.tag;
      return true;
    },
    async push(content) {
      const stored = await objects.put(object, content, tag === undefined ? 'none' : { tag });
      if (stored === undefined) return false;
      tag = stored;
      await replaceFile(file, content);
      // A key that was destroyed must not be in an earlier version either.
      await objects.forgetOlder(object);
      return true;
    },
  };
}

/** A keyset under another head is one that another machine has rotated, if what opens it is here; and it has a key of the copy, if that opens still. */
async function requireSameProject(here: Uint8Array, there: Uint8Array, file: string, unlock: Unlock): Promise<void> {
  if (equalBytes(here.subarray(0, headerBytes), there.subarray(0, headerBytes))) return;
  const [known, next] = [await entriesOf(here, unlock), await entriesOf(there, unlock)];
  if (next === undefined)
    throw new NusecError(
      'KEYSTORE_WRONG_PASSPHRASE',
      `the keyset in the object store was rotated on another machine, or is another project's: bring the new key file or passphrase to this machine`,
    );
  if (known !== undefined && !known.some(entry => next.some(other => isSameKey(entry, other))))
    throw new NusecError('KEYSTORE_DAMAGED', `the keyset in the object store is not that of ${file}: it is another project's`);
}

/** @returns undefined when another secret opens it */
async function entriesOf(content: Uint8Array, unlock: Unlock): Promise<readonly KeysetEntry[] | undefined> {
  try {
    return (await openKeyset(content, unlock)).entries;
  } catch (error) {
    if (error instanceof NusecError && error.code === 'KEYSTORE_WRONG_PASSPHRASE') return undefined;
    throw error;
  }
}

const isSameKey = (one: KeysetEntry, other: KeysetEntry): boolean => one.id === other.id && one.createdAt === other.createdAt;

/** A key that is missed may be one that another machine has made a moment ago: it is looked for once more. */
export function lookingAgain(keystore: Keystore, pull: () => Promise<unknown>): Keystore {
  const again =
    <Args extends readonly unknown[], Result>(work: (...args: Args) => Promise<Result>) =>
    async (...args: Args): Promise<Result> => {
      try {
        return await work(...args);
      } catch (error) {
        if (!(error instanceof NusecError && error.code === 'KEY_NOT_FOUND')) throw error;
        await pull();
        return work(...args);
      }
    };
  return Object.freeze({
    ...keystore,
    publicKey: again(keystore.publicKey),
    sign: again(keystore.sign),
    signProven: again(keystore.signProven),
    derive: again(keystore.derive),
    mac: again(keystore.mac),
    seal: again(keystore.seal),
    generateWrapped: again(keystore.generateWrapped),
    signWrapped: again(keystore.signWrapped),
    rewrap: again(keystore.rewrap),
    destroy: again(keystore.destroy),
    async list() {
      await pull();
      return keystore.list();
    },
  });
}
