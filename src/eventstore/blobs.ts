import { hash, randomBytes } from 'node:crypto';
import { closeSync, existsSync, fsync, mkdirSync, openSync, renameSync, rmSync, writeFile, writeFileSync } from 'node:fs';
import { readFile, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { NusecError } from '../errors.ts';
import { loadedOnce, lru } from '../lru.ts';
import type { ObjectStore } from '../objects/port.ts';
import type { EventStore } from './port.ts';
import type { Staged } from './staged.ts';
import { maxRowBlobBytes } from './store.ts';

/** Firmware, packages and evidence, named by the SHA-256 of their content (T30): small ones as rows of the event store, others as files. Where servers on
 *  several machines share an object store, that has them, and a file is the copy of this machine. */

/** One blob; a firmware image of a microcontroller is 2 MiB at most. */
const maxBlobBytes = 16 * 1024 * 1024;
/** Verified blobs kept in memory for getRange, together. */
const maxCachedBlobBytes = 64 * 1024 * 1024;

export type BlobStore = {
  /** Stores bytes durably; the same bytes again cost no second file, and mend a damaged one.
   *  @returns SHA-256 of the bytes, 64 lower-case hex
   *  @throws NusecError BLOB_TOO_LARGE; STORE_UNAVAILABLE (as everywhere here, when the disk is full or fails), and as EventStore.commit for a row */
  put(bytes: Uint8Array): Promise<string>;
  /** Takes a whole file over, whatever its length; it must be on the same file system, and written down to the disk. @param sha256 of its content, 64 hex */
  putFile(file: string, sha256: string): Promise<void>;
  /** The whole blob, hashed again on every call.
   *  @throws NusecError BLOB_NOT_FOUND, BLOB_DAMAGED (never served), BAD_REQUEST (not 64 lower-case hex) */
  get(sha256: string): Promise<Uint8Array>;
  /** At most `length` bytes from `offset`, less at the end of the blob; from memory once the whole blob has been verified.
   *  @throws as get; BAD_REQUEST when offset or length is not a natural number */
  getRange(sha256: string, offset: number, length: number): Promise<Uint8Array>;
  /** @returns length in bytes @throws NusecError BLOB_NOT_FOUND */
  size(sha256: string): Promise<number>;
  /** @returns false when there was none */
  delete(sha256: string): Promise<boolean>;
};

export type BlobStoreOptions = {
  /** Where blobs up to `maxRowBlobBytes` are kept; without it every blob is a file. Those that are files already stay it. */
  readonly rows?: Pick<EventStore, 'commit' | 'readBlob'>;
  /** Has the blobs that are files on every machine. */
  readonly shared?: ObjectStore | undefined;
  readonly blobBytes?: number;
  readonly cachedBytes?: number;
};

export function openBlobStore(folder: string, options: BlobStoreOptions = {}): BlobStore {
  const { rows, shared, blobBytes = maxBlobBytes, cachedBytes = maxCachedBlobBytes } = options;
  const verified = lru<Uint8Array>(cachedBytes, bytes => bytes.length);
  const loadOnce = loadedOnce(verified);
  const onDisk = new Set<string>();
  /** What is not here, or damaged here, comes from the object store. */
  const fetchInto = async (path: string, sha256: string): Promise<Uint8Array | undefined> => {
    const found = await shared?.get(objectOf(sha256));
    if (found === undefined || digest(found.bytes) !== sha256) return undefined;
    await onDiskOf(write(path, found.bytes, onDisk));
    return found.bytes;
  };
  const fromFile = async (sha256: string): Promise<Uint8Array> => {
    const path = blobFile(folder, sha256);
    try {
      const here = await onDiskOf(readFile(path));
      return digest(here) === sha256 ? here : ((await fetchInto(path, sha256)) ?? here);
    } catch (error) {
      const fetched = isMissing(error) ? await fetchInto(path, sha256) : undefined;
      if (fetched === undefined) throw error;
      return fetched;
    }
  };
  const get = async (sha256: string): Promise<Uint8Array> => {
    const stored = (await rows?.readBlob(sha256)) ?? (await fromFile(sha256));
    const bytes = new Uint8Array(stored.buffer, stored.byteOffset, stored.length);
    if (digest(bytes) !== sha256) throw new NusecError('BLOB_DAMAGED', `blob ${sha256} is not what was stored`);
    return bytes;
  };
  const getCached = (sha256: string): Promise<Uint8Array> => loadOnce(sha256, () => get(sha256));

  return {
    get,
    async put(bytes) {
      if (bytes.length > blobBytes) throw new NusecError('BLOB_TOO_LARGE', `a blob has at most ${blobBytes} bytes`);
      const sha256 = digest(bytes);
      if (rows !== undefined && bytes.length <= maxRowBlobBytes) {
        await rows.commit({ appends: [], blobs: [bytes] });
        return sha256;
      }
      const path = blobFile(folder, sha256);
      const isWhole =
        existsSync(path) &&
        (await get(sha256).then(
          () => true,
          () => false,
        ));
      await onDiskOf(isWhole ? syncAgain(path, onDisk) : write(path, bytes, onDisk));
      await shared?.put(objectOf(sha256), bytes, 'any');
      return sha256;
    },
    async putFile(file, sha256) {
      const path = blobFile(folder, sha256);
      await onDiskOf(takeOver(file, path, onDisk));
      await shared?.putFile(objectOf(sha256), path);
    },
    async getRange(sha256, offset, length) {
      if (!(Number.isSafeInteger(offset) && offset >= 0 && Number.isSafeInteger(length) && length >= 0)) {
        throw new NusecError('BAD_REQUEST', 'not a range of bytes');
      }
      return new Uint8Array((await getCached(sha256)).subarray(offset, offset + length));
    },
    async size(sha256) {
      const path = blobFile(folder, sha256);
      const row = await rows?.readBlob(sha256);
      if (row !== undefined) return row.length;
      return onDiskOf(stat(path)).then(
        ({ size }) => size,
        async error => {
          const bytes = isMissing(error) ? (await shared?.look(objectOf(sha256)))?.bytes : undefined;
          if (bytes === undefined) throw error;
          return bytes;
        },
      );
    },
    async delete(sha256) {
      const path = blobFile(folder, sha256);
      verified.delete(sha256);
      const isRow = (await rows?.readBlob(sha256)) !== undefined;
      if (isRow) await rows?.commit({ appends: [], droppedBlobs: [sha256] });
      const isShared = (await shared?.delete(objectOf(sha256))) ?? false;
      try {
        await onDiskOf(rm(path));
        return true;
      } catch (error) {
        if (isMissing(error)) return isRow || isShared;
        throw error;
      }
    },
  };
}

/** The blobs of a unit of work: small ones are staged with its events, and read back before they are committed. */
export const stagedBlobs = (base: BlobStore, staged: Staged): BlobStore => ({
  ...base,
  async put(bytes) {
    if (bytes.length > maxRowBlobBytes) return base.put(bytes);
    await staged.store.commit({ appends: [], blobs: [bytes] });
    return digest(bytes);
  },
  get: async sha256 => staged.blob(sha256) ?? base.get(sha256),
  size: async sha256 => staged.blob(sha256)?.length ?? base.size(sha256),
  async getRange(sha256, offset, length) {
    const bytes = staged.blob(sha256);
    return bytes === undefined ? base.getRange(sha256, offset, length) : bytes.slice(offset, offset + length);
  },
});

/** Where a blob is in the object store. */
export const objectOf = (sha256: string): string => `blobs/${sha256}`;

/** Whether content is not there any more as it was stored: whoever asks for what the log names is not to blame. */
export const isContentLost = (error: unknown): error is NusecError =>
  isMissing(error) || (error instanceof NusecError && error.code === 'BLOB_DAMAGED');

/** Whether nothing is stored under a hash. */
export const isMissing = (error: unknown): boolean => error instanceof NusecError && error.code === 'BLOB_NOT_FOUND';

const digest = (bytes: Uint8Array): string => hash('sha256', bytes, 'hex');

/** Where a blob is when it is a file. Two levels, so that no folder holds more than a 256th of the files.
 *  @throws NusecError BAD_REQUEST (not 64 lower-case hex) */
export function blobFile(folder: string, sha256: string): string {
  if (!/^[0-9a-f]{64}$/.test(sha256)) throw new NusecError('BAD_REQUEST', 'not a SHA-256 in hex');
  return join(folder, sha256.slice(0, 2), sha256.slice(2));
}

/** What the file system says, in our words. A full or failing disk says nothing about the blob, nor about who asked for it. */
async function onDiskOf<Result>(work: Promise<Result>): Promise<Result> {
  try {
    return await work;
  } catch (cause) {
    const { code, syscall } = cause as NodeJS.ErrnoException;
    if (code === 'ENOENT') throw new NusecError('BLOB_NOT_FOUND', 'nothing is stored under this hash', { cause });
    if (syscall !== undefined) throw new NusecError('STORE_UNAVAILABLE', `the blob store: ${syscall} ${code}`, { cause });
    throw cause;
  }
}

/** What is written by the calling thread, in less time than one turn of a busy event loop; more, such as a revocation list of 2 MB, holds up everybody. */
const maxBytesHere = 256 * 1024;
const writeInPool = promisify(writeFile);

/** Puts the file in place in one step, then waits until bytes and name are on the disk. After a power cut in between the name may have other bytes:
 *  nothing names this blob yet, `get` refuses them and `put` mends them. */
async function write(path: string, bytes: Uint8Array, onDisk: Set<string>): Promise<void> {
  if (!onDisk.has(dirname(path))) mkdirSync(dirname(path), { recursive: true });
  const temporary = `${path}.${randomBytes(6).toString('hex')}`;
  const file = openSync(temporary, 'wx', 0o600);
  try {
    if (bytes.length > maxBytesHere) await writeInPool(file, bytes);
    else writeFileSync(file, bytes);
    renameSync(temporary, path);
    await sync(file, path, onDisk);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  } finally {
    closeSync(file);
  }
}

async function takeOver(file: string, path: string, onDisk: Set<string>): Promise<void> {
  mkdirSync(dirname(path), { recursive: true });
  renameSync(file, path);
  await syncAgain(path, onDisk);
}

/** For a blob that is there: it may have been written a moment ago by somebody who still waits for the disk. */
async function syncAgain(path: string, onDisk: Set<string>): Promise<void> {
  const file = openSync(path, 'r+');
  await sync(file, path, onDisk).finally(() => closeSync(file));
}

/** Synchronises in parallel, so that the disk does it in one step: the file, its folder and, the first time, the parent folder.
 *  @param onDisk folders whose own names are there already */
async function sync(file: number, path: string, onDisk: Set<string>): Promise<void> {
  const parent = dirname(path);
  const names = onDisk.has(parent) ? [parent] : [parent, dirname(parent), dirname(dirname(parent))];
  // Windows cannot open a folder; its file system keeps renames itself.
  const folders = (process.platform === 'win32' ? [] : names).map(name => openSync(name, 'r'));
  const synced = await Promise.allSettled([file, ...folders].map(each => synchronise(each)));
  for (const folder of folders) closeSync(folder);
  for (const each of synced) if (each.status === 'rejected') throw each.reason;
  onDisk.add(parent);
}

const synchronise = promisify(fsync);
