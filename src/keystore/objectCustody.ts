import { fromBase64url, toBase64url, utf8 } from '../bytes.ts';
import { NusecError } from '../errors.ts';
import { allKeys, type ObjectStore, type StoredObject } from '../objects/port.ts';
import type { Custody, CustodyKey } from './custody.ts';
import { keyExists } from './keyRules.ts';

/** Custody in an object store, for servers on several machines: one object for each key. A server keeps no copy, so a key that is destroyed is nowhere else.
 *
 *  Destroying puts a tombstone (the public half and the time) in the place of the wrapped key, and then deletes every earlier version, in a bucket with
 *  versions too; only when a listing shows that none is left is the key destroyed. */

const pageObjects = 8;

type Json = Omit<CustodyKey, 'publicKey' | 'wrapped'> & { readonly publicKey: string; readonly wrapped?: string };

const encode = ({ publicKey, wrapped, ...key }: CustodyKey): Uint8Array => {
  const json: Json = { ...key, publicKey: toBase64url(publicKey), ...(wrapped && { wrapped: toBase64url(wrapped) }) };
  return utf8(JSON.stringify(json));
};

/** @throws NusecError KEYSTORE_DAMAGED */
function decode(keyId: string, { bytes }: StoredObject): CustodyKey {
  try {
    const { publicKey, wrapped, ...key } = JSON.parse(new TextDecoder().decode(bytes)) as Json;
    if (key.keyId !== keyId) throw new Error(`it is that of ${key.keyId}`);
    return { ...key, publicKey: fromBase64url(publicKey), ...(wrapped !== undefined && { wrapped: fromBase64url(wrapped) }) };
  } catch (cause) {
    throw new NusecError('KEYSTORE_DAMAGED', `the object of boot key ${keyId} was changed`, { cause });
  }
}

/** @param driver of the keystore: what one driver has wrapped does not open in another */
export function objectCustody(objects: ObjectStore, driver: 'software' | 'pkcs11'): Custody {
  const prefix = driver === 'software' ? 'custody/' : `custody-${driver}/`;
  const objectOf = (keyId: string): string => prefix + keyId;
  const find = async (keyId: string): Promise<{ readonly key: CustodyKey; readonly tag: string } | undefined> => {
    const stored = await objects.get(objectOf(keyId));
    return stored && { key: decode(keyId, stored), tag: stored.tag };
  };
  const get = async (keyId: string): Promise<CustodyKey | undefined> => (await find(keyId))?.key;
  /** Replaces a key as long as it is what was read; otherwise it is read again. */
  const change = async (keyId: string, next: (key: CustodyKey) => CustodyKey | undefined): Promise<void> => {
    for (;;) {
      const found = await find(keyId);
      if (found === undefined) throw new NusecError('KEY_NOT_FOUND', `there is no key ${keyId}`);
      const changed = next(found.key);
      const isDone = changed === undefined || (await objects.put(objectOf(keyId), encode(changed), { tag: found.tag })) !== undefined;
      // Also when it was done before: a server may have ended between the two steps.
      if (isDone) return objects.forgetOlder(objectOf(keyId));
    }
  };
  const list = async (after: string, limit: number): Promise<readonly CustodyKey[]> => {
    const listed = await objects.list(prefix, after === '' ? '' : objectOf(after));
    const ids = listed.slice(0, limit).map(({ key }) => key.slice(prefix.length));
    const keys: CustodyKey[] = [];
    for (let from = 0; from < ids.length; from += pageObjects) {
      const page = await Promise.all(ids.slice(from, from + pageObjects).map(get));
      keys.push(...page.filter(key => key !== undefined));
    }
    return keys;
  };
  return {
    get,
    settled: async () => undefined,
    list,
    async put(key) {
      const stored = await objects.put(objectOf(key.keyId), encode(key), 'none');
      return stored === undefined ? ((await get(key.keyId)) as CustodyKey) : key;
    },
    destroy: (keyId, at) => change(keyId, ({ wrapped, ...key }) => (wrapped === undefined ? undefined : { ...key, destroyedAt: at })),
    replaceWrapping: ({ keyId, kekId, wrapped }, oldKekId) =>
      change(keyId, key => (key.wrapped === undefined || key.kekId !== oldKekId ? undefined : { ...key, kekId, wrapped })),
    async takeOver(keys) {
      for (const key of keys) if ((await objects.put(objectOf(key.keyId), encode(key), 'none')) === undefined) throw keyExists(key.keyId);
    },
    async wrappedBy() {
      const counts = new Map<string, number>();
      for await (const object of allKeys(objects, prefix)) {
        const key = await get(object.slice(prefix.length));
        if (key?.wrapped) counts.set(key.kekId, (counts.get(key.kekId) ?? 0) + 1);
      }
      return counts;
    },
    async count() {
      let count = 0;
      for await (const _ of allKeys(objects, prefix)) count += 1;
      return count;
    },
    close: async () => undefined,
  };
}
