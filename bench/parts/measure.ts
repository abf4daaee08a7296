import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** What every bench needs: medians of rounds in which the subject and its bound take turns, so that both see the same machine. */

const rateUnits = [
  '1/s',
  '1/s CPU',
  'events/s',
  'images/s',
  'keys/s',
  'offers/s',
  'trailers/s',
  'proofs/s',
  'MiB/s',
  'of all',
  'of 1',
] as const;
const costUnits = ['ms', 'ms CPU', 'µs', 's', 'bytes', 'KiB'] as const;
/** Of rates and shares, the larger the better, and of times, sizes and other costs, the smaller the better. */
export type Unit = (typeof rateUnits)[number] | (typeof costUnits)[number];

/** One measured figure beside the bound that physics, the raw library or a peer sets on the same machine in the same run, or beside a goal. */
export type Figure = {
  readonly figure: string;
  readonly value: number;
  readonly unit: Unit;
  readonly bound: number;
  /** What the bound is, for people. */
  readonly boundWhat: string;
};

/** What this machine lacks is said, not left out. */
export type NotMeasured = { readonly figure: string; readonly notMeasured: string };

export type Report = (figure: Figure | NotMeasured) => void;

/** The larger, the better; 1 is as good as the bound: value ÷ bound of a rate, bound ÷ value of a cost. */
export const ratioOf = ({ value, bound, unit }: Figure): number =>
  (costUnits as readonly Unit[]).includes(unit) ? bound / value : value / bound;

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] as number;
}

/** Runs bound and subject in turn, `rounds` times each, and gives the medians of what they return. */
export async function interleave(
  rounds: number,
  subject: () => number | Promise<number>,
  bound: () => number | Promise<number>,
): Promise<{ readonly value: number; readonly bound: number }> {
  const values: number[] = [];
  const bounds: number[] = [];
  for (let round = 0; round < rounds; round++) {
    bounds.push(await bound());
    values.push(await subject());
  }
  return { value: median(values), bound: median(bounds) };
}

/** Gives `work` a folder on the file system of the temporary files (`TMPDIR`) and removes it afterwards. */
export async function inTemporaryFolder(work: (folder: string) => Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'nusec-bench-'));
  try {
    await work(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Events per second since `startMs` (performance.now). */
export const perSecond = (count: number, startMs: number): number => count / ((performance.now() - startMs) / 1000);
