import type { EventType } from '../../domain/events.ts';
import type { EventOutline, EventStore } from '../../eventstore/port.ts';
import type { RevocationMark } from '../../merkle/checkpoint.ts';
import type { Hash } from '../../merkle/hashing.ts';
import { changesRevocation } from '../../projections/certificates.ts';
import { type HeadEvidence, openHeadRows, type Reached } from './headMapRows.ts';
import { type HeadChanges, type HeadMapThread, revoking, startHeadMapThread } from './headMapThread.ts';

/** The map from streams to their newest events on disk (`heads.db`), and the mark of all revocations. It is made of the log alone and can be deleted:
 *  it is built again. A tile of it costs some twenty hashes, so it is brought up in a thread of its own. */

/** Events read between two turns of others. */
const batchEvents = 250;

/** @property heads root of the map */
export type MadeOfTheLog = { readonly heads: Hash; readonly revocations: RevocationMark };

export type HeadMapFile = {
  /** Takes in the events up to `size`, until then or until the time is over. @returns what holds at exactly this size, or undefined when it is not reached */
  advance(store: EventStore, size: number, maxMs: number): Promise<MadeOfTheLog | undefined>;
  /** Keeps the checkpoint that names the present root. */
  keep(note: string, size: number): void;
  /** @returns the checkpoint with the root of the map as it is, and the stream's place under it; undefined when there is none just now */
  prove(stream: string): HeadEvidence | undefined;
  close(): Promise<void>;
};

/** @param file made when it is missing */
export function openHeadMap(file: string): HeadMapFile {
  const rows = openHeadRows(file, false);
  let started: HeadMapThread | undefined;
  const takeIn = async (store: EventStore, size: number, endMs: number): Promise<Reached | undefined> => {
    const thread = started ?? startHeadMapThread(file, () => (started = undefined));
    started = thread;
    thread.begin();
    let at = rows.now().size;
    let taken: Promise<boolean> = Promise.resolve(true);
    // While the thread has a batch, the next one is read.
    while (at < size && performance.now() < endMs) {
      const events = await store.readOutlines(at, Math.min(batchEvents, size - at));
      if (!(await taken)) return undefined;
      taken = thread.take(changesIn(events));
      at = events.at(-1)?.position ?? at;
    }
    return (await taken) ? thread.write() : undefined;
  };
  return {
    async advance(store, size, maxMs) {
      const { size: known, hash } = rows.now();
      // Another store, or an older one, has been put in the place of the one that the map is of.
      if (known > size || (known > 0 && (await store.readAll(known - 1, 1))[0]?.hash !== hash)) rows.begin();
      const reached = rows.now().size === size ? rows.now() : await takeIn(store, size, performance.now() + maxMs);
      return reached?.size === size ? { heads: reached.root, revocations: reached.revocations } : undefined;
    },
    keep: rows.keep,
    prove: rows.prove,
    async close() {
      await started?.close();
      rows.close();
    },
  };
}

const changesIn = (events: readonly EventOutline[]): HeadChanges =>
  events
    .map(({ position, stream, revision, hash, type }) =>
      [position, revision, hash, changesRevocation(type as EventType) ? revoking : '', stream].join(' '),
    )
    .join('\n');
