import { utf8 } from '../../bytes.ts';
import { allotment, allotmentStream } from '../../domain/allotment.ts';
import type { OpenedAllotment } from '../../domain/allotmentState.ts';
import { job, jobStream } from '../../domain/job.ts';
import type { CreatedJob } from '../../domain/jobState.ts';
import { type AllotmentFacts, type Reconciliation, reconcile } from '../../domain/reconciliation.ts';
import { NusecError } from '../../errors.ts';
import { type SignedReport, signReport } from '../../production/report.ts';
import { authorityOf, signerFor } from '../authority/authority.ts';
import type { Parts } from '../base/alarms.ts';
import { type Context, execute, nowIso } from '../base/context.ts';
import { allotmentOf } from './allotments.ts';
import { jobOf, unitsOf } from './jobs.ts';
import { ledgerFindingsOf } from './ledgerReading.ts';
import { opened } from './packages.ts';
import { settleAllotment } from './unitEnd.ts';

/** Closing and reconciling a job (silence 16, T1, T19): the server's counts, the programmers' signed ledgers, the devices and the field
 *  must agree. */

type Report = Reconciliation & {
  readonly jobId: string;
  readonly at: string;
  readonly plannedCount: number;
  readonly allotments: readonly (AllotmentFacts & { readonly ledgerNumber: number; readonly ledgerHead: string })[];
  readonly devicesCertified: number;
};

/** Ends a job: every share is closed, by zeroise record or, where there is none, with the reason why; then it is reconciled.
 *  @param withoutReceipt why open shares are closed without a zeroise record
 *  @throws NusecError STATE (shares or units still open) */
export async function closeJob({ ctx, alarms }: Parts, jobId: string, withoutReceipt: string | undefined, by: string): Promise<CreatedJob> {
  const before = await jobOf(ctx, jobId);
  if (before.reportSha256 !== undefined) return before;
  const shares = await Promise.all(
    before.allotments.filter(share => !share.settled).map(share => allotmentOf(ctx, jobId, share.programmer)),
  );
  const open = shares.map(opened);
  // Judged before anything of it is done.
  const missing = withoutReceipt === undefined ? open.find(({ status }) => status !== 'CLOSED') : undefined;
  if (missing !== undefined) throw new NusecError('STATE', `programmer ${missing.programmer} has not zeroised the job`);
  for (const share of open) await closeShare(ctx, share, withoutReceipt ?? '', by);
  await execute(ctx, job, jobStream(jobId), { type: 'CloseJob', by }, by);
  const report = await reportOf(ctx, jobId);
  for (const finding of report.findings) await execute(ctx, job, jobStream(jobId), { type: 'RecordDiscrepancy', discrepancy: finding }, by);
  if (report.verdict === 'discrepant') {
    await alarms.raise({ code: 'JOB_DISCREPANT', subject: jobStream(jobId), detail: `${report.findings.length} findings` });
  }
  const reportSha256 = await ctx.blobs.put(utf8(JSON.stringify(await signed(ctx, report))));
  const { verdict, findings } = report;
  await execute(ctx, job, jobStream(jobId), { type: 'ReconcileJob', reconciliation: { verdict, findings }, reportSha256 }, by);
  return jobOf(ctx, jobId);
}

/** @param missing why there is no zeroise record, where the share is open */
async function closeShare(ctx: Context, state: OpenedAllotment, missing: string, by: string): Promise<void> {
  const stream = allotmentStream(state.jobId, state.programmer);
  if (state.status !== 'CLOSED') {
    await execute(ctx, allotment, stream, { type: 'FreezeAllotment', reason: 'job-closing', by }, by);
    await execute(ctx, allotment, stream, { type: 'CloseAllotment', by, zeroise: { missing } }, by);
  }
  await settleAllotment(ctx, opened(await allotmentOf(ctx, state.jobId, state.programmer)), by);
}

/** The report of a reconciled job as it was signed then; of any other job from the present state. @throws NusecError NOT_FOUND */
export async function signedReport(ctx: Context, jobId: string): Promise<SignedReport> {
  const { reportSha256 } = await jobOf(ctx, jobId);
  if (reportSha256 === undefined) return signed(ctx, await reportOf(ctx, jobId));
  return JSON.parse(new TextDecoder().decode(await ctx.blobs.get(reportSha256))) as SignedReport;
}

const signed = async (ctx: Context, value: Report): Promise<SignedReport> =>
  signReport(JSON.stringify(value), await signerFor(ctx, await authorityOf(ctx), 'report'));

async function reportOf(ctx: Context, jobId: string): Promise<Report> {
  const { plannedCount, allotments: shares } = await jobOf(ctx, jobId);
  const states = await Promise.all(shares.map(async ({ programmer }) => opened(await allotmentOf(ctx, jobId, programmer))));
  const units = await unitsOf(ctx, jobId);
  const allotments = states.map(factsOf);
  const ledgerFindings = (await Promise.all(states.map(state => ledgerFindingsOf(ctx, state)))).flat();
  const facts = {
    ledgerFindings,
    plannedCount,
    allotments,
    devicesCertified: units.filter(unit => unit.certified_at !== null && !['VOIDED', 'SCRAPPED'].includes(unit.status)).length,
    committedUids: new Set(units.filter(unit => unit.status === 'COMMITTED').map(unit => unit.uid)),
    fieldUids: units.filter(unit => unit.seen_in_field === 1).map(unit => unit.uid),
  };
  const { devicesCertified } = facts;
  return { jobId, at: nowIso(ctx), ...reconcile(facts), plannedCount, allotments, devicesCertified };
}

function factsOf(state: OpenedAllotment): Report['allotments'][number] {
  const { programmer, quota, scrapAllowance, reserved, committed, voided, scrapped, open, ledgerGap, zeroised } = state;
  const newest = state.segments.at(-1);
  const counts = { programmer, quota, scrapAllowance, reserved, committed, voided, scrapped, open: open.size, ledgerGap, zeroised };
  return { ...counts, ledgerCounter: newest?.counter ?? 0, ledgerNumber: newest?.to ?? 0, ledgerHead: newest?.headHash ?? '' };
}
