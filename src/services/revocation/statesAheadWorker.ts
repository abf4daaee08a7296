import { parentPort, workerData } from 'node:worker_threads';
import Database from 'better-sqlite3';
import { fold } from '../../domain/decider.ts';
import { device } from '../../domain/device.ts';
import type { DeviceEvent } from '../../domain/deviceEvents.ts';
import { upcast } from '../../domain/upcasters.ts';
import { eventIn, isIntact, streamRows } from '../../eventstore/streamRows.ts';
import type { StatesRead, StreamEnd } from './statesAhead.ts';

/** The thread behind statesAhead.ts. */

/** What stands for a person in the log begins with it. A state with people is left to the thread that has their keys. */
const pseudonymMark = '~';

const db = new Database(workerData as string, { readonly: true, fileMustExist: true });
const rowsOf = streamRows(db);

parentPort?.on('message', (ends: readonly StreamEnd[] | 'close') => {
  if (ends !== 'close') return parentPort?.postMessage(ends.map(stateAt) satisfies StatesRead);
  db.close();
  parentPort?.close();
});

/** @returns undefined for a stream without events, and for one that is not read as it was stored */
function stateAt([stream, position]: StreamEnd): StatesRead[number] {
  const rows = rowsOf(position, 0).toReversed();
  if (
    rows.length === 0 ||
    !rows.every((row, i) => row[1] === i && isIntact(row)) ||
    rows.some(([, , , , text]) => text.includes(pseudonymMark))
  )
    return undefined;
  const events = rows.map(eventIn);
  if (!events.every(event => event.stream === stream)) return undefined;
  // What was stored came out of the same decider, or of an older version of it.
  const state = fold(device, events.map(upcast) as unknown as readonly DeviceEvent[]);
  return { revision: rows.length - 1, position, hash: events.at(-1)?.hash ?? '', state };
}
