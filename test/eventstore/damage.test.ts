import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { copyFileSync, existsSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import Database from 'better-sqlite3';
import { describe, expect, it } from 'vitest';
import type { EventStore } from '../../src/eventstore/port.ts';
import { rowCheck } from '../../src/eventstore/rowCheck.ts';
import { openSqliteStore } from '../../src/eventstore/sqlite.ts';
import { verifyStore } from '../../src/eventstore/verify.ts';
import { damagesBeside } from '../../src/services/dataFolder/damage.ts';
import { event, temporaryFolder } from './support.ts';

/** A store whose process was killed: its newest events are in the write-ahead log only. @returns the highest acknowledged position */
async function killedStore(file: string): Promise<number> {
  const writer = spawn(process.execPath, [join(import.meta.dirname, 'appendUntilKilled.ts'), file], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let output = '';
  writer.stdout.on('data', chunk => {
    output += chunk;
  });
  await once(writer.stdout, 'data');
  while (output.split('\n').length < 400) await setTimeout(5);
  writer.kill('SIGKILL');
  await once(writer, 'exit');
  return Math.max(...output.split('\n').map(line => Number(line.match(/^(\d+) /)?.[1] ?? 0)));
}

function copyStore(from: string, to: string): void {
  for (const suffix of ['', '-wal', '-head']) if (existsSync(from + suffix)) copyFileSync(from + suffix, to + suffix);
}

describe('a write-ahead log that is not as it was', () => {
  const changes: Readonly<Record<string, (log: string) => void>> = {
    removed: log => rmSync(log),
    'cut to half': log => truncateSync(log, Math.floor(readFileSync(log).length / 2)),
    emptied: log => truncateSync(log, 0),
    'flipped in one bit': log => {
      const bytes = readFileSync(log);
      bytes[Math.floor(bytes.length / 3)]! ^= 4;
      writeFileSync(log, bytes);
    },
  };

  it('is found when the store is opened, with the first position that is missing; unchanged, it has all', async () => {
    const folder = temporaryFolder();
    const original = join(folder, 'events.db');
    const acknowledged = await killedStore(original);
    for (const [how, change] of Object.entries(changes)) {
      const file = join(folder, `${how.replaceAll(' ', '-')}.db`);
      copyStore(original, file);
      change(`${file}-wal`);
      const refusal = await openSqliteStore({ file }).catch(error => error);
      expect(refusal, how).toMatchObject({ code: 'STORE_DAMAGED' });
      expect(refusal.message, how).toMatch(/from position \d+ to \d+ were acknowledged and are missing/);
      // And a second time: refusing changes nothing.
      await expect(openSqliteStore({ file }), how).rejects.toMatchObject({ code: 'STORE_DAMAGED' });
      const accepted = await openSqliteStore({ file, acceptOlder: true });
      expect(await accepted.head(), how).toBeLessThan(acknowledged);
      await accepted.append('after', 'none', [event('A')]);
      await accepted.close();
      await (await openSqliteStore({ file })).close();
    }
    const store = await openSqliteStore({ file: original });
    expect(await store.head()).toBeGreaterThanOrEqual(acknowledged);
    await store.close();
  });

  it('is found also when other events stand where the acknowledged ones were', async () => {
    const file = join(temporaryFolder(), 'events.db');
    let store = await openSqliteStore({ file });
    await store.append('s', 'any', [event('A')]);
    await store.close();
    const yesterday = readFileSync(file);
    store = await openSqliteStore({ file });
    await store.append('s', 'any', [event('B')]);
    await store.close();
    const mark = readFileSync(`${file}-head`);
    writeFileSync(file, yesterday);
    rmSync(`${file}-head`);
    store = await openSqliteStore({ file });
    await store.append('s', 'any', [event('C'), event('D')]);
    await store.close();
    writeFileSync(`${file}-head`, mark);
    await expect(openSqliteStore({ file })).rejects.toMatchObject({
      code: 'STORE_DAMAGED',
      message: expect.stringContaining('position 2 is not the one'),
    });
    expect(verifyStore(file)).toEqual({ ok: false, position: 2, reason: 'acknowledged', from: 1 });
    expect(verifyStore(file, [], false)).toMatchObject({ ok: true });
  });
});

describe('a store without a mark, or with a mark that is not readable', () => {
  it('opens, as a copy made with other tools does', async () => {
    const file = join(temporaryFolder(), 'events.db');
    let store = await openSqliteStore({ file });
    await store.append('s', 'any', [event('A')]);
    await store.close();
    for (const mark of [undefined, Buffer.alloc(0), Buffer.from('0 nothing 7\n'), Buffer.alloc(8192, 0x31)]) {
      if (mark === undefined) rmSync(`${file}-head`);
      else writeFileSync(`${file}-head`, mark);
      store = await openSqliteStore({ file });
      expect(await store.head()).toBe(1);
      await store.close();
    }
  });
});

describe('the row that says who leads', () => {
  it('is missed when it is gone: no leadership would ever end', async () => {
    const file = join(temporaryFolder(), 'events.db');
    const store = await openSqliteStore({ file });
    await store.append('s', 'any', [event('A')]);
    const other = new Database(file);
    other.exec('DELETE FROM store');
    other.close();
    await expect(store.takeEpoch(0)).rejects.toMatchObject({ code: 'STORE_DAMAGED' });
    expect(await store.readStream('s')).toHaveLength(1);
    await store.close();
    await expect(openSqliteStore({ file })).rejects.toMatchObject({ code: 'STORE_DAMAGED', message: expect.stringContaining('who leads') });
  });
});

describe('a position that is missing', () => {
  it('is named by whoever reads there, and by the next start', async () => {
    const file = join(temporaryFolder(), 'events.db');
    const store = await openSqliteStore({ file });
    for (const stream of ['a', 'b', 'c', 'd']) await store.append(stream, 'any', [event('A')]);
    const db = new Database(file);
    db.exec('DELETE FROM events WHERE position = 3');
    db.close();
    const named = { code: 'STORE_DAMAGED', message: expect.stringContaining('position 3') };
    await expect(store.readAll(0, 10)).rejects.toMatchObject(named);
    await expect(store.readAll(2, 10)).rejects.toMatchObject(named);
    await expect(store.readOutlines(0, 10)).rejects.toMatchObject(named);
    await expect(store.readStream('c')).rejects.toMatchObject(named);
    expect(await store.readAll(0, 2)).toHaveLength(2);
    await store.close();
    await expect(openSqliteStore({ file })).rejects.toMatchObject(named);
  });
});

describe('a pointer that was bent', () => {
  it('is not followed, even when the checksum of its row fits', async () => {
    const file = join(temporaryFolder(), 'events.db');
    const store = await openSqliteStore({ file });
    await store.append('s', 'any', [event('A'), event('B'), event('C')]);
    await store.append('t', 'any', [event('A'), event('B')]);
    const db = new Database(file);
    const row = db
      .prepare<[string, number, number, string, string, string]>(
        'SELECT stream, revision, prev, id, hash, body FROM events WHERE position = ?',
      )
      .raw();
    const bend = db.prepare('UPDATE events SET prev = ?, crc = ? WHERE position = ?');
    // To nothing, past one, to itself, ahead of it, into the other stream.
    for (const [position, prev] of [
      [3, 0],
      [3, 1],
      [3, 3],
      [3, 99],
      [5, 2],
    ] as const) {
      const [stream, revision, before, id, hash, body] = row.get(position) ?? ['', 0, 0, '', '', ''];
      bend.run(prev, rowCheck(position, stream, revision, prev, id, hash, body), position);
      await expect(store.readStream(stream)).rejects.toMatchObject({ code: 'STORE_DAMAGED' });
      bend.run(before, rowCheck(position, stream, revision, before, id, hash, body), position);
      expect((await store.readStream(stream)).length).toBeGreaterThan(1);
    }
    db.close();
    await store.close();
  });
});

/** What a disk does to the main file at one place. */
const harms: readonly (readonly [what: string, places: number, harm: (bytes: Buffer, place: number, i: number) => Buffer])[] = [
  ['with a flipped bit', 400, (bytes, place, i) => changed(bytes, place, [bytes[place]! ^ (1 << (i % 8))])],
  ['with a sector of zeros', 80, (bytes, place) => changed(bytes, place - (place % 512), new Uint8Array(512))],
  ['with a block of zeros', 40, (bytes, place) => changed(bytes, place - (place % 4096), new Uint8Array(4096))],
  ['with another page in the place of one', 40, (bytes, place) => changed(bytes, place - (place % 8192), bytes.subarray(8192, 16_384))],
  ['that ends early', 80, (bytes, place) => bytes.subarray(0, place)],
];

function changed(bytes: Buffer, place: number, by: Iterable<number>): Buffer {
  const copy = Buffer.from(bytes);
  copy.set([...by], place);
  return copy.subarray(0, bytes.length);
}

describe('a main file', () => {
  it.each(harms)(
    '%s never changes what is read: at %i places the answer is the stored one or names the damage',
    async (what, places, harm) => {
      const folder = temporaryFolder();
      const file = join(folder, 'events.db');
      const seal = { key: randomBytes(32), isNew: true };
      const store = await openSqliteStore({ file, seal });
      const streams = Array.from({ length: 20 }, (_, i) => `device-${i}`);
      for (let n = 0; n < 12; n++)
        await Promise.all(streams.map(stream => store.append(stream, 'any', [event('E', { n, text: 'ab'.repeat(40) })])));
      const read = async (from: EventStore) => ({
        all: await from.readAll(0, 10_000),
        streams: await Promise.all(streams.map(stream => from.readStream(stream))),
        head: await from.head(),
      });
      const stored = await read(store);
      await store.close();
      const bytes = readFileSync(file);
      const readAndAppend = async (from: EventStore) => {
        const answer = await read(from);
        await from.append('device-7', 11, [event('E')]);
        return answer;
      };
      const outcomes = { same: 0, damaged: 0 };
      for (let i = 0; i < places; i++) {
        const copy = join(folder, `harmed-${i}.db`);
        const place = Math.floor(((i + 0.5) * bytes.length) / places);
        writeFileSync(copy, harm(bytes, place, i));
        copyFileSync(`${file}-head`, `${copy}-head`);
        const answer = await openSqliteStore({ file: copy, seal: { ...seal, isNew: false } })
          .then(async opened => readAndAppend(opened).finally(() => opened.close()))
          .catch(error => error);
        if (answer instanceof Error) expect(answer, `${what}, byte ${place}: ${answer.stack}`).toMatchObject({ code: 'STORE_DAMAGED' });
        else expect(answer, `${what}, byte ${place}`).toEqual(stored);
        outcomes[answer instanceof Error ? 'damaged' : 'same'] += 1;
        for (const suffix of ['', '-wal', '-shm', '-head']) rmSync(copy + suffix, { force: true });
      }
      // The others lie in the index over ids or in no row at all.
      expect(outcomes.damaged).toBeGreaterThan(places * 0.3);
    },
  );
});

describe('a damaged index over ids', () => {
  const first = Array.from({ length: 400 }, (_, n) => event('E', { n }));
  const streamOf = (n: number): string => `s-${n % 7}`;
  /** Only the newest events are remembered when it is opened. */
  const options = (file: string) => ({ file, indexEvents: 40 });
  const indexedUpTo = (file: string): number => {
    const db = new Database(file, { readonly: true });
    const upTo = db.prepare<number>('SELECT coalesce(max(upTo), 0) FROM head_runs').pluck().get() ?? 0;
    db.close();
    return upTo;
  };
  const filled = async () => {
    const file = join(temporaryFolder(), 'events.db');
    const store = await openSqliteStore(options(file));
    for (const [n, each] of first.entries()) await store.append(streamOf(n), 'any', [each]);
    await expect.poll(() => indexedUpTo(file)).toBeGreaterThan(300);
    await store.close();
    return file;
  };
  /** Page and place of an id in the leaves of the index (https://sqlite.org/fileformat2.html#b_tree_pages). */
  const inIndex = (bytes: Buffer, { id }: { readonly id: string }): { readonly page: number; readonly at: number } => {
    for (let page = 0; page < bytes.length; page += 8192) {
      if (bytes[page] !== 0x0a) continue;
      for (let cell = 0; cell < bytes.readUInt16BE(page + 3); cell++) {
        const begin = page + bytes.readUInt16BE(page + 8 + 2 * cell);
        const at = bytes.indexOf(id, begin);
        if (at !== -1 && at < begin + 8) return { page, at };
      }
    }
    throw new Error('not found');
  };
  const [one, newest] = [first[123], first[399]] as [(typeof first)[number], (typeof first)[number]];
  const keepEntries = (bytes: Buffer, of: typeof one, count: number): void => {
    bytes.writeUInt16BE(count, inIndex(bytes, of).page + 3);
  };
  const flip = (bytes: Buffer, chars: number, mask: number): void => {
    const at = inIndex(bytes, one).at + chars;
    bytes.writeUInt8(bytes.readUInt8(at) ^ mask, at);
  };
  const harms: Readonly<Record<string, (bytes: Buffer) => void>> = {
    'an id that sorts before': bytes => flip(bytes, 3, 1),
    'an id that sorts far behind': bytes => flip(bytes, 0, 64),
    'an entry of another row': bytes => flip(bytes, one.id.length, 1),
    'a page with fewer entries': bytes => keepEntries(bytes, one, 2),
  };

  it.each(Object.entries(harms))('stores no event a second time: %s', async (_, harm) => {
    const file = await filled();
    const bytes = readFileSync(file);
    harm(bytes);
    writeFileSync(file, bytes);
    const store = await openSqliteStore(options(file));
    await expect(store.append(streamOf(123), 'any', [one])).rejects.toMatchObject({ code: 'STORE_DAMAGED' });
    expect((await store.append(streamOf(123), 'any', [event('E')])).position).toBe(401);
    await store.close();
    expect(verifyStore(file)).toMatchObject({ ok: false, reason: 'index over ids' });
    const db = new Database(file);
    db.exec('REINDEX events_id');
    db.close();
    expect(verifyStore(file)).toMatchObject({ ok: true, events: 401 });
    const mended = await openSqliteStore(options(file));
    expect(await mended.append(streamOf(123), 'any', [one])).toEqual({ revision: 17, position: 124 });
    await mended.close();
  });

  it('is found at the start when it does not have the newest ids', async () => {
    const file = await filled();
    const bytes = readFileSync(file);
    keepEntries(bytes, newest, 1);
    writeFileSync(file, bytes);
    await expect(openSqliteStore(options(file))).rejects.toMatchObject({
      code: 'STORE_DAMAGED',
      message: expect.stringContaining('REINDEX events_id'),
    });
  });
});

describe('verification of a main file', () => {
  it('names the position also where a page was overwritten', async () => {
    const folder = temporaryFolder();
    const file = join(folder, 'events.db');
    const store = await openSqliteStore({ file });
    for (let n = 0; n < 200; n++) await store.append('a', 'any', [event('E', { text: 'ab'.repeat(100) })]);
    await store.close();
    const bytes = readFileSync(file);
    const middle = bytes.indexOf('ab'.repeat(100), Math.floor(bytes.length / 2));
    for (const [start, length] of [
      [middle - (middle % 8192), 8192],
      [middle - (middle % 4096), 4096],
      [middle - (middle % 512), 512],
    ] as const) {
      writeFileSync(file, changed(bytes, start, new Uint8Array(length)));
      let found: string;
      try {
        found = JSON.stringify(verifyStore(file));
      } catch (error) {
        found = (error as Error).message;
      }
      expect(found, `${length} bytes`).toMatch(/"ok":false,"position":\d+|from position \d+ on cannot be read/);
    }
  });
});

it('verification names an event that readers refuse because its checksum was changed', async () => {
  const file = join(temporaryFolder(), 'events.db');
  const store = await openSqliteStore({ file });
  for (let n = 0; n < 5; n++) await store.append('a', 'any', [event('E')]);
  await store.close();
  const db = new Database(file);
  db.exec('UPDATE events SET crc = crc + 1 WHERE position = 3');
  db.close();
  expect(verifyStore(file)).toEqual({ ok: false, position: 3, reason: 'hash', stream: 'a', revision: 2 });
});

it('a log that is removed while it is in use ends the acknowledgements', async () => {
  const file = join(temporaryFolder(), 'events.db');
  const store = await openSqliteStore({ file });
  await store.append('a', 'none', [event('E')]);
  rmSync(`${file}-wal`);
  await expect(store.append('a', 0, [event('E')])).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' });
  expect(await store.trouble()).toMatchObject({ code: 'STORE_UNAVAILABLE' });
  await store.close();
});

it('a trigger or view that somebody has planted in the file is named, and the store does not open (T18)', async () => {
  for (const planted of [
    'TRIGGER planted AFTER INSERT ON events BEGIN DELETE FROM events WHERE position < NEW.position; END',
    'VIEW planted AS SELECT 1',
  ]) {
    const file = join(temporaryFolder(), 'events.db');
    await openSqliteStore({ file }).then(store => store.close());
    const db = new Database(file);
    db.exec(`CREATE ${planted}`);
    db.close();
    const refusal = { code: 'STORE_DAMAGED', message: expect.stringContaining(' planted, which nobody of this project') };
    await expect(openSqliteStore({ file })).rejects.toMatchObject(refusal);
    const beside: unknown[] = [];
    for await (const damage of damagesBeside({ store: file, blobs: '', databases: [] }, 'quick_check')) beside.push(damage);
    expect(beside).toContainEqual({ place: 'events.db', detail: expect.stringContaining(' planted, which nobody of this project') });
  }
});
