/** Firmware, packages and evidence, kept as files that are named by the SHA-256 of their content (T30). */
import { hash, randomBytes } from 'node:crypto';
import { type FileHandle, mkdir, open, readFile, rename, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { NusecError } from '../errors.ts';
import { lru } from '../lru.ts';

/** One blob; a firmware image of a microcontroller is 2 MiB at most. */
const maxBlobBytes = 16 * 1024 * 1024;
/** Verified blobs kept in memory for getRange, together. */
const maxCachedBlobBytes = 64 * 1024 * 1024;

export type BlobStore = {
  /** Stores bytes durably; the same bytes again cost no second file, and mend a damaged one.
   *  @returns SHA-256 of the bytes, 64 lower-case hex
   *  @throws NusecError BLOB_TOO_LARGE */
  put(bytes: Uint8Array): Promise<string>;
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

export function openBlobStore(folder: string, limits = { blobBytes: maxBlobBytes, cachedBytes: maxCachedBlobBytes }): BlobStore {
  const verified = lru<Uint8Array>(limits.cachedBytes, bytes => bytes.length);
  const loading = new Map<string, Promise<Uint8Array>>();
  const get = async (sha256: string): Promise<Uint8Array> => {
    const bytes = await unlessMissing(readFile(pathOf(folder, sha256)));
    if (digest(bytes) !== sha256) throw new NusecError('BLOB_DAMAGED', `blob ${sha256} is not what was stored`);
    return bytes;
  };
  const getCached = async (sha256: string): Promise<Uint8Array> => {
    const known = verified.get(sha256) ?? loading.get(sha256);
    if (known !== undefined) return known;
    const load = get(sha256).finally(() => loading.delete(sha256));
    loading.set(sha256, load);
    const bytes = await load;
    verified.set(sha256, bytes);
    return bytes;
  };

  return {
    get,
    async put(bytes) {
      if (bytes.length > limits.blobBytes) throw new NusecError('BLOB_TOO_LARGE', `a blob has at most ${limits.blobBytes} bytes`);
      const sha256 = digest(bytes);
      const whole = await get(sha256).catch(() => undefined);
      if (whole === undefined) await writeDurably(pathOf(folder, sha256), bytes);
      return sha256;
    },
    async getRange(sha256, offset, length) {
      if (!(Number.isSafeInteger(offset) && offset >= 0 && Number.isSafeInteger(length) && length >= 0)) {
        throw new NusecError('BAD_REQUEST', 'not a range of bytes');
      }
      return new Uint8Array((await getCached(sha256)).subarray(offset, offset + length));
    },
    size: async sha256 => (await unlessMissing(stat(pathOf(folder, sha256)))).size,
    async delete(sha256) {
      verified.delete(sha256);
      return rm(pathOf(folder, sha256)).then(
        () => true,
        error => {
          if (error.code !== 'ENOENT') throw error;
          return false;
        },
      );
    },
  };
}

const digest = (bytes: Uint8Array): string => hash('sha256', bytes, 'hex');

/** Two levels, so that no folder holds more than a 256th of the files. */
function pathOf(folder: string, sha256: string): string {
  if (!/^[0-9a-f]{64}$/.test(sha256)) throw new NusecError('BAD_REQUEST', 'not a SHA-256 in hex');
  return join(folder, sha256.slice(0, 2), sha256.slice(2));
}

async function unlessMissing<Result>(work: Promise<Result>): Promise<Result> {
  try {
    return await work;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') throw new NusecError('BLOB_NOT_FOUND', 'no such blob', { cause: error });
    throw error;
  }
}

/** The name appears only when its bytes are on the disk: temporary file, fsync, rename, fsync of the folder. */
async function writeDurably(path: string, bytes: Uint8Array): Promise<void> {
  const parent = dirname(path);
  await mkdir(parent, { recursive: true });
  const temporary = `${path}.${randomBytes(6).toString('hex')}`;
  try {
    await withFile(temporary, 'wx', async file => {
      await file.writeFile(bytes);
      await file.sync();
    });
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  // Windows cannot open a folder; its file system keeps renames itself.
  if (process.platform === 'win32') return;
  for (const folder of [parent, dirname(parent)]) await withFile(folder, 'r', file => file.sync());
}

async function withFile(path: string, flags: string, work: (file: FileHandle) => Promise<void>): Promise<void> {
  const file = await open(path, flags, 0o600);
  try {
    await work(file);
  } finally {
    await file.close();
  }
}
