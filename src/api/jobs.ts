import { createRoute, z } from '@hono/zod-openapi';
import type { Context as HonoContext } from 'hono';
import { jobStream } from '../domain/job.ts';
import { jobStatuses } from '../domain/jobEvents.ts';
import { readers } from '../domain/roles.ts';
import { maxUnitDataFields } from '../production/unitData.ts';
import { beginningOf, earlierApprover } from '../services/administration/approvals.ts';
import { jobStatus, unitPage } from '../services/production/jobStatus.ts';
import {
  attachUidList,
  bindFirmware,
  cancelJob,
  createJob,
  jobBoard,
  jobOf,
  jobTotals,
  listJobs,
  releaseJob,
  resumeJob,
  statusCsv,
  suspendJob,
} from '../services/production/jobs.ts';
import { closeJob, signedReport } from '../services/production/reconciliation.ts';
import type { ApiEnv } from './auth.ts';
import { dryRunQuery } from './dryRun.ts';
import {
  countField,
  idField,
  jsonAnswer,
  jsonBody,
  lineField,
  pageAfter,
  pageQuery,
  reasonField,
  seenIn,
  sha256Field,
  siteField,
} from './fields.ts';
import {
  boardView,
  configField,
  detailSchema,
  jobSchema,
  jobView,
  progressView,
  rowSchema,
  rowView,
  statusSchema,
  unitDataSchema,
  unitSchema,
  unitView,
} from './jobViews.ts';
import { actor, type Resource } from './resource.ts';
import { requireInScope, requirePlace, within } from './scopes.ts';
import type { Person } from './sessions.ts';

/** Production jobs as the planner sees them (R57–R61, R82, R83). */

const params = z.object({ id: idField });
const wishSchema = z.strictObject({
  line: lineField,
  plannedCount: countField,
  scrapAllowance: countField.optional(),
  requireUidList: z.boolean().optional(),
  site: siteField.optional(),
  unitData: z.array(unitDataSchema).min(1).max(maxUnitDataFields).optional(),
  configWords: configField.optional(),
});

const signedReportSchema = z.object({
  report: z.string().describe('JSON text'),
  kid: z.string(),
  signed: z.string().optional().describe('COSE_Sign1 over the UTF-8 bytes of `report`, base64url'),
  signature: z.string().optional().describe('instead, in reports from before: ES256, r ‖ s, base64url'),
});

export const jobsResource: Resource = (api, { ctx, alarms }, auth) => {
  const inScope = within(ctx, 'job', 'id');
  const planner = auth.personWithin(inScope, 'productionPlanner');
  /** The line operators of its site drive a job too. */
  const driver = auth.personWithin(inScope, 'productionPlanner', 'lineOperator');
  const reader = auth.personWithin(inScope, ...readers, 'lineOperator');
  const answer = { 200: jsonAnswer(jobSchema, 'the job') };
  const act = <Name extends string, Body extends z.ZodType>(name: Name, summary: string, body: Body, person = planner) =>
    createRoute({
      method: 'post',
      path: `/v1/jobs/{id}/${name}`,
      summary,
      middleware: person,
      request: { params, query: dryRunQuery, ...jsonBody(body) },
      responses: answer,
    });
  const create = createRoute({
    method: 'post',
    path: '/v1/jobs',
    summary: 'Plans a production job',
    middleware: auth.personInScope('productionPlanner'),
    request: jsonBody(wishSchema),
    responses: { 201: jsonAnswer(jobSchema, 'the job') },
  });
  const list = createRoute({
    method: 'get',
    path: '/v1/jobs',
    summary: 'Jobs, by page',
    middleware: auth.personInScope(...readers, 'lineOperator'),
    request: { query: pageAfter(idField).extend({ status: z.enum(jobStatuses).optional() }) },
    responses: { 200: jsonAnswer(z.object({ jobs: z.array(rowSchema), next: z.string().optional() }), 'jobs') },
  });
  const one = createRoute({
    method: 'get',
    path: '/v1/jobs/{id}',
    summary: 'One job and its job board',
    middleware: reader,
    request: { params },
    responses: { 200: jsonAnswer(detailSchema, 'the job') },
  });
  const uids = createRoute({
    method: 'put',
    path: '/v1/jobs/{id}/uids',
    summary: 'The chips that may be built: one UID per line, up to ten million, as text or gzip',
    middleware: planner,
    request: {
      params,
      body: { required: true, content: { 'text/plain': { schema: z.string() }, 'application/gzip': { schema: z.string() } } },
    },
    responses: answer,
  });
  const csv = createRoute({
    method: 'get',
    path: '/v1/jobs/{id}/status.csv',
    summary: 'Every unit of a job with its state and firmware',
    middleware: reader,
    request: { params },
    responses: { 200: { description: 'RFC 4180', content: { 'text/csv': { schema: z.string() } } } },
  });
  const status = createRoute({
    method: 'get',
    path: '/v1/jobs/{id}/status',
    summary: 'How a job goes on: counts, yield, rate, reasons, units per minute, firmware versions',
    middleware: reader,
    request: { params },
    responses: { 200: jsonAnswer(statusSchema, 'the status') },
  });
  const units = createRoute({
    method: 'get',
    path: '/v1/jobs/{id}/units',
    summary: 'Every unit of a job, by page',
    middleware: reader,
    request: { params, query: pageQuery },
    responses: { 200: jsonAnswer(z.object({ units: z.array(unitSchema), next: z.string().optional() }), 'units') },
  });
  const reconciliation = createRoute({
    method: 'get',
    path: '/v1/jobs/{id}/reconciliation',
    summary: 'The signed reconciliation report',
    middleware: reader,
    request: { params },
    responses: { 200: jsonAnswer(signedReportSchema, 'report and signature') },
  });
  const reason = z.strictObject({ reason: reasonField });
  const nothing = z.strictObject({});

  const approver = (c: HonoContext<ApiEnv>) =>
    earlierApprover(ctx, c.var.person.name, ['productionPlanner'], beginningOf(jobStream(c.req.param('id') ?? '')));
  api.openapi(create, async c => {
    const wish = c.req.valid('json');
    requirePlace(c.var.person.scope, wish);
    return c.json(jobView(await createJob(ctx, wish, actor(c))), 201);
  });
  api.openapi(list, async c => {
    const { cursor, limit, status } = c.req.valid('query');
    const rows = await listJobs(ctx, { status, after: cursor, limit, scope: c.var.person.scope });
    const last = rows.length === limit ? rows.at(-1)?.job_id : undefined;
    const totals = await jobTotals(
      ctx,
      rows.map(row => row.job_id),
    );
    return c.json(
      { jobs: rows.map(row => rowView(row, isOfOem(c.var.person), totals.get(row.job_id))), ...(last !== undefined && { next: last }) },
      200,
    );
  });
  api.openapi(one, async c => {
    const job = await jobOf(ctx, c.req.valid('param').id);
    const { allotments } = await jobBoard(ctx, job.jobId);
    return c.json({ ...jobView(job, isOfOem(c.var.person)), board: allotments.map(boardView) }, 200);
  });
  api.openapi(act('firmware', 'Binds a published release', z.strictObject({ releaseId: idField })), async c => {
    const { releaseId } = c.req.valid('json');
    // A release belongs to no job and no site.
    const { lines } = c.var.person.scope ?? {};
    await requireInScope(ctx, lines && { lines }, 'release', releaseId);
    return c.json(jobView(await bindFirmware(ctx, c.req.valid('param').id, releaseId, actor(c))), 200);
  });
  api.openapi(uids, async c => {
    const text = c.req.raw.body ?? new Blob([]).stream();
    return c.json(jobView(await attachUidList(ctx, c.req.valid('param').id, text, actor(c))), 200);
  });
  const look = z.strictObject({ contentSha256: sha256Field.optional() });
  api.openapi(act('release', 'Releases a job: nobody who worked on it', look), async c => {
    const approval = { condition: approver(c), ...seenIn(c.req.valid('json')) };
    return c.json(jobView(await releaseJob(ctx, c.req.valid('param').id, actor(c), approval)), 200);
  });
  api.openapi(act('suspend', 'Stops production', reason, driver), async c =>
    c.json(jobView(await suspendJob(ctx, c.req.valid('param').id, c.req.valid('json').reason, actor(c)), isOfOem(c.var.person)), 200),
  );
  api.openapi(act('resume', 'Goes on; a line operator only after a stop of their own', nothing, driver), async c =>
    c.json(jobView(await resumeJob(ctx, c.req.valid('param').id, actor(c), !isPlanner(c.var.person)), isOfOem(c.var.person)), 200),
  );
  api.openapi(act('cancel', 'Gives up a job that was never released', reason), async c =>
    c.json(jobView(await cancelJob(ctx, c.req.valid('param').id, c.req.valid('json').reason, actor(c))), 200),
  );
  api.openapi(act('close', 'Ends and reconciles a job', z.strictObject({ withoutReceipt: reasonField.optional() })), async c =>
    c.json(jobView(await closeJob({ ctx, alarms }, c.req.valid('param').id, c.req.valid('json').withoutReceipt, actor(c))), 200),
  );
  api.openapi(status, async c => {
    const { row, total, byProgrammer, minutes } = await jobStatus(ctx, c.req.valid('param').id);
    return c.json(
      {
        ...rowView(row, isOfOem(c.var.person), { ...total, reserved: total.committed + total.voided + total.open }),
        ...(row.bl2_version !== null && { bl2Version: row.bl2_version }),
        ...progressView(total),
        minutes: [...minutes],
        byProgrammer: byProgrammer.map(({ programmer, ...of }) => ({ programmer, ...progressView(of) })),
      },
      200,
    );
  });
  api.openapi(units, async c => {
    const { cursor, limit } = c.req.valid('query');
    const { units: rows, bl2Version, next } = await unitPage(ctx, c.req.valid('param').id, limit, cursor);
    return c.json({ units: rows.map(row => unitView(row, bl2Version, isOfOem(c.var.person))), ...(next !== undefined && { next }) }, 200);
  });
  api.openapi(csv, async c =>
    c.body(await statusCsv(ctx, c.req.valid('param').id, isOfOem(c.var.person)), 200, {
      'Content-Type': 'text/csv; charset=utf-8; header=present',
    }),
  );
  api.openapi(reconciliation, async c => c.json(await signedReport(ctx, c.req.valid('param').id), 200));
};

/** Not only a line operator. */
export const isPlanner = ({ roles }: Person): boolean => roles.includes('administrator') || roles.includes('productionPlanner');

/** Whoever is let in as a line operator alone, a person or a program, works for a manufacturer. */
const isOfOem = ({ roles }: Person): boolean => roles.some(role => readers.includes(role));
