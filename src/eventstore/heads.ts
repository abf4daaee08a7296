import { lru } from '../lru.ts';
import { chainStart } from './hashchain.ts';
import { noStream } from './revision.ts';
import type { Storage, StreamHead } from './storage.ts';

/** Where each stream ends. What is newer than the index of streams is in memory, as is what was used lately; all else is looked up. */

/** Heads kept in memory that the index has too. */
const maxCachedHeads = 50_000;

const emptyStream: StreamHead = { revision: noStream, position: 0, hash: chainStart };

export type Heads = {
  of(stream: string): StreamHead;
  /** @returns what takes it back */
  set(stream: string, head: StreamHead): () => void;
  /** Forgets what the index has. */
  trim(indexedUpTo: number): void;
};

export function createHeads(storage: Pick<Storage, 'indexedHead'>): Heads {
  let recent = new Map<string, StreamHead>();
  const cache = lru<StreamHead>(maxCachedHeads);
  let trimmedTo = 0;
  return {
    of(stream) {
      const known = recent.get(stream) ?? cache.get(stream);
      if (known !== undefined) return known;
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
      if (indexedUpTo === trimmedTo) return;
      trimmedTo = indexedUpTo;
      const kept = new Map<string, StreamHead>();
      for (const [stream, head] of recent) {
        if (head.position > indexedUpTo) kept.set(stream, head);
        else cache.set(stream, head);
      }
      recent = kept;
    },
  };
}
