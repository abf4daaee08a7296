import { statSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { expect, it, onTestFinished } from 'vitest';
import { openReadModelWriter } from '../../src/projections/database.ts';
import { careForLog } from '../../src/projections/logCare.ts';
import { temporaryFolder } from '../eventstore/support.ts';

/** Events after which the log is moved. */
const enough = 60_000;

it('moves all of the log into the file while nobody writes, and never on the thread that writes', async () => {
  const file = join(temporaryFolder(), 'read.db');
  const db = openReadModelWriter(file);
  const care = careForLog(db);
  onTestFinished(async () => {
    await care.close();
    db.close();
  });
  db.exec('CREATE TABLE rows (id INTEGER PRIMARY KEY, text TEXT NOT NULL) STRICT');
  const put = db.prepare('INSERT INTO rows (text) VALUES (?)');
  const write = (): void => {
    for (let row = 0; row < 500; row += 1) put.run('x'.repeat(1000));
  };
  const inFile = (): number => statSync(file).size;
  write();
  expect(inFile()).toBeLessThan(100_000);
  await care.projected(enough);
  await expect.poll(inFile).toBeGreaterThan(400_000);
  write();
  // What was written meanwhile is there when it resolves.
  await expect.poll(() => care.projected(1).then(inFile)).toBeGreaterThan(900_000);
  const inLog = (): number => statSync(`${file}-wal`).size;
  const before = inLog();
  write();
  // It began again: as much once more would have doubled it.
  expect(inLog()).toBeLessThan(1.5 * before);
  const other = new Database(file, { readonly: true });
  expect(other.prepare<number>('SELECT count(*) FROM rows').pluck().get()).toBe(1500);
  other.close();
});
