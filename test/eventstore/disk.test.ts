import { execFileSync } from 'node:child_process';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { openBlobStore } from '../../src/eventstore/blobs.ts';
import { openSqliteStore } from '../../src/eventstore/sqlite.ts';
import { verifyStore } from '../../src/eventstore/verify.ts';
import { canMount, fillDisk, smallDisk } from './smallDisk.ts';
import { event, temporaryFolder } from './support.ts';

/** Longer than the pause between two trials of the store. */
const nextTrialMs = 1100;
const big = () => event('Big', { text: 'x'.repeat(20_000) });

describe('a disk that is full', () => {
  it('refuses what it cannot hold, loses nothing, says so, and takes more when there is room again', async test => {
    if (!canMount()) return test.skip('no right to mount a disk');
    const folder = smallDisk();
    const file = join(folder, 'events.db');
    const store = await openSqliteStore({ file });
    const blobs = openBlobStore(join(folder, 'blobs'), { rows: store });
    writeFileSync(join(folder, 'weight'), Buffer.alloc(4_000_000));
    expect(await store.trouble()).toBeUndefined();
    const acknowledged: string[] = [];
    for (let refusal: unknown; refusal === undefined; ) {
      const [one, two] = [big(), event('Small')];
      await store.append('s', 'any', [one, two]).then(
        () => acknowledged.push(one.id, two.id),
        error => {
          refusal = error;
        },
      );
      if (refusal !== undefined) expect(refusal).toMatchObject({ code: 'STORE_FULL' });
    }
    expect(acknowledged.length).toBeGreaterThan(10);
    await expect(blobs.put(new Uint8Array(60_000).fill(1))).rejects.toMatchObject({ code: 'STORE_FULL' });
    await expect(blobs.put(new Uint8Array(2_000_000))).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' });
    const free = fillDisk(folder);
    await setTimeout(nextTrialMs);
    expect(await store.trouble()).toMatchObject({ code: 'STORE_FULL' });
    const stored = async () => (await store.readStream('s')).map(({ id }) => id);
    expect(await stored()).toEqual(acknowledged);
    free();
    rmSync(join(folder, 'weight'));
    await setTimeout(nextTrialMs);
    expect(await store.trouble()).toBeUndefined();
    const again = big();
    await store.append('s', 'any', [again]);
    expect(await stored()).toEqual([...acknowledged, again.id]);
    await store.close();
    expect(verifyStore(file)).toMatchObject({ ok: true, events: acknowledged.length + 1 });
  });
});

describe('a folder that cannot be written', () => {
  it('has a code of its own, for a store that is there and for one that is to be made', async test => {
    if (!canMount()) return test.skip('no right to mount a disk');
    const folder = smallDisk();
    const file = join(folder, 'events.db');
    const store = await openSqliteStore({ file });
    await store.append('s', 'any', [event('A')]);
    await store.close();
    execFileSync('mount', ['-o', 'remount,ro', folder]);
    await expect(openSqliteStore({ file })).rejects.toMatchObject({ code: 'STORE_READ_ONLY' });
    await expect(openSqliteStore({ file: join(folder, 'new.db') })).rejects.toMatchObject({ code: 'STORE_READ_ONLY' });
    expect(() => verifyStore(file)).toThrow(expect.objectContaining({ code: 'STORE_READ_ONLY' }));
    execFileSync('mount', ['-o', 'remount,rw', folder]);
    const again = await openSqliteStore({ file });
    expect(await again.readStream('s')).toHaveLength(1);
    await again.close();
  });
});

describe('a thread that keeps the file up', () => {
  it('is missed when it cannot do its work, and no more when it can', async () => {
    const folder = temporaryFolder();
    const file = join(folder, 'events.db');
    const store = await openSqliteStore({ file, indexEvents: 40 });
    mkdirSync(`${file}-index`);
    await store.append(
      's',
      'any',
      Array.from({ length: 100 }, () => event('A')),
    );
    await expect.poll(() => store.trouble()).toMatchObject({ code: 'STORE_UNAVAILABLE' });
    await store.append('s', 'any', [event('B')]);
    rmSync(`${file}-index`, { recursive: true });
    await expect.poll(() => store.trouble()).toBeUndefined();
    await store.close();
  });
});
