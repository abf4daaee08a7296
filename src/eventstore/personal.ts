import { lru } from '../lru.ts';
import { endDryRun, isDryRun } from './dryRun.ts';
import { isPersonalStream, openEvent, openStream, type SubjectKeys, sealEvent, sealStream, withKeys } from './personalEvent.ts';
import type { Append, AppendResult, EventStore, RecordedEvent } from './port.ts';
import { RevisionConflict } from './revision.ts';

/** A store in front of another one, of any engine, that keeps no person in clear: names go into the log as pseudonyms, texts encrypted, and come back
 *  readable as long as the key of the subject is there. Hashes, proofs and positions are those of what is stored; whoever shows those to others reads
 *  the store behind. Formats: personalSeal.ts; which fields: src/domain/personalFields.ts. */

const maxKnownStreams = 10_000;

export function personalStore(stored: EventStore, keys: SubjectKeys): EventStore {
  /** Whether an earlier version has named a stream in clear: then it goes on under that name. */
  const isPlain = lru<boolean>(maxKnownStreams);
  const nameOf = async (stream: string): Promise<string> => {
    if (!isPersonalStream(stream)) return stream;
    const plain = isPlain.get(stream) ?? (await stored.readStream(stream)).length > 0;
    isPlain.set(stream, plain);
    return plain ? stream : withKeys(keys, known => sealStream(known, stream));
  };
  const sealAppend = async ({ stream, expected, events }: Append): Promise<Append> => ({
    stream: await nameOf(stream),
    expected,
    events: await withKeys(keys, known => events.map(event => sealEvent(known, event))),
  });
  const openNow = (events: readonly RecordedEvent[], known: SubjectKeys = keys): readonly RecordedEvent[] =>
    events.map(event => openEvent(known, event));
  const opened = (events: readonly RecordedEvent[]): Promise<readonly RecordedEvent[]> => withKeys(keys, known => openNow(events, known));
  /** Subscribers at the same place get the same list. */
  const openedLists = new WeakMap<readonly RecordedEvent[], readonly RecordedEvent[] | Promise<readonly RecordedEvent[]>>();
  const openedOnce = (events: readonly RecordedEvent[]): readonly RecordedEvent[] | Promise<readonly RecordedEvent[]> => {
    const known = openedLists.get(events) ?? (keys.elsewhere === undefined ? openNow(events) : opened(events));
    openedLists.set(events, known);
    return known;
  };

  const store: EventStore = {
    ...stored,
    async append(stream, expected, events, basis): Promise<AppendResult> {
      const [result] = await store.commit({ appends: [{ stream, expected, events }], basis });
      return result as AppendResult;
    },
    async commit(unit) {
      // Blobs alone are named by what would come next.
      if (isDryRun() && unit.appends.length === 0) return [];
      endDryRun(unit.appends);
      const appends = await Promise.all(unit.appends.map(sealAppend));
      const basis = unit.basis && (await Promise.all(unit.basis.map(async each => ({ ...each, stream: await nameOf(each.stream) }))));
      return stored.commit({ ...unit, appends, basis }).catch(error => {
        throw error instanceof RevisionConflict
          ? new RevisionConflict(openStream(keys, error.stream), error.expected, error.actual)
          : error;
      });
    },
    async readStream(stream, fromRevision, asKnown) {
      const events = await stored.readStream(isPersonalStream(stream) ? await nameOf(stream) : stream, fromRevision, asKnown);
      return events.length === 0 ? events : opened(events);
    },
    readAll: async (after, limit) => opened(await stored.readAll(after, limit)),
    subscribe: (after, handler) =>
      stored.subscribe(after, events => {
        const list = openedOnce(events);
        return list instanceof Promise ? list.then(handler) : handler(list);
      }),
  };
  return store;
}
