import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { describe, expect, it, onTestFinished } from 'vitest';
import { openBlobStore } from '../../../src/eventstore/blobs.ts';
import { openSqliteStore } from '../../../src/eventstore/sqlite.ts';
import { openCustody } from '../../../src/keystore/custody.ts';
import type { Damage } from '../../../src/services/dataFolder/damage.ts';
import { startScrub } from '../../../src/services/dataFolder/scrub.ts';
import { event, temporaryFolder } from '../../eventstore/support.ts';

const pace = { atOnce: 3, pauseMs: 1, betweenRoundsMs: 60_000 };

/** A folder with everything that is looked at. */
async function folderWithAll() {
  const folder = temporaryFolder();
  const places = {
    store: join(folder, 'events.db'),
    blobs: join(folder, 'blobs'),
    databases: [join(folder, 'custody.db'), join(folder, 'none.db')],
  };
  const store = await openSqliteStore({ file: places.store });
  for (let i = 0; i < 10; i++) await store.append('s', 'any', [event('E', { i })]);
  const blobs = openBlobStore(places.blobs, { rows: store });
  const [small, large] = [await blobs.put(Uint8Array.of(1, 2, 3)), await blobs.put(new Uint8Array(70_000).fill(7))];
  await store.close();
  const custody = openCustody(places.databases[0] as string);
  const fresh = {
    kekId: 'kek/1',
    publicKey: new Uint8Array(91),
    wrapped: new Uint8Array(152).fill(7),
    createdAt: '2026-01-02T03:04:05.000Z',
  };
  await Promise.all(Array.from({ length: 500 }, (_, i) => custody.put({ keyId: `boot/${i}`, ...fresh })));
  await custody.close();
  return { places, small, large };
}

async function oneRound(places: Parameters<typeof startScrub>[0]): Promise<readonly Damage[]> {
  const findings: Damage[] = [];
  const ended = Promise.withResolvers<void>();
  const scrub = startScrub(places, finding => findings.push(finding), ended.resolve, pace);
  onTestFinished(() => scrub.close());
  await ended.promise;
  return findings;
}

describe('the scrub', () => {
  it('finds nothing where all is as it was stored', async () => {
    const { places } = await folderWithAll();
    expect(await oneRound(places)).toEqual([]);
  });

  it('names every event, blob and file that is damaged', async () => {
    const { places, small, large } = await folderWithAll();
    const db = new Database(places.store);
    db.exec(`UPDATE events SET body = replace(body, '"i":3', '"i":8') WHERE position = 4; DELETE FROM events WHERE position = 7`);
    db.prepare('UPDATE blobs SET bytes = ?').run(Buffer.of(1, 2, 4));
    db.exec('DELETE FROM store');
    db.close();
    writeFileSync(join(places.blobs, large.slice(0, 2), large.slice(2)), 'other');
    const [custody] = places.databases as [string];
    const keys = new Database(custody);
    keys.exec("UPDATE custody_key SET wrapped = zeroblob(152) WHERE key_id IN ('boot/3', 'boot/499')");
    keys.pragma('wal_checkpoint(TRUNCATE)');
    keys.close();
    const damaged = ['event 4', 'event 7', 'events.db', `blob ${small}`, `blob ${large}`];
    const placesOf = async () => (await oneRound(places)).map(({ place }) => place);
    expect(await placesOf()).toEqual([...damaged, 'custody.db, key boot/3', 'custody.db, key boot/499']);

    const bytes = readFileSync(custody);
    bytes.fill(0xff, 4096, 4200);
    writeFileSync(custody, bytes);
    expect(await placesOf()).toEqual([...damaged, 'custody.db']);
  });

  it('finds a name of a blob that a disk has changed, in its row and in the index over the names', async () => {
    const { places, small } = await folderWithAll();
    const bytes = readFileSync(places.store);
    const name = Buffer.from(small, 'hex');
    const first = bytes.indexOf(name);
    const second = bytes.indexOf(name, first + 1);
    expect([first, second, bytes.indexOf(name, second + 1)]).toEqual([expect.any(Number), expect.any(Number), -1]);
    for (const at of [first, second]) {
      bytes[at + 7] = (bytes[at + 7] as number) ^ 1;
      writeFileSync(places.store, bytes);
      bytes[at + 7] = (bytes[at + 7] as number) ^ 1;
      expect((await oneRound(places)).map(({ place }) => place)).toEqual([expect.stringMatching(/^blob /)]);
    }
  });

  it('ends when it is told to, also in the middle of a round', async () => {
    const { places } = await folderWithAll();
    const scrub = startScrub(
      places,
      () => {},
      () => {},
      { atOnce: 1, pauseMs: 60_000, betweenRoundsMs: 60_000 },
    );
    await scrub.close();
  });
});
