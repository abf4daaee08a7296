import { setTimeout } from 'node:timers/promises';
import { parentPort, workerData } from 'node:worker_threads';
import type Database from 'better-sqlite3';
import { rowCheck } from '../../eventstore/rowCheck.ts';
import { type Damage, damagesBeside, damagesIn } from './damage.ts';
import type { ScrubData, ScrubMessage } from './scrub.ts';

/** The thread behind scrub.ts. */

const { places, pace } = workerData as ScrubData;
const send = (message: ScrubMessage): void => parentPort?.postMessage(message);
const report = async (found: Damage | undefined): Promise<void> => {
  if (found === undefined) await setTimeout(pace.pauseMs);
  else send({ finding: found });
};

type Row = [position: number, stream: string, revision: number, prev: number, id: string, hash: string, body: string, crc: number];

function* damagedEvents(db: Database): Generator<Damage | undefined> {
  const rows = db
    .prepare<Row>('SELECT position, stream, revision, prev, id, hash, body, crc FROM events WHERE position > ? ORDER BY position LIMIT ?')
    .raw();
  const indexed = db.prepare<number>('SELECT position FROM events INDEXED BY events_id WHERE id = ?').pluck();
  for (let after = 0, page = rows.all(after, pace.atOnce); page.length > 0; page = rows.all(after, pace.atOnce)) {
    for (const row of page) {
      const [position, , , , id] = row;
      if (position !== after + 1) yield { place: `event ${after + 1}`, detail: 'is missing' };
      const [, stream, revision, prev, , eventHash, body, crc] = row;
      if (rowCheck(position, stream, revision, prev, id, eventHash, body) !== crc)
        yield { place: `event ${position}`, detail: 'is not what was stored' };
      else if (!indexed.all(id).includes(position)) yield { place: `event ${position}`, detail: 'is not found by its id' };
      after = position;
    }
    yield undefined;
  }
}

async function scrub(): Promise<void> {
  for (;;) {
    for (const found of damagesIn(places.store, damagedEvents)) await report(found);
    for await (const found of damagesBeside(places, 'quick_check')) await report(found);
    send({ roundEnded: true });
    await setTimeout(pace.betweenRoundsMs);
  }
}

await scrub();
