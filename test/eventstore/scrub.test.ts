import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { describe, expect, it, onTestFinished } from 'vitest';
import { openBlobStore } from '../../src/eventstore/blobs.ts';
import { type ScrubFinding, startScrub } from '../../src/eventstore/scrub.ts';
import { openSqliteStore } from '../../src/eventstore/sqlite.ts';
import { event, temporaryFolder } from './support.ts';

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
  const custody = new Database(places.databases[0] as string);
  custody.exec('CREATE TABLE key (id TEXT PRIMARY KEY)');
  for (let i = 0; i < 500; i++) custody.prepare('INSERT INTO key VALUES (?)').run(`key-${i}`.padEnd(60, 'x'));
  custody.close();
  return { places, small, large };
}

async function oneRound(places: Parameters<typeof startScrub>[0]): Promise<readonly ScrubFinding[]> {
  const findings: ScrubFinding[] = [];
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
    db.close();
    writeFileSync(join(places.blobs, large.slice(0, 2), large.slice(2)), 'other');
    const [custody] = places.databases as [string];
    const bytes = readFileSync(custody);
    bytes.fill(0xff, 4096, 4200);
    writeFileSync(custody, bytes);
    const findings = await oneRound(places);
    expect(findings.map(({ place }) => place)).toEqual(['event 4', 'event 7', `blob ${small}`, `blob ${large}`, 'custody.db']);
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
