/** Durable appends with the hash chain, and loads of a stream. */
import { closeSync, fdatasyncSync, openSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { createIdSource } from '../src/eventstore/ids.ts';
import type { EventStore, EventToAppend } from '../src/eventstore/port.ts';
import { openSqliteStore } from '../src/eventstore/sqlite.ts';
import { inTemporaryFolder, interleave, perSecond, type Report } from './measure.ts';

const rounds = 5;
const roundMs = 700;
const boundMs = 200;
const devices = 5000;
/** One row of the bench with its share of the page, roughly. */
const eventBytes = 640;
const newId = createIdSource();

const certified = (): EventToAppend => ({
  type: 'DeviceCertified',
  id: newId(),
  at: '2026-01-02T03:04:05.678Z',
  by: 'programmer:00112233445566778899aabbccddeeff',
  data: { serial: 'ab'.repeat(16), notAfter: '2046-01-02T03:04:05.678Z', certificate: 'cd'.repeat(32) },
});

export async function run(report: Report): Promise<void> {
  await inTemporaryFolder(async folder => {
    const store = await openSqliteStore({ file: join(folder, 'events.db') });
    for (const writers of [1, 16, 64]) {
      const bound = () => syncRate(join(folder, 'raw'), writers * eventBytes) * writers;
      const figures = await interleave(rounds, () => appendRate(store, writers), bound);
      const boundWhat = `events/s if one fdatasync of ${writers} events were all the work`;
      report({ figure: `durable appends, ${writers} writers`, ...figures, unit: 'events/s', boundWhat });
    }
    await store.close();
  });
  await inTemporaryFolder(folder => benchLoad(folder, report));
}

async function appendRate(store: EventStore, writers: number): Promise<number> {
  const start = performance.now();
  let appended = 0;
  const write = async () => {
    while (performance.now() - start < roundMs) await store.append(`device-${appended++ % devices}`, 'any', [certified()]);
  };
  await Promise.all(Array.from({ length: writers }, write));
  return perSecond(appended, start);
}

/** Synchronisations per second of a file that is written over, as the WAL is. */
function syncRate(file: string, bytes: number): number {
  const fd = openSync(file, 'w');
  const block = Buffer.alloc(bytes, 1);
  const start = performance.now();
  let count = 0;
  for (; performance.now() - start < boundMs; count++) {
    writeSync(fd, block, 0, bytes, (count % 64) * bytes);
    fdatasyncSync(fd);
  }
  closeSync(fd);
  return perSecond(count, start);
}

/** 20 events per stream, written in turns, so that a stream's events lie apart. */
async function benchLoad(folder: string, report: Report): Promise<void> {
  const file = join(folder, 'events.db');
  const store = await openSqliteStore({ file });
  for (let revision = 0; revision < 20; revision++) {
    await Promise.all(Array.from({ length: devices }, (_, device) => store.append(`device-${device}`, 'any', [certified()])));
  }
  const raw = new Database(file, { readonly: true });
  const row = raw.prepare('SELECT * FROM events WHERE position = ?').raw();
  const loadUs = async () => {
    const start = performance.now();
    for (let device = 0; device < devices; device++) await store.readStream(`device-${device}`);
    return ((performance.now() - start) * 1000) / devices;
  };
  const rowsUs = () => {
    const start = performance.now();
    raw.exec('BEGIN');
    for (let device = 0; device < devices; device++)
      for (let revision = 0; revision < 20; revision++) row.get(1 + device + revision * devices);
    raw.exec('COMMIT');
    return ((performance.now() - start) * 1000) / devices;
  };
  const figures = await interleave(rounds, loadUs, rowsUs);
  report({ figure: 'load of a stream of 20 events', ...figures, unit: 'µs', boundWhat: 'µs for 20 rows by primary key, undecoded' });
  raw.close();
  await store.close();
}
