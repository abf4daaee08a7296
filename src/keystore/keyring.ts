import type { KeyObject } from 'node:crypto';
import { NusecError } from '../errors.ts';
import { createBatcher } from './batcher.ts';
import { replaceFile } from './durableFile.ts';
import { importPrivateKey } from './ec.ts';
import { keyExists, keyNotFound } from './keyRules.ts';
import { encodeKeyset, type KeysetEntry, type KeysetKeys, type RandomBytes } from './keyset.ts';
import { unwrapKey, wrapKey } from './kwp.ts';
import type { KeyInfo } from './port.ts';
import { secretKey } from './unlock.ts';

/** The keys of an opened keyset in memory, and their durable change: what is here is on disk. */
export type Keyring = {
  /** @throws KEY_NOT_FOUND */
  entry(id: string): KeysetEntry;
  /** The key itself, to be used inside the driver only. @throws KEY_NOT_FOUND */
  key(id: string): KeyObject;
  has(id: string): boolean;
  list(): readonly KeyInfo[];
  /** @param secret PKCS#8 or 32 bytes; wiped here. Resolves when durable. @throws KEY_EXISTS, KEY_REFUSED (too many keys) */
  add(entry: Omit<KeysetEntry, 'wrapped'>, secret: Uint8Array): Promise<KeyInfo>;
  /** Resolves when the file no longer holds the key. @throws KEY_NOT_FOUND */
  remove(id: string): Promise<void>;
  /** Why the newest rewrite failed, if it did. */
  failure(): string | undefined;
  idle(): Promise<void>;
};

/** A rewrite costs time in the number of keys; per-device boot keys belong in custody.ts. */
const maxKeys = 50_000;

type Entries = Map<string, KeysetEntry>;
type Change = (entries: Entries) => void;

export function createKeyring(file: string, keys: KeysetKeys, stored: readonly KeysetEntry[], randomBytes: RandomBytes): Keyring {
  let entries: Entries = new Map(stored.map(entry => [entry.id, entry]));
  const imported = new WeakMap<KeysetEntry, KeyObject>();
  let failure: string | undefined;

  const commit = async (changes: readonly Change[]): Promise<readonly (undefined | NusecError)[]> => {
    const next = new Map(entries);
    const outcomes = changes.map(change => refusalOf(change, next));
    if (outcomes.every(outcome => outcome !== undefined)) return outcomes;
    try {
      await replaceFile(file, encodeKeyset(keys, next.values(), randomBytes));
    } catch (error) {
      failure = error instanceof Error ? error.message : 'unknown';
      throw error;
    }
    failure = undefined;
    entries = next;
    return outcomes;
  };
  const batcher = createBatcher(commit);

  const entry = (id: string): KeysetEntry => {
    const found = entries.get(id);
    if (!found) throw keyNotFound(id);
    return found;
  };

  return {
    entry,
    key(id) {
      const found = entry(id);
      const key = imported.get(found) ?? importEntry(found, keys.entries);
      imported.set(found, key);
      return key;
    },
    has: id => entries.has(id),
    list: () => Array.from(entries.values(), infoOf),
    async add(fresh, secret) {
      const added = { ...fresh, wrapped: wrapKey(keys.entries, secret) };
      secret.fill(0);
      await batcher.add(next => insert(next, added));
      return infoOf(added);
    },
    remove: id =>
      batcher.add(next => {
        if (!next.delete(id)) throw keyNotFound(id);
      }),
    failure: () => failure,
    idle: () => batcher.idle(),
  };
}

/** Carries out one change of a group; a refused one leaves the others alone. */
function refusalOf(change: Change, entries: Entries): NusecError | undefined {
  try {
    change(entries);
    return undefined;
  } catch (error) {
    if (error instanceof NusecError) return error;
    throw error;
  }
}

function insert(entries: Entries, entry: KeysetEntry): void {
  if (entries.has(entry.id)) throw keyExists(entry.id);
  if (entries.size >= maxKeys) throw new NusecError('KEY_REFUSED', `the keystore holds its ${maxKeys} keys`);
  entries.set(entry.id, entry);
}

function importEntry(entry: KeysetEntry, entryKey: KeyObject): KeyObject {
  const secret = unwrapKey(entryKey, entry.wrapped);
  return entry.algorithm === 'AES-256' ? secretKey(secret) : importPrivateKey(secret);
}

/** A copy: callers cannot change what the keystore holds. */
function infoOf({ id, algorithm, createdAt, publicKey }: Omit<KeysetEntry, 'wrapped'>): KeyInfo {
  const info = { id, algorithm, createdAt };
  return publicKey ? { ...info, publicKey: Uint8Array.from(publicKey) } : info;
}
