import { createHmac, hkdfSync, randomBytes } from 'node:crypto';
import { toHex, utf8 } from '../bytes.ts';
import { NusecError } from '../errors.ts';
import { ivBytes, openBox, sealBox } from '../sealedBox.ts';
import type { ExpectedObject, ObjectStore, StoredObject } from './port.ts';

/** Objects that only the servers of a project can read and write: sealed under a key that the keystore gives, for one place in the object store.
 *
 *  object = sealed box of the content, with the key of the object as associated data (sealedBox.ts) */

const keyBytes = 32;

export type SealedObjects = Pick<ObjectStore, 'delete' | 'list'> & {
  /** @throws NusecError STORE_DAMAGED (changed, moved, or of another project), STORE_UNAVAILABLE */
  get(key: string): Promise<StoredObject | undefined>;
  /** As ObjectStore.put */
  put(key: string, content: Uint8Array, expected: ExpectedObject): Promise<string | undefined>;
  /** A name for an object that says nothing about the text: 64 hex, the same on every machine. */
  nameOf(text: string): string;
};

/** @param secret of the project, 32 bytes */
export function sealedObjects(objects: ObjectStore, secret: Uint8Array): SealedObjects {
  const derived = (info: string): Uint8Array => new Uint8Array(hkdfSync('sha256', secret, new Uint8Array(), info, keyBytes));
  const [contentKey, nameKey] = [derived('content'), derived('name')];
  return {
    delete: objects.delete,
    list: objects.list,
    async get(key) {
      const stored = await objects.get(key);
      return stored && { bytes: opened(contentKey, key, stored.bytes), tag: stored.tag };
    },
    put(key, content, expected) {
      return objects.put(key, sealBox(contentKey, randomBytes(ivBytes), utf8(key), content), expected);
    },
    nameOf: text => toHex(new Uint8Array(createHmac('sha256', nameKey).update(text).digest())),
  };
}

function opened(contentKey: Uint8Array, key: string, sealed: Uint8Array): Uint8Array {
  const content = openBox(contentKey, utf8(key), sealed);
  if (content !== undefined) return content;
  throw new NusecError('STORE_DAMAGED', `object ${key} of the object store was changed, or is not of this project`);
}
