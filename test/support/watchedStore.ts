import type { EventStore } from '../../src/eventstore/port.ts';

/** A store that asks before it stores anything, single appends and commits alike.
 *  @param before called with the streams that are to get events; what it throws is what the append throws */
export function watchWrites(store: EventStore, before: (streams: readonly string[]) => void | Promise<void>): EventStore {
  return {
    ...store,
    async append(stream, ...rest) {
      await before([stream]);
      return store.append(stream, ...rest);
    },
    async commit(unit) {
      await before(unit.appends.map(({ stream }) => stream));
      return store.commit(unit);
    },
  };
}
