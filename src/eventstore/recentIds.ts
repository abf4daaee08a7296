/** Remembers the ids of the newest events, so that hardly any new id has to be looked up on the disk. */

/** Between half of it and all of it are remembered. */
const maxRecentIds = 200_000;

export type RecentIds = {
  /** An id too many, of a transaction that failed, does no harm: it is looked for and not found. */
  add(id: string): void;
  /** An event older than what is remembered. */
  forget(id: string): void;
  /** False when no stored event has this id; true when one has or an older one may. */
  mayBeStored(id: string): boolean;
};

/** UUIDv7 sort by time, so an id above every forgotten one is not among the forgotten ones: fresh ids cost one look-up. */
export function recentIds(limit = maxRecentIds): RecentIds {
  let young = new Set<string>();
  let old = new Set<string>();
  /** Of the young ones, of the old ones, and of those that are forgotten. */
  let [highestYoung, highestOld, highestForgotten] = ['', '', ''];
  let highest = '';
  const forget = (id: string) => {
    if (id > highestForgotten) highestForgotten = id;
    if (id > highest) highest = id;
  };
  return {
    forget,
    add(id) {
      young.add(id);
      if (id > highestYoung) highestYoung = id;
      if (id > highest) highest = id;
      if (young.size < limit / 2) return;
      forget(highestOld);
      [old, highestOld] = [young, highestYoung];
      [young, highestYoung] = [new Set(), ''];
    },
    // Most new ids sort above all others, and then nothing is looked up.
    mayBeStored: id => id <= highest && (id <= highestForgotten || young.has(id) || old.has(id)),
  };
}
