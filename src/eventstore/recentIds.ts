/** Remembers the ids of the newest events, so that a repeated append is known without an index over all ids. */

const maxRecentIds = 100_000;

export type RecentIds = {
  add(id: string, position: number): void;
  /** Takes back an `add` whose transaction failed. */
  remove(id: string): void;
  /** The position, `never` when no stored event has this id, `unknown` when an older one may. */
  find(id: string): number | 'never' | 'unknown';
  /** An event older than what is remembered. */
  forget(id: string): void;
};

/** UUIDv7 sort by time, so an id above every forgotten one is not among the forgotten ones: fresh ids cost one look-up. */
export function recentIds(limit = maxRecentIds): RecentIds {
  const positions = new Map<string, number>();
  let highestForgotten = '';
  const forget = (id: string) => {
    if (id > highestForgotten) highestForgotten = id;
  };
  return {
    forget,
    add(id, position) {
      positions.set(id, position);
      if (positions.size <= limit) return;
      const oldest = positions.keys().next().value as string;
      positions.delete(oldest);
      forget(oldest);
    },
    remove: id => void positions.delete(id),
    find: id => positions.get(id) ?? (id > highestForgotten ? 'never' : 'unknown'),
  };
}
