import { existsSync, readFileSync, statSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { NusecError } from '../../errors.ts';
import { readCheckpoint } from '../../merkle/checkpoint.ts';
import { parseNote } from '../../merkle/note.ts';
import type { Checkpoints } from './checkpoints.ts';

/** Checkpoints on demand, in any process: the one that leads signs, the others wait for what it writes. */

/** A process that leads signs every second, and another one follows it within five. */
const maxWaitMs = 10_000;
const pollMs = 50;

export type NewestCheckpoint = {
  /** @returns the signed note of a checkpoint over at least so many events
   *  @throws NusecError STORE_UNAVAILABLE when none comes, CHECKPOINT_REFUSED when the log is not what it was */
  covering(size: number): Promise<string>;
  /** The newest one there is, without waiting: how many events it covers and when it was written. */
  newest(): { readonly size: number; readonly at: Date } | undefined;
  /** Where the process leads: signs immediately from here on. @returns what ends it */
  lead(sign: Checkpoints['sign']): () => void;
};

const sizeOf = (note: string): number => readCheckpoint(parseNote(note).text).size;

/** @param file of the newest checkpoint */
export function createNewestCheckpoint(file: string): NewestCheckpoint {
  let signNow: Checkpoints['sign'] | undefined;
  const wait = async (size: number): Promise<string> => {
    for (const endMs = performance.now() + maxWaitMs; performance.now() < endMs; await sleep(pollMs)) {
      // It leads since.
      if (signNow !== undefined) return signNow();
      const note = existsSync(file) ? readFileSync(file, 'utf8') : undefined;
      if (note !== undefined && sizeOf(note) >= size) return note;
    }
    throw new NusecError('STORE_UNAVAILABLE', 'no checkpoint covers the newest event: does a server lead?');
  };
  return {
    covering: size => signNow?.() ?? wait(size),
    newest: () => (existsSync(file) ? { size: sizeOf(readFileSync(file, 'utf8')), at: statSync(file).mtime } : undefined),
    lead(sign) {
      signNow = sign;
      return () => {
        if (signNow === sign) signNow = undefined;
      };
    },
  };
}
