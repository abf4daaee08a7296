import { closeSync, fdatasyncSync, openSync, writeSync } from 'node:fs';
import { perSecond } from './measure.ts';

/** What the disk of this machine takes, as a bound for whatever has to be on it. */

const boundMs = 200;

export const percentile = (values: readonly number[], share: number): number =>
  values.toSorted((a, b) => a - b)[Math.floor(values.length * share)] as number;

/** Synchronisations of a file that is written over, as the write-ahead log is. */
export function timeSyncs(file: string, bytes: number): { readonly perSecond: number; readonly timesMs: readonly number[] } {
  const fd = openSync(file, 'w');
  const block = Buffer.alloc(bytes, 1);
  const timesMs: number[] = [];
  const start = performance.now();
  for (let count = 0; performance.now() - start < boundMs; count++) {
    const begun = performance.now();
    writeSync(fd, block, 0, bytes, (count % 64) * bytes);
    fdatasyncSync(fd);
    timesMs.push(performance.now() - begun);
  }
  closeSync(fd);
  return { perSecond: perSecond(timesMs.length, start), timesMs };
}
