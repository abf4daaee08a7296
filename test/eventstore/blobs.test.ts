import { createHash } from 'node:crypto';
import { chmodSync, existsSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import fc from 'fast-check';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { openBlobStore } from '../../src/eventstore/blobs.ts';
import { openSqliteStore } from '../../src/eventstore/sqlite.ts';
import { covers } from '../support/covers.ts';
import { temporaryFolder } from './support.ts';

/** What happens each time something has been synchronised to the disk. */
const onSync = vi.hoisted(() => ({ done: () => {} }));
vi.mock('node:fs', async original => {
  const fs = await original<typeof import('node:fs')>();
  const fsync = (fd: number, callback: (error: Error | null) => void) =>
    fs.fsync(fd, error => {
      try {
        onSync.done();
        callback(error);
      } catch (thrown) {
        callback(thrown as Error);
      }
    });
  return { ...fs, fsync };
});

const bytesOf = (length: number, seed = 1) => Uint8Array.from({ length }, (_, i) => (i * 31 + seed * 7) & 0xff);
const files = (folder: string) => readdirSync(folder, { recursive: true, withFileTypes: true }).filter(entry => entry.isFile());
const pathOf = (folder: string, sha256: string) => join(folder, sha256.slice(0, 2), sha256.slice(2));

describe('blob folder', () => {
  // The larger one is written in the thread pool.
  it.each([100_000, 3_000_000])('gives %s bytes back under their SHA-256, and keeps the same bytes once', async length => {
    const folder = temporaryFolder();
    const blobs = openBlobStore(folder);
    const bytes = bytesOf(length);
    const sha256 = await blobs.put(bytes);
    expect(sha256).toBe(createHash('sha256').update(bytes).digest('hex'));
    expect(Buffer.compare(await blobs.get(sha256), bytes)).toBe(0);
    expect(await blobs.size(sha256)).toBe(length);
    expect(await Promise.all([blobs.put(bytes), blobs.put(bytes)])).toEqual([sha256, sha256]);
    expect(files(folder)).toHaveLength(1);
    expect((await openBlobStore(folder).get(sha256)).length).toBe(length);
  });

  it('says STORE_UNAVAILABLE when the disk refuses, which says nothing about the blob', async () => {
    const folder = temporaryFolder();
    const blobs = openBlobStore(folder);
    const bytes = bytesOf(1000);
    const sha256 = createHash('sha256').update(bytes).digest('hex');
    const unavailable = expect.objectContaining({ code: 'STORE_UNAVAILABLE' });
    writeFileSync(join(folder, sha256.slice(0, 2)), 'a file where a folder belongs');
    await expect(blobs.put(bytes)).rejects.toEqual(unavailable);
    await expect(blobs.get(sha256)).rejects.toEqual(unavailable);
    await expect(blobs.size(sha256)).rejects.toEqual(unavailable);
    rmSync(join(folder, sha256.slice(0, 2)));
    onSync.done = () => {
      throw Object.assign(new Error('no space left'), { code: 'ENOSPC', syscall: 'fsync' });
    };
    onTestFinished(() => {
      onSync.done = () => {};
    });
    await expect(blobs.put(bytes)).rejects.toEqual(unavailable);
    onSync.done = () => {};
    expect(await blobs.put(bytes)).toBe(sha256);
  });

  it('says that it has them only when bytes and name are on the disk, also when somebody else just wrote them', async () => {
    const folder = temporaryFolder();
    let synced = 0;
    onSync.done = () => {
      synced += 1;
    };
    onTestFinished(() => {
      onSync.done = () => {};
    });
    const syncedBefore = async (put: Promise<string>) => {
      synced = 0;
      await put;
      return synced;
    };
    const blobs = openBlobStore(join(folder, 'blobs'));
    const inSameFolder = () => {
      for (let seed = 2; ; seed += 1) {
        const bytes = Uint8Array.of(seed & 0xff, seed >> 8);
        if (
          createHash('sha256')
            .update(bytes)
            .digest('hex')
            .startsWith(files(folder)[0]?.parentPath.slice(-2) ?? '')
        )
          return bytes;
      }
    };
    // The file, its folder, the folder of blobs, and where that is; then the file and its folder.
    expect(await syncedBefore(blobs.put(bytesOf(100)))).toBe(4);
    const next = inSameFolder();
    expect(await syncedBefore(blobs.put(next))).toBe(2);
    expect(await syncedBefore(blobs.put(next))).toBe(2);
    onSync.done = () => {
      throw new Error('no space');
    };
    await expect(blobs.put(next)).rejects.toThrow('no space');
    await expect(blobs.put(bytesOf(101))).rejects.toThrow('no space');
    expect(files(folder).filter(({ name }) => name.length !== 62)).toEqual([]);
  });

  it('a flipped byte is an error on every read and never served (T30)', async () => {
    covers('T30');
    const folder = temporaryFolder();
    const bytes = bytesOf(5000);
    const sha256 = await openBlobStore(folder).put(bytes);
    const path = pathOf(folder, sha256);
    for (const offset of [0, 1, 2500, 4999]) {
      const stored = readFileSync(path);
      stored[offset] = (stored[offset] as number) ^ 1;
      chmodSync(path, 0o600);
      writeFileSync(path, stored);
      const blobs = openBlobStore(folder);
      await expect(blobs.get(sha256)).rejects.toMatchObject({ code: 'BLOB_DAMAGED' });
      await expect(blobs.getRange(sha256, 0, 10)).rejects.toMatchObject({ code: 'BLOB_DAMAGED' });
      await expect(blobs.getRange(sha256, 0, 10)).rejects.toMatchObject({ code: 'BLOB_DAMAGED' });
    }
    truncateSync(path, 100);
    const blobs = openBlobStore(folder);
    await expect(blobs.get(sha256)).rejects.toMatchObject({ code: 'BLOB_DAMAGED' });
    // Uploading the firmware again mends it.
    expect(await blobs.put(bytes)).toBe(sha256);
    expect(Buffer.compare(await blobs.get(sha256), bytes)).toBe(0);
  });

  it('ranges are what slice gives, and changing one does not change the blob', async () => {
    const blobs = openBlobStore(temporaryFolder());
    const bytes = bytesOf(3000);
    const sha256 = await blobs.put(bytes);
    await fc.assert(
      fc.asyncProperty(fc.nat(3500), fc.nat(3500), async (offset, length) => {
        const range = await blobs.getRange(sha256, offset, length);
        expect([...range]).toEqual([...bytes.slice(offset, offset + length)]);
        range.fill(0);
      }),
    );
    for (const [offset, length] of [
      [-1, 5],
      [0, -1],
      [0.5, 1],
      [0, Number.NaN],
    ] as const) {
      await expect(blobs.getRange(sha256, offset, length)).rejects.toMatchObject({ code: 'BAD_REQUEST' });
    }
  });

  it('once verified, a range is served from memory: a file swapped later is not seen there, and refused by get (T30)', async () => {
    covers('T30');
    const folder = temporaryFolder();
    const blobs = openBlobStore(folder);
    const sha256 = await blobs.put(bytesOf(100));
    await blobs.getRange(sha256, 0, 1);
    writeFileSync(pathOf(folder, sha256), bytesOf(100, 2));
    expect([...(await blobs.getRange(sha256, 0, 3))]).toEqual([...bytesOf(3)]);
    await expect(blobs.get(sha256)).rejects.toMatchObject({ code: 'BLOB_DAMAGED' });
  });

  it('keeps to its limits', async () => {
    const folder = temporaryFolder();
    const blobs = openBlobStore(folder, { blobBytes: 1000, cachedBytes: 2000 });
    await expect(blobs.put(bytesOf(1001))).rejects.toMatchObject({ code: 'BLOB_TOO_LARGE' });
    const [a, b, c] = [await blobs.put(bytesOf(1000, 1)), await blobs.put(bytesOf(1000, 2)), await blobs.put(bytesOf(1000, 3))];
    await blobs.getRange(a, 0, 1);
    await blobs.getRange(b, 0, 1);
    await blobs.getRange(c, 0, 1);
    writeFileSync(pathOf(folder, a), 'damaged');
    await expect(blobs.getRange(a, 0, 1)).rejects.toMatchObject({ code: 'BLOB_DAMAGED' });
    expect((await blobs.getRange(b, 0, 1)).length).toBe(1);
  });

  it('refuses what is not there and what is not a hash', async () => {
    const blobs = openBlobStore(temporaryFolder());
    const missing = 'a'.repeat(64);
    await expect(blobs.get(missing)).rejects.toMatchObject({ code: 'BLOB_NOT_FOUND' });
    await expect(blobs.size(missing)).rejects.toMatchObject({ code: 'BLOB_NOT_FOUND' });
    await expect(blobs.getRange(missing, 0, 1)).rejects.toMatchObject({ code: 'BLOB_NOT_FOUND' });
    for (const name of ['', '../../etc/passwd', 'A'.repeat(64), `${'a'.repeat(63)}/`, 'a'.repeat(65)]) {
      await expect(blobs.get(name)).rejects.toMatchObject({ code: 'BAD_REQUEST' });
      await expect(blobs.delete(name)).rejects.toMatchObject({ code: 'BAD_REQUEST' });
    }
  });

  it('deletes a blob and what it remembers of it', async () => {
    const folder = temporaryFolder();
    const blobs = openBlobStore(folder);
    const sha256 = await blobs.put(bytesOf(100));
    await blobs.getRange(sha256, 0, 1);
    expect(await blobs.delete(sha256)).toBe(true);
    expect(await blobs.delete(sha256)).toBe(false);
    await expect(blobs.getRange(sha256, 0, 1)).rejects.toMatchObject({ code: 'BLOB_NOT_FOUND' });
    expect(files(folder)).toEqual([]);
  });
});

describe('blobs beside the events', () => {
  const openBoth = async () => {
    const folder = temporaryFolder();
    const store = await openSqliteStore({ file: join(folder, 'events.db') });
    onTestFinished(() => store.close());
    return { folder: join(folder, 'blobs'), file: join(folder, 'events.db'), store };
  };

  it('are rows up to 64 KiB and files above, read by the same name', async () => {
    const { folder, store } = await openBoth();
    const blobs = openBlobStore(folder, { rows: store });
    const [small, limit, large] = [bytesOf(600), bytesOf(65_536), bytesOf(65_537)];
    const names = [await blobs.put(small), await blobs.put(limit)];
    expect(existsSync(folder)).toBe(false);
    names.push(await blobs.put(large));
    expect(files(folder)).toHaveLength(1);
    for (const [i, bytes] of [small, limit, large].entries()) {
      const name = names[i] as string;
      expect(name).toBe(createHash('sha256').update(bytes).digest('hex'));
      expect(Buffer.compare(await blobs.get(name), bytes)).toBe(0);
      expect(await blobs.size(name)).toBe(bytes.length);
      expect([...(await blobs.getRange(name, 10, 5))]).toEqual([...bytes.slice(10, 15)]);
      expect(await blobs.delete(name)).toBe(true);
      expect(await blobs.delete(name)).toBe(false);
      await expect(blobs.get(name)).rejects.toMatchObject({ code: 'BLOB_NOT_FOUND' });
    }
    for (const name of ['', '../../etc/passwd', 'A'.repeat(64)])
      await expect(blobs.get(name)).rejects.toMatchObject({ code: 'BAD_REQUEST' });
  });

  it('that were stored as files before are still found', async () => {
    const { folder, store } = await openBoth();
    const name = await openBlobStore(folder).put(bytesOf(600));
    expect((await openBlobStore(folder, { rows: store }).get(name)).length).toBe(600);
  });

  it('a flipped bit in a row is an error on every read, and storing the bytes again mends it (T30)', async () => {
    covers('T30');
    const { folder, file, store } = await openBoth();
    const blobs = openBlobStore(folder, { rows: store });
    const bytes = bytesOf(600);
    const name = await blobs.put(bytes);
    const damaged = Buffer.from(bytes);
    damaged[300] = (damaged[300] as number) ^ 1;
    const db = new Database(file);
    db.prepare('UPDATE blobs SET bytes = ?').run(damaged);
    db.close();
    await expect(blobs.get(name)).rejects.toMatchObject({ code: 'BLOB_DAMAGED' });
    await expect(blobs.getRange(name, 0, 10)).rejects.toMatchObject({ code: 'BLOB_DAMAGED' });
    expect(await blobs.put(bytes)).toBe(name);
    expect(Buffer.compare(await blobs.get(name), bytes)).toBe(0);
  });
});
