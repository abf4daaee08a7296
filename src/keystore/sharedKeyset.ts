import { existsSync } from 'node:fs';
import { equalBytes } from '../bytes.ts';
import { NusecError } from '../errors.ts';
import type { ObjectStore } from '../objects/port.ts';
import { replaceFile } from './durableFile.ts';
import { headerBytes, maxKeysetBytes } from './keyset.ts';
import type { Keystore } from './port.ts';
import { readSecretFile } from './secretFile.ts';

/** The sealed keyset of servers on several machines: an object, whose file in the data folder is the copy. Each change is made on the newest content and
 *  stored if that is still the newest, so no machine overwrites a key of another. The secret that opens it is not in the object store. */

const object = 'keyset';
/** How long a key that another machine has destroyed may still be used here. */
export const pullEveryMs = 1000;

/** Callers hold the lock on the file. */
export type SharedKeyset = {
  /** Puts the newest content into the file. @returns whether there is any @throws NusecError STORE_UNAVAILABLE, KEYSTORE_DAMAGED (of another project) */
  pull(): Promise<boolean>;
  /** Stores a content that was made from the one last pulled, here and there, and has earlier ones deleted. @returns false when there is a newer one */
  push(content: Uint8Array): Promise<boolean>;
};

export function sharedKeyset(objects: ObjectStore, file: string): SharedKeyset {
  let tag: string | undefined;
  const requireSame = (content: Uint8Array): void => {
    const here = existsSync(file) ? readSecretFile(file, maxKeysetBytes) : undefined;
    if (here !== undefined && !equalBytes(here.subarray(0, headerBytes), content.subarray(0, headerBytes)))
      throw new NusecError('KEYSTORE_DAMAGED', `the keyset in the object store is not that of ${file}: it is another project's`);
  };
  return {
    async pull() {
      if (tag !== undefined && (await objects.look(object))?.tag === tag) return true;
      const stored = await objects.get(object);
      if (stored === undefined) return false;
      requireSame(stored.bytes);
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
