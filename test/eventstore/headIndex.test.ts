import { randomBytes } from 'node:crypto';
import { copyFileSync } from 'node:fs';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import Database from 'better-sqlite3';
import { describe, expect, it } from 'vitest';
import { openHeadIndex } from '../../src/eventstore/headIndex.ts';
import { addRunTables, appendRun, mergeRuns, runsOf } from '../../src/eventstore/headRuns.ts';
import { openSqliteStore } from '../../src/eventstore/sqlite.ts';
import { verifyStore } from '../../src/eventstore/verify.ts';
import { event, temporaryFolder } from './support.ts';

const indexEvents = 40;
const now = (work: () => void) => work();
const newFile = () => join(temporaryFolder(), 'events.db');

/** How far the index of a store's file goes. */
function indexed(file: string): { readonly upTo: number; readonly runs: number } {
  const db = new Database(file, { readonly: true });
  const runs = runsOf(db);
  db.close();
  return { upTo: runs.at(-1)?.upTo ?? 0, runs: runs.length };
}

/** A store with `streams` streams in which stream n has about n events, in no order, all but the newest in the index. */
async function filledStore(file: string, streams: number) {
  const revisions = new Map<string, number>();
  const store = await openSqliteStore({ file, indexEvents });
  for (let i = 0; i < streams * 6; i++) {
    const stream = `device-${(i * 7919) % streams}`;
    const revision = revisions.get(stream) ?? -1;
    await store.append(stream, revision === -1 ? 'none' : revision, [event('E', { i })]);
    revisions.set(stream, revision + 1);
  }
  await expect.poll(() => indexed(file).upTo).toBeGreaterThan((await store.head()) - 2 * indexEvents);
  return { store, revisions };
}

describe('the index of streams', () => {
  it('knows every stream, also after a restart and in another process, and no other; few runs hold it all', async () => {
    const file = newFile();
    const { store, revisions } = await filledStore(file, 90);
    const other = await openSqliteStore({ file, indexEvents });
    for (const each of [store, other]) {
      for (const [stream, revision] of revisions) expect(await each.readStream(stream)).toHaveLength(revision + 1);
      expect(await each.readStream('device-90')).toEqual([]);
    }
    await other.append('device-3', revisions.get('device-3') as number, [event('E')]);
    await store.append('device-3', (revisions.get('device-3') as number) + 1, [event('E')]);
    await expect(other.append('device-4', 'none', [event('E')])).rejects.toMatchObject({
      code: 'STREAM_EXISTS',
      actual: revisions.get('device-4'),
    });
    await other.close();
    await store.close();
    expect(indexed(file).runs).toBeLessThan(6);
    const again = await openSqliteStore({ file, indexEvents });
    for (const [stream, revision] of revisions) {
      const more = stream === 'device-3' ? 2 : 0;
      await expect(again.append(stream, 'none', [event('E')])).rejects.toMatchObject({ code: 'STREAM_EXISTS', actual: revision + more });
      expect((await again.append(stream, revision + more, [event('E')])).revision).toBe(revision + more + 1);
    }
    expect((await again.append('device-90', 'none', [event('E')])).revision).toBe(0);
    await again.close();
    expect(verifyStore(file)).toMatchObject({ ok: true, streams: 91 });
  });

  it('is where a process goes on that has read nothing for long: it knows streams, ids and tree as if it had read all of it', async () => {
    const file = newFile();
    const options = { file, indexEvents: 1000, seal: { key: randomBytes(32), isNew: true } };
    const [one, other] = [await openSqliteStore(options), await openSqliteStore(options)] as const;
    await one.append('a', 'none', [event('E')]);
    expect(await other.readStream('a')).toHaveLength(1);
    const early = event('E');
    await one.append('a', 0, [early]);
    const many = () => Array.from({ length: 4000 }, () => event('E'));
    for (const stream of ['a', 'b', 'b', 'c', 'c']) await one.append(stream, 'any', many());
    await expect.poll(() => indexed(file).upTo).toBeGreaterThan(19_000);
    expect(await other.readStream('a')).toHaveLength(4002);
    expect(await other.tree.root(20_002)).toBe(await one.tree.root(20_002));
    await one.close();
    expect(await other.append('a', 'none', [early])).toEqual({ revision: 1, position: 2 });
    expect(await other.append('b', 7999, [event('E')])).toEqual({ revision: 8000, position: 20_003 });
    await other.close();
    expect(verifyStore(file)).toMatchObject({ ok: true, events: 20_003 });
  });

  it('a store of an earlier format gets it when it is opened, also in place of a damaged one', async () => {
    const file = newFile();
    const { store, revisions } = await filledStore(file, 30);
    await store.close();
    const db = new Database(file);
    db.exec('PRAGMA user_version = 4');
    db.close();
    const again = await openSqliteStore({ file, indexEvents });
    for (const [stream, revision] of revisions) expect(await again.readStream(stream)).toHaveLength(revision + 1);
    await again.close();
    expect(indexed(file).upTo).toBe([...revisions.values()].reduce((sum, revision) => sum + revision + 1, 0));
  });

  it('that is damaged is named, and no stream is taken for new', async () => {
    const whole = newFile();
    const { store, revisions } = await filledStore(whole, 40);
    await store.close();
    for (const sql of [
      `UPDATE head_pages SET entries = zeroblob(length(entries))`,
      'UPDATE head_pages SET entries = CAST(substr(entries, 23) || substr(entries, 1, 22) AS BLOB)',
      'UPDATE head_runs SET upTo = upTo - 1',
      'UPDATE head_runs SET after = after + 1',
      'DELETE FROM head_pages',
      'UPDATE head_runs SET pages = 0',
    ]) {
      const file = newFile();
      copyFileSync(whole, file);
      const db = new Database(file);
      db.exec(sql);
      db.close();
      const outcome = await openSqliteStore({ file, indexEvents }).then(
        async opened => {
          const outcomes = await Promise.allSettled([...revisions.keys()].map(stream => opened.append(stream, 'none', [event('E')])));
          await opened.close();
          return outcomes.map(each => (each.status === 'rejected' ? each.reason.code : 'stored'));
        },
        error => [error.code],
      );
      expect(outcome, sql).toContain('STORE_DAMAGED');
      expect(outcome, sql).not.toContain('stored');
    }
  });
});

describe('runs', () => {
  it('of a merge that was cut off are dropped; lookups see what they saw before', async () => {
    const file = newFile();
    const store = await openSqliteStore({ file });
    for (let n = 0; n < 3; n++)
      await Promise.all(Array.from({ length: 1200 }, (_, i) => store.append(`s-${i}`, 'any', [event('E', { n })])));
    await store.close();
    const db = new Database(file);
    addRunTables(db);
    expect([appendRun(db, 1200, now), appendRun(db, 1200, now)]).toEqual([1200, 1200]);
    const before = openHeadIndex(db);
    expect([before.find('s-7'), before.find('s-1200'), before.upTo()]).toEqual([1208, undefined, 2400]);
    db.prepare('INSERT INTO head_pages SELECT 9 * 16777216 + rowid, crc, entries FROM head_pages').run();
    expect(mergeRuns(db, now)).toBe(true);
    expect(mergeRuns(db, now)).toBe(false);
    expect(db.prepare('SELECT count(DISTINCT page / 16777216) FROM head_pages').pluck().get()).toBe(1);
    // The runs that it knew are gone: it looks again.
    expect(Array.from({ length: 1200 }, (_, i) => before.find(`s-${i}`))).toEqual(Array.from({ length: 1200 }, (_, i) => 1201 + i));
    expect(before.find('t')).toBeUndefined();
    db.close();
  });
});

describe('verification of the index of streams', () => {
  const harms: Readonly<Record<string, string>> = {
    'a page that is not what was written':
      "UPDATE head_pages SET entries = CAST(x'00' || substr(entries, 2) AS BLOB) WHERE page = (SELECT min(page) FROM head_pages)",
    'a page that is missing': 'DELETE FROM head_pages WHERE page = (SELECT max(page) FROM head_pages)',
    'a run that is not what was written': 'UPDATE head_runs SET entries = entries + 1',
  };
  it.each(Object.entries(harms))('names %s; it is made again from the events', async (_, sql) => {
    const file = newFile();
    const { store } = await filledStore(file, 90);
    await store.close();
    const { upTo } = indexed(file);
    expect(verifyStore(file)).toMatchObject({ ok: true });
    const db = new Database(file);
    db.exec(sql);
    const verdict = verifyStore(file);
    expect(verdict).toMatchObject({ ok: false, reason: 'index of streams' });
    expect(verdict.ok || verdict.position).toBeLessThanOrEqual(upTo);
    db.pragma('user_version = 4');
    db.close();
    await (await openSqliteStore({ file, indexEvents })).close();
    expect(verifyStore(file)).toMatchObject({ ok: true });
  });

  it('names a stream that ends elsewhere in it, though every checksum fits', async () => {
    const file = newFile();
    const { store } = await filledStore(file, 90);
    await store.close();
    const db = new Database(file);
    // The newest run counts.
    const row = db.prepare<{ page: number; entries: Uint8Array }>('SELECT page, entries FROM head_pages ORDER BY page DESC LIMIT 1').get();
    const entries = Buffer.from(row?.entries ?? []);
    entries.writeUIntBE(1, 16, 6);
    db.prepare('UPDATE head_pages SET entries = ?, crc = ? WHERE page = ?').run(entries, crc32(entries), row?.page ?? 0);
    db.close();
    expect(verifyStore(file)).toMatchObject({ ok: false, reason: 'index of streams', stream: expect.stringMatching(/^device-/) });
  });
});
