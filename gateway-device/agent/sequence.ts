import { join } from 'node:path';
import { keepNumber, numberIn } from './numberFile.ts';

/** The sequence of a gateway's verdicts: a counter in its data folder, so that it rises whatever the clock does. */

const fileName = 'sequence';
/** Numbers that are reserved in the file in one write. After a crash the unused ones are skipped; none is used twice. */
const reservedNumbers = 1000;

/** @param nowMs of the server: a folder that was put back from a copy has a counter that is behind what the gateway has signed, and the time is ahead
 *  of that, as nobody signs a thousand verdicts a second
 *  @returns a function that gives the next number; the number is reserved on the disk before it is given out
 *  @throws NusecError STORE_DAMAGED when the file holds no number */
export function openSequence(dataDir: string, nowMs: number): () => number {
  const file = join(dataDir, fileName);
  const kept = numberIn(file, 'the gateway needs a new key, which begins a new sequence') ?? 0;
  let next = Math.max(kept, Math.floor(nowMs));
  let reserved = next;
  return () => {
    if (next === reserved) {
      reserved = next + reservedNumbers;
      keepNumber(file, reserved);
    }
    next += 1;
    return next;
  };
}
