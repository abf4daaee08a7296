import { NusecError } from '../../errors.ts';
import { type JobRow, jobQueries, type UnitRow } from '../../projections/jobs.ts';
import { hourMs, minuteMs } from '../../times.ts';
import type { Context } from '../base/context.ts';
import { jobBoard } from './jobs.ts';

/** The progress of a job, for its planner: counts, yield, rate, why units were lost, what ended in each minute, and the firmware of each unit (R83). */

export type Progress = {
  readonly committed: number;
  readonly voided: number;
  readonly scrapped: number;
  readonly open: number;
  /** Committed of those that ended; null before the first. */
  readonly yield: number | null;
  /** From the first reservation to the newest commit; null before one was built. */
  readonly unitsPerHour: number | null;
  readonly firstAt: string | null;
  readonly lastAt: string | null;
  /** Why units were lost, the most frequent reason first. */
  readonly reasons: readonly Loss[];
};
/** Units that ended in one way for one reason: voided, or scrapped because the chip is used up. */
export type Loss = { readonly status: 'VOIDED' | 'SCRAPPED'; readonly reason: string; readonly units: number };
/** How many units ended in one minute. */
export type MinuteCount = { readonly minute: string; readonly committed: number; readonly lost: number };
export type JobStatus = {
  readonly row: JobRow;
  readonly total: Progress;
  readonly byProgrammer: readonly (Progress & { readonly programmer: string })[];
  /** The last hour; minutes in which nothing ended are left out. */
  readonly minutes: readonly MinuteCount[];
};

const shownMinutes = 60;

type Sum = {
  readonly programmer: string;
  readonly status: UnitRow['status'];
  readonly reason: string | null;
  readonly units: number;
  readonly first_at: string;
  readonly last_at: string | null;
};

/** @throws NusecError NOT_FOUND */
export async function jobStatus(ctx: Context, jobId: string): Promise<JobStatus> {
  const { row, allotments } = await jobBoard(ctx, jobId);
  const queries = jobQueries(ctx.reads.db);
  const since = new Date(ctx.clock().getTime() - shownMinutes * minuteMs).toISOString();
  const [sums, counts]: [readonly Sum[], readonly MinuteCount[]] = await Promise.all([
    queries.unitSums(jobId),
    queries.perMinute(jobId, since),
  ]);
  const minutes = counts.map(({ minute, committed, lost }) => ({ minute: `${minute}:00.000Z`, committed, lost }));
  const byProgrammer = allotments.map(({ programmer }) => ({
    programmer,
    ...progressOf(sums.filter(sum => sum.programmer === programmer)),
  }));
  return { row, total: progressOf(sums), byProgrammer, minutes };
}

function progressOf(sums: readonly Sum[]): Progress {
  const count = (fits: (sum: Sum) => boolean): number => sums.filter(fits).reduce((total, { units }) => total + units, 0);
  const committed = count(({ status }) => status === 'COMMITTED');
  const scrapped = count(({ status }) => status === 'SCRAPPED');
  const voided = scrapped + count(({ status }) => status === 'VOIDED');
  const firstAt = sums.map(sum => sum.first_at).toSorted()[0] ?? null;
  const lastAt =
    sums
      .flatMap(sum => (sum.status === 'COMMITTED' && sum.last_at !== null ? [sum.last_at] : []))
      .toSorted()
      .at(-1) ?? null;
  const hours = firstAt !== null && lastAt !== null ? (Date.parse(lastAt) - Date.parse(firstAt)) / hourMs : 0;
  return {
    ...{ committed, voided, scrapped, open: count(() => true) - committed - voided, firstAt, lastAt },
    yield: committed + voided === 0 ? null : Number((committed / (committed + voided)).toFixed(4)),
    unitsPerHour: hours > 0 ? Number((committed / hours).toFixed(1)) : null,
    reasons: lossesOf(sums),
  };
}

function lossesOf(sums: readonly Sum[]): readonly Loss[] {
  const losses = new Map<string, Loss>();
  for (const { status, reason, units } of sums) {
    if (status !== 'VOIDED' && status !== 'SCRAPPED') continue;
    const key = `${status} ${reason ?? 'unknown'}`;
    losses.set(key, { status, reason: reason ?? 'unknown', units: units + (losses.get(key)?.units ?? 0) });
  }
  return [...losses.values()].sort((a, b) => b.units - a.units);
}

export type UnitPage = { readonly units: readonly UnitRow[]; readonly bl2Version: string | null; readonly next?: string };

/** Units in the order they were reserved, per programmer. @param cursor `next` of the page before @throws NusecError NOT_FOUND, BAD_REQUEST */
export async function unitPage(ctx: Context, jobId: string, limit: number, cursor?: string): Promise<UnitPage> {
  const { row } = await jobBoard(ctx, jobId);
  const units = await jobQueries(ctx.reads.db).unitsPage(jobId, limit, cursor === undefined ? undefined : placeOf(cursor));
  const last = units.length === limit ? units.at(-1) : undefined;
  return { units, bl2Version: row.bl2_version, ...(last && { next: `${last.programmer}:${last.number}` }) };
}

function placeOf(cursor: string): Pick<UnitRow, 'programmer' | 'number'> {
  const [, programmer, number] = /^([0-9a-f]{32}):(\d{1,10})$/.exec(cursor) ?? [];
  if (programmer === undefined) throw new NusecError('BAD_REQUEST', 'the cursor is not that of a page of units');
  return { programmer, number: Number(number) };
}
