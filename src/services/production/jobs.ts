import { sha256Hex } from '../../digest.ts';
import type { Actor } from '../../domain/actor.ts';
import { job, jobStream } from '../../domain/job.ts';
import type { UnitDataField } from '../../domain/jobEvents.ts';
import { type CreatedJob, type JobState, jobContent, requireOpenForUids } from '../../domain/jobState.ts';
import { line, lineStream } from '../../domain/line.ts';
import { release, releaseFacts, releaseStream } from '../../domain/release.ts';
import { NusecError } from '../../errors.ts';
import type { Read } from '../../eventstore/handle.ts';
import { type AllotmentRow, type JobPage, type JobRow, jobQueries, type UnitRow } from '../../projections/jobs.ts';
import { type Approval, approve } from '../base/approval.ts';
import { type Condition, type Context, execute, executeOn, newHexId, stateOf } from '../base/context.ts';
import { requireEncryptedEnough } from '../firmware/encryptedFirmware.ts';
import { lineOf } from '../firmware/lines.ts';
import { requireFirmware } from './conditions.ts';
import { requireSeries } from './series.ts';

/** Production jobs: planned, bound to firmware and chips, released by a second person, shared out to programmers (R57, R59, R60, R100). */

export type JobWish = {
  readonly line: string;
  readonly plannedCount: number;
  readonly scrapAllowance?: number | undefined;
  readonly requireUidList?: boolean | undefined;
  readonly site?: string | undefined;
  readonly unitData?: readonly UnitDataField[] | undefined;
  readonly configWords?: readonly number[] | undefined;
};

/** @throws NusecError NOT_FOUND (line, series), BAD_REQUEST */
export async function createJob(ctx: Context, wish: JobWish, by: Actor): Promise<CreatedJob> {
  await lineOf(ctx, wish.line);
  const jobId = newHexId(ctx);
  const requireUidList = wish.requireUidList ?? false;
  const policy = { requireUidList };
  const { line, plannedCount, scrapAllowance = 0, site, unitData, configWords } = wish;
  if (unitData !== undefined) await requireSeries(ctx, unitData);
  const place = {
    ...(site !== undefined && { site }),
    ...(unitData !== undefined && { unitData }),
    ...(configWords !== undefined && { configWords }),
  };
  return change(ctx, jobId, { type: 'CreateJob', jobId, line, plannedCount, scrapAllowance, policy, ...place, by }, by);
}

/** @throws NusecError NOT_FOUND, WRONG_PRODUCT, RELEASE_STATE (I8), ENCRYPTION_REQUIRED */
export async function bindFirmware(ctx: Context, jobId: string, releaseId: string, by: Actor): Promise<CreatedJob> {
  await jobOf(ctx, jobId);
  const commandOf = async (read: Read) => {
    const state = await read(release, releaseStream(releaseId));
    if (state.status === 'NONE') throw new NusecError('NOT_FOUND', `there is no release ${releaseId}`);
    const product = await read(line, lineStream(state.line));
    if (state.image === 'app' && product.status !== 'NONE') requireEncryptedEnough(product.encryption, state);
    return { type: 'BindFirmware' as const, release: releaseFacts(state), by };
  };
  return created((await executeOn(ctx, job, jobStream(jobId), commandOf, by)).state, jobId);
}

/** @param text one UID per line, gzip or not @throws NusecError STATE before anything is read; as `UidLists.store` */
export async function attachUidList(ctx: Context, jobId: string, text: ReadableStream<Uint8Array>, by: Actor): Promise<CreatedJob> {
  const before = await jobOf(ctx, jobId);
  if (before.uidList === undefined) requireOpenForUids(before);
  return change(ctx, jobId, { type: 'AttachUidList', ...(await ctx.uidLists.store(text)), by }, by);
}

/** SHA-256 of what the release of a job approves: shown to the approver, kept in the event. */
export const contentSha256Of = (created: CreatedJob): string => sha256Hex(jobContent(created));

/** By a person who had no part in the draft (I16). Firmware that no unit would be given can still be bound anew now, and never after.
 *  @throws NusecError FOUR_EYES_REQUIRED, CONFLICT when the content is not what was seen, and as `requireGivable` */
export async function releaseJob(ctx: Context, jobId: string, by: Actor, approval?: Approval): Promise<CreatedJob> {
  const condition: Condition = async read => {
    await approval?.condition?.(read);
    const draft = await read(job, jobStream(jobId));
    if (draft.status === 'DEFINED') await requireFirmware(read, draft);
  };
  const { state } = await approve(
    ctx,
    {
      decider: job,
      stream: jobStream(jobId),
      content: async () => jobContent(await jobOf(ctx, jobId)),
      command: content => ({ type: 'ReleaseJob' as const, by, content }),
    },
    by,
    { ...approval, condition },
  );
  return created(state, jobId);
}
export const suspendJob = (ctx: Context, jobId: string, reason: string, by: Actor) =>
  change(ctx, jobId, { type: 'SuspendJob', reason, by }, by);
/** @param ownOnly only a suspension by the same person @throws NusecError FORBIDDEN */
export const resumeJob = (ctx: Context, jobId: string, by: Actor, ownOnly = false) =>
  change(ctx, jobId, { type: 'ResumeJob', by, ownOnly }, by);
export const cancelJob = (ctx: Context, jobId: string, reason: string, by: Actor) =>
  change(ctx, jobId, { type: 'CancelJob', reason, by }, by);

/** @throws NusecError NOT_FOUND */
export async function jobOf(ctx: Context, jobId: string): Promise<CreatedJob> {
  return created(await stateOf(ctx, job, jobStream(jobId)), jobId);
}

function created(state: JobState, jobId: string): CreatedJob {
  if (state.status === 'NONE') throw new NusecError('NOT_FOUND', `there is no job ${jobId}`);
  return state;
}

export type JobBoard = { readonly row: JobRow; readonly allotments: readonly AllotmentRow[] };

export async function listJobs(ctx: Context, page: JobPage) {
  await ctx.reads.waitFor(await ctx.store.head(), { projections: ['jobs'] });
  return jobQueries(ctx.reads.db).page(page);
}

/** The job board's view of one job. @throws NusecError NOT_FOUND */
export async function jobBoard(ctx: Context, jobId: string): Promise<JobBoard> {
  await ctx.reads.waitFor(await ctx.store.head(), { projections: ['jobs'] });
  const queries = jobQueries(ctx.reads.db);
  const row = await queries.byId(jobId);
  if (row === undefined) throw new NusecError('NOT_FOUND', `there is no job ${jobId}`);
  return { row, allotments: await queries.allotments(jobId) };
}

/** What the shares of each job add up to; a job without shares is not in it. */
export async function jobTotals(ctx: Context, jobIds: readonly string[]) {
  return new Map((await jobQueries(ctx.reads.db).totals(jobIds)).map(row => [row.job_id, row]));
}

/** Every unit of a job (R83). */
export async function unitsOf(ctx: Context, jobId: string): Promise<readonly UnitRow[]> {
  await jobBoard(ctx, jobId);
  return jobQueries(ctx.reads.db).units(jobId);
}

const columns = [
  'uid',
  'objId',
  'status',
  'version',
  'serial',
  'programmer',
  'reserved',
  'certified',
  'locked',
  'finished',
  'reason',
] as const;

/** Status report for OEM and contract manufacturer (R83), with a column for each value of the unit data. RFC 4180, with a head line.
 *  @param isOfOem a manufacturer gets no ids of the registry */
export async function statusCsv(ctx: Context, jobId: string, isOfOem = true): Promise<string> {
  const names = ((await jobOf(ctx, jobId)).unitData ?? []).map(({ name }) => name);
  const lines = (await unitsOf(ctx, jobId)).map(unit => [
    unit.uid,
    ...(isOfOem ? [unit.obj_id] : []),
    unit.status,
    unit.version,
    ...(isOfOem ? [unit.serial] : []),
    unit.programmer,
    unit.reserved_at,
    unit.certified_at,
    unit.locked_at,
    unit.finished_at,
    unit.reason,
    ...valuesIn(unit, names),
  ]);
  const head = isOfOem ? columns : columns.filter(name => name !== 'objId' && name !== 'serial');
  return [[...head, ...names.map(name => `values.${name}`)], ...lines].map(line => `${line.map(csvField).join(',')}\r\n`).join('');
}

/** The values that a unit got for itself, in the order of the names. */
function valuesIn({ unit_data: text }: UnitRow, names: readonly string[]): readonly (string | null)[] {
  const values = unitValues(text);
  return names.map(name => values[name] ?? null);
}

/** By name. @param text column `unit_data` */
export const unitValues = (text: string | null): Readonly<Record<string, string>> =>
  text === null ? {} : Object.fromEntries((JSON.parse(text) as { name: string; value: string }[]).map(({ name, value }) => [name, value]));

/** A field that a spreadsheet would run as a formula is disarmed by a quote mark. */
function csvField(value: string | null): string {
  const text = value ?? '';
  const safe = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

async function change(ctx: Context, jobId: string, command: Parameters<typeof job.decide>[0], by: Actor): Promise<CreatedJob> {
  return created((await execute(ctx, job, jobStream(jobId), command, by)).state, jobId);
}
