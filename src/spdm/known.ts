/** What negotiations mean, kept for the last ones: devices of one kind negotiate in the same words. */

type Entry<Meaning> = {
  readonly messages: readonly Uint8Array[];
  readonly meaning: Meaning;
  readonly under: number;
  readonly andUnder: number;
};

const maxEntries = 64;
const maxEntryBytes = 1024;

/** @returns a reader that calls `read` only for messages it has not met lately; `under` and `andUnder` are what else their meaning depends on.
 *  What `read` throws is not kept. */
export function knownMeanings<Meaning>(): (
  messages: readonly Uint8Array[],
  read: () => Meaning,
  under: number,
  andUnder?: number,
) => Meaning {
  let entries: readonly Entry<Meaning>[] = [];
  return (messages, read, under, andUnder = 0) => {
    for (let i = 0; i < entries.length; i += 1) {
      const entry = entries[i]!;
      if (entry.under !== under || entry.andUnder !== andUnder || !sameMessages(entry.messages, messages)) continue;
      if (i > 0) entries = [entry, ...entries.slice(0, i), ...entries.slice(i + 1)];
      return entry.meaning;
    }
    const meaning = read();
    let bytes = 0;
    for (const { length } of messages) bytes += length;
    if (bytes <= maxEntryBytes)
      entries = [{ messages: messages.map(message => message.slice()), meaning, under, andUnder }, ...entries.slice(0, maxEntries - 1)];
    return meaning;
  };
}

function sameMessages(known: readonly Uint8Array[], given: readonly Uint8Array[]): boolean {
  if (known.length !== given.length) return false;
  for (let i = 0; i < known.length; i += 1) if (!sameBytes(known[i]!, given[i]!)) return false;
  return true;
}

/** For some ten bytes a loop is faster than `equalBytes`. */
function sameBytes(known: Uint8Array, given: Uint8Array): boolean {
  if (known.length !== given.length) return false;
  for (let i = 0; i < known.length; i += 1) if (known[i] !== given[i]) return false;
  return true;
}
