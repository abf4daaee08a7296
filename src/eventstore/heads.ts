import { lru } from '../lru.ts';
import { chainStart } from './hashchain.ts';
import type { StreamHead } from './port.ts';
import { noStream } from './revision.ts';
import type { Storage } from './storage.ts';

/** Where each stream ends. What is newer than the index of streams is in memory, as is what was used lately; all else is looked up. */

/** Heads kept in memory that the index has too. */
const maxCachedHeads = 50_000;
/** Heads that one `trim` looks at: others wait for it. */
const trimmedAtOnce = 500;
/** Ends of streams that were looked up in the index and not learnt yet. */
const maxLookedUp = 4096;

const emptyStream: StreamHead = { revision: noStream, position: 0, hash: chainStart };

export type Heads = {
  of(stream: string): StreamHead;
  /** Position of the newest event of a stream, without a look at the event; 0 when there is none. */
  end(stream: string): number;
  /** Keeps what was read elsewhere of the newest event of a stream; nothing when that is not the newest any more. */
  learn(stream: string, head: StreamHead): void;
  /** @returns what takes it back */
  set(stream: string, head: StreamHead): () => void;
  /** Forgets some of what the index has. */
  trim(indexedUpTo: number): void;
  /** Forgets everything. */
  clear(): void;
};

export function createHeads(storage: Pick<Storage, 'indexedHead' | 'indexedEnd'>): Heads {
  const recent = new Map<string, StreamHead>();
  const cache = lru<StreamHead>(maxCachedHeads);
  let trimmedTo = 0;
  let toTrim = recent.entries();
  /** As the index is now: an end is looked up before its event is read elsewhere, and not again when it is learnt. */
  const lookedUp = new Map<string, number | undefined>();
  const known = (stream: string): StreamHead | undefined => recent.get(stream) ?? cache.get(stream);
  return {
    end(stream) {
      const here = known(stream);
      if (here !== undefined) return here.position;
      const position = storage.indexedEnd(stream);
      if (lookedUp.size === maxLookedUp) lookedUp.clear();
      lookedUp.set(stream, position);
      return position ?? 0;
    },
    learn(stream, head) {
      const end = lookedUp.has(stream) ? lookedUp.get(stream) : storage.indexedEnd(stream);
      lookedUp.delete(stream);
      // Whatever is newer than the index is known.
      if (known(stream) === undefined && end === head.position) cache.set(stream, head);
    },
    of(stream) {
      const here = known(stream);
      if (here !== undefined) return here;
      const indexed = storage.indexedHead(stream);
      if (indexed === undefined) return emptyStream;
      cache.set(stream, indexed);
      return indexed;
    },
    set(stream, head) {
      const before = recent.get(stream);
      recent.set(stream, head);
      return () => void (before === undefined ? recent.delete(stream) : recent.set(stream, before));
    },
    trim(indexedUpTo) {
      if (indexedUpTo !== trimmedTo) {
        trimmedTo = indexedUpTo;
        lookedUp.clear();
        toTrim = recent.entries();
      }
      for (let looked = 0; looked < trimmedAtOnce; looked += 1) {
        const next = toTrim.next();
        if (next.done) return;
        const [stream, head] = next.value;
        if (head.position > indexedUpTo) continue;
        recent.delete(stream);
        cache.set(stream, head);
      }
    },
    clear() {
      recent.clear();
      cache.clear();
      lookedUp.clear();
    },
  };
}
