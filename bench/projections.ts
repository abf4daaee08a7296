import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { createIdSource } from '../src/eventstore/ids.ts';
import type { EventStore, EventToAppend } from '../src/eventstore/port.ts';
import { openSqliteStore } from '../src/eventstore/sqlite.ts';
import { openReadModelWriter } from '../src/projections/database.ts';
import { on, type Projection } from '../src/projections/projection.ts';
import { startProjections } from '../src/projections/runner.ts';
import { inTemporaryFolder, interleave, perSecond, type Report } from './parts/measure.ts';

/** Rebuild of a read model from a million stored events. */

const totalEvents = 1_000_000;
const eventsPerDevice = 5;
const rounds = 3;
const stages = ['minted', 'certified', 'rooted', 'locked', 'provisioned'];
const newId = createIdSource();

/** One row per event, as the timeline of a device. */
const timeline: Projection = {
  name: 'timeline',
  version: 1,
  tables: ['timeline'],
  schema: table =>
    `CREATE TABLE ${table('timeline')} (position INTEGER PRIMARY KEY, uid TEXT NOT NULL, at TEXT NOT NULL, stage TEXT NOT NULL) STRICT`,
  writer(db, table) {
    const insert = db.prepare(`INSERT INTO ${table('timeline')} VALUES (?, ?, ?, ?)`);
    return on({ DeviceFailed: event => insert.run(event.position, event.stream.slice(7), event.at, event.data.reason) });
  },
};

export async function run(report: Report): Promise<void> {
  await inTemporaryFolder(async folder => {
    const store = await openSqliteStore({ file: join(folder, 'events.db') });
    await fill(store);
    const figures = await interleave(
      rounds,
      () => rebuildRate(store, join(folder, 'read.db')),
      () => rawRate(join(folder, 'raw.db')),
    );
    const boundWhat = 'rows/s of the same inserts in a bare loop';
    report({ figure: 'rebuild of 1 M events', ...figures, unit: 'events/s', boundWhat });
    await store.close();
  });
}

async function fill(store: EventStore): Promise<void> {
  const event = (reason: string): EventToAppend => ({
    type: 'DeviceFailed',
    id: newId(),
    at: '2026-01-02T03:04:05.678Z',
    by: 'system:bench',
    data: { reason },
  });
  for (let device = 0; device < totalEvents / eventsPerDevice; ) {
    const appends: Promise<unknown>[] = [];
    for (let i = 0; i < 1000; i++) appends.push(store.append(`device-${uidOf(device++)}`, 'none', stages.map(event)));
    await Promise.all(appends);
  }
}

const uidOf = (device: number): string => device.toString(16).padStart(32, '0');

async function rebuildRate(store: EventStore, file: string): Promise<number> {
  removeDatabase(file);
  const start = performance.now();
  const runner = startProjections({ store, file, projections: [timeline] });
  await runner.waitFor(totalEvents, { patient: true });
  const rate = perSecond(totalEvents, start);
  await runner.close();
  return rate;
}

function rawRate(file: string): number {
  removeDatabase(file);
  const db = openReadModelWriter(file);
  db.exec(timeline.schema(name => name));
  const insert = db.prepare('INSERT INTO timeline VALUES (?, ?, ?, ?)');
  const start = performance.now();
  for (let position = 1; position <= totalEvents; ) {
    db.exec('BEGIN');
    for (let i = 0; i < 1000; i++, position++) {
      insert.run(
        position,
        uidOf(Math.floor(position / eventsPerDevice)),
        '2026-01-02T03:04:05.678Z',
        stages[position % eventsPerDevice] as string,
      );
    }
    db.exec('COMMIT');
  }
  const rate = perSecond(totalEvents, start);
  db.close();
  return rate;
}

function removeDatabase(file: string): void {
  for (const suffix of ['', '-wal', '-shm']) rmSync(file + suffix, { force: true });
}
