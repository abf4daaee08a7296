import type { KeyObject } from 'node:crypto';
import { equalBytes } from '../bytes.ts';
import { NusecError } from '../errors.ts';
import type { FileLock } from '../fileLock.ts';
import { createBatcher } from './batcher.ts';
import { replaceFile } from './durableFile.ts';
import { importPrivateKey } from './ec.ts';
import { keyExists, keyNotFound } from './keyRules.ts';
import { encodeKeyset, type KeysetEntry, type KeysetKeys, maxKeysetBytes, type RandomBytes, readEntries } from './keyset.ts';
import { unwrapKey, wrapKey } from './kwp.ts';
import type { KeyInfo } from './port.ts';
import { fileVersion, readSecretFile } from './secretFile.ts';
import type { SharedKeyset } from './sharedKeyset.ts';
import { secretKey } from './unlock.ts';

/** The keys of an opened keyset in memory, and their durable change: what is here is on disk. What other processes change in the file is
 *  seen when a key is missed here, before every change of ours, and within a second. */
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
  /** Why the newest rewrite failed, or the file cannot be read now, for people. */
  failure(): string | undefined;
  idle(): Promise<void>;
};

/** A rewrite costs time in the number of keys; per-device boot keys belong in custody.ts. */
const maxKeys = 50_000;

/** How long a key that another process has destroyed may still be used here. */
const lookEveryMs = 1000;

type Entries = Map<string, KeysetEntry>;
type Change = (entries: Entries) => void;

/** An opened keyset: its file, the lock that is held on it, and what was in it at `version`. */
export type OpenedKeyset = {
  readonly file: string;
  readonly lock: FileLock;
  readonly shared?: SharedKeyset | undefined;
  readonly keys: KeysetKeys;
  readonly version: string;
  readonly entries: readonly KeysetEntry[];
};

export function createKeyring(opened: OpenedKeyset, randomBytes: RandomBytes): Keyring {
  const { file, lock, keys, shared } = opened;
  let entries: Entries = new Map(opened.entries.map(entry => [entry.id, entry]));
  let version = opened.version;
  let lookedAt = performance.now();
  const imported = new WeakMap<KeysetEntry, KeyObject>();
  let notWritten: string | undefined;
  let notRead: string | undefined;

  const read = (): void => {
    lookedAt = performance.now();
    try {
      const now = fileVersion(file);
      if (now !== version) {
        const content = readSecretFile(file, maxKeysetBytes);
        if (content === undefined) throw new NusecError('KEYSTORE_MISSING', `${file} is not there any more`);
        entries = keepKnown(entries, readEntries(content, keys));
        version = now;
      }
      notRead = undefined;
    } catch (error) {
      notRead = messageOf(error);
      throw error;
    }
  };
  /** A file that cannot be read does not stop the keys that are known. */
  const look = (): void => {
    try {
      read();
    } catch {
      // The health says so.
    }
  };
  const write = async (changes: readonly Change[]): Promise<readonly (undefined | NusecError)[]> => {
    await shared?.pull();
    read();
    const next = new Map(entries);
    const outcomes = changes.map(change => refusalOf(change, next));
    if (outcomes.every(outcome => outcome !== undefined)) return outcomes;
    const content = encodeKeyset(keys, next.values(), randomBytes);
    if (shared === undefined) await replaceFile(file, content);
    // Another machine was faster: decided again on what it has made.
    else if (!(await shared.push(content))) return write(changes);
    version = fileVersion(file);
    notWritten = undefined;
    entries = next;
    return outcomes;
  };
  const batcher = createBatcher(async (changes: readonly Change[]) => {
    try {
      return await lock.change(() => write(changes));
    } catch (error) {
      if (notRead === undefined) notWritten = messageOf(error);
      throw error;
    }
  });

  const find = (id: string): KeysetEntry | undefined => {
    if (!entries.has(id) || performance.now() - lookedAt > lookEveryMs) look();
    return entries.get(id);
  };
  const entry = (id: string): KeysetEntry => {
    const found = find(id);
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
    has: id => find(id) !== undefined,
    list() {
      look();
      return Array.from(entries.values(), infoOf);
    },
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
    failure() {
      look();
      if (notRead !== undefined) return `not read: ${notRead}`;
      return notWritten === undefined ? undefined : `not written: ${notWritten}`;
    },
    idle: () => batcher.idle(),
  };
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : 'unknown');

/** Entries that did not change stay the same objects: their keys are imported already. */
function keepKnown(known: Entries, read: readonly KeysetEntry[]): Entries {
  return new Map(
    read.map(entry => {
      const before = known.get(entry.id);
      return [entry.id, before && equalBytes(before.wrapped, entry.wrapped) ? before : entry];
    }),
  );
}

/** Executes one change of a group; a refused one does not affect the others. */
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
  if (entries.size >= maxKeys) throw new NusecError('KEYSTORE_UNAVAILABLE', `the keystore holds its ${maxKeys} keys`);
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
