import type Database from 'better-sqlite3';
import { lru } from '../lru.ts';
import { checkPage, entryBytes, keyBytes, pageNumber, type Run, runsOf, streamKey } from './headRuns.ts';
import { damaged } from './storeError.ts';

/** Looks up streams in the index of streams (headRuns.ts). */

/** Of 8 KiB, kept in memory. */
const maxCachedPages = 2048;
/** Keys are hashes: their first bits give the approximate place. */
const leadingBytes = 6;
const leadingRange = 2 ** (8 * leadingBytes);

export type HeadIndex = {
  /** The index covers the events up to here. */
  upTo(): number;
  /** Position of the newest event of a stream among those; undefined when it has none. @throws NusecError STORE_DAMAGED */
  find(stream: string): number | undefined;
  /** To be called when another connection has committed. */
  refresh(): void;
};

export function openHeadIndex(db: Database): HeadIndex {
  const select = db.prepare<{ crc: number; entries: Uint8Array }>('SELECT crc, entries FROM head_pages WHERE page = ?');
  const cache = lru<Buffer>(maxCachedPages);
  let runs = runsOf(db);
  /** @returns undefined when the run has become part of another one */
  const read = (run: number, page: number): Buffer | undefined => {
    const number = pageNumber(run, page);
    const known = cache.get(`${number}`);
    if (known !== undefined) return known;
    const row = select.get(number);
    if (row === undefined) return undefined;
    const bytes = checkPage(number, row);
    cache.set(`${number}`, bytes);
    return bytes;
  };
  const refresh = (): void => {
    runs = runsOf(db);
  };
  const findIn = (key: Buffer): number | undefined | 'gone' => {
    for (const run of runs.toReversed()) {
      const found = search(run, page => read(run.run, page), key);
      if (found !== undefined) return found;
    }
    return undefined;
  };
  return {
    upTo: () => runs.at(-1)?.upTo ?? 0,
    refresh,
    find(stream) {
      const key = streamKey(stream);
      for (;;) {
        const known = runs;
        const found = findIn(key);
        if (found !== 'gone') return found;
        refresh();
        if (runs.every((run, i) => run.run === known[i]?.run)) throw damaged('a page of the index of streams is missing');
      }
    },
  };
}

/** Guesses the page by the first bits of the key, and again between what it has seen. */
function search({ pages }: Run, read: (page: number) => Buffer | undefined, key: Buffer): number | undefined | 'gone' {
  const wanted = key.readUIntBE(0, leadingBytes);
  let [low, high] = [0, pages - 1];
  let [lowKey, highKey] = [0, leadingRange];
  while (low <= high) {
    const share = highKey > lowKey ? (wanted - lowKey) / (highKey - lowKey) : 0;
    const page = Math.min(high, Math.max(low, low + Math.floor(share * (high - low + 1))));
    const entries = read(page);
    if (entries === undefined) return 'gone';
    const last = entries.length - entryBytes;
    if (entries.compare(key, 0, keyBytes, 0, keyBytes) > 0) [high, highKey] = [page - 1, entries.readUIntBE(0, leadingBytes)];
    else if (entries.compare(key, 0, keyBytes, last, last + keyBytes) < 0)
      [low, lowKey] = [page + 1, entries.readUIntBE(last, leadingBytes)];
    else return searchPage(entries, key);
  }
  return undefined;
}

function searchPage(entries: Buffer, key: Buffer): number | undefined {
  let [low, high] = [0, entries.length / entryBytes - 1];
  while (low <= high) {
    const middle = (low + high) >> 1;
    const at = middle * entryBytes;
    const order = entries.compare(key, 0, keyBytes, at, at + keyBytes);
    if (order === 0) return entries.readUIntBE(at + keyBytes, 6);
    if (order > 0) high = middle - 1;
    else low = middle + 1;
  }
  return undefined;
}
