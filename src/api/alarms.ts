import { createRoute, z } from '@hono/zod-openapi';
import type { Context as HonoContext } from 'hono';
import { maxSilentDays, openUntil } from '../domain/alarm.ts';
import { NusecError } from '../errors.ts';
import { type AlarmCaseRow, alarmQueries, alarmStates } from '../projections/alarms.ts';
import { acknowledgeAlarm, alarmCase, assignAlarm, silenceAlarm } from '../services/administration/alarmCases.ts';
import { nowIso } from '../services/base/context.ts';
import { dayMs, hourMs } from '../times.ts';
import type { ApiEnv } from './auth.ts';
import { eventPage, filtered, next, requirePlace } from './events.ts';
import { idField, jsonAnswer, jsonBody, maxPageRows, reasonField, wholeNumber } from './fields.ts';
import { actor, type Resource } from './resource.ts';
import { visibleTo } from './scopes.ts';

/** Alarms as they were raised, and as cases that somebody takes on, puts off or closes. */

const alarmSchema = z
  .object({ position: z.number(), at: z.string(), code: z.string(), subject: z.string(), detail: z.string() })
  .openapi('Alarm');
const caseSchema = z
  .object({
    id: idField,
    state: z.enum(alarmStates),
    code: z.string(),
    subject: z.string(),
    detail: z.string().openapi({ description: 'of the newest one' }),
    raised: z.number().openapi({ description: 'how often since the case was opened' }),
    firstAt: z.string(),
    lastAt: z.string(),
    position: z.number().openapi({ description: 'of the newest one; say it when you acknowledge' }),
    assignedTo: z.string().optional(),
    acknowledgedBy: z.string().optional(),
    acknowledgedAt: z.string().optional(),
    note: z.string().optional(),
    silencedUntil: z.string().optional(),
    silencedBy: z.string().optional(),
    silencedReason: z.string().optional(),
    openUntil: z
      .string()
      .optional()
      .openapi({ description: 'not acknowledged before, and never silenced, so that every administrator sees it' }),
  })
  .openapi('AlarmCase');
export type AlarmCaseAnswer = z.infer<typeof caseSchema>;

const caseQuery = z.strictObject({
  state: z.enum(alarmStates).optional(),
  code: z.string().max(64).optional(),
  subject: z.string().max(128).optional(),
  assignedTo: z.string().max(64).optional(),
  cursor: wholeNumber(1).optional(),
  limit: wholeNumber(1, maxPageRows).default(100),
});
const params = z.object({ id: idField });
const maxSilentHours = (maxSilentDays * dayMs) / hourMs;
const nameField = z.string().regex(/^[a-z][a-z0-9._-]{0,63}$/, 'not the name of a person');

export const alarmsResource: Resource = (api, { ctx }, auth) => {
  const list = createRoute({
    method: 'get',
    path: '/v1/alarms',
    summary: 'Alarms after a position, oldest first',
    middleware: auth.personInScope(),
    request: { query: eventPage.extend({ subject: z.string().max(128).optional() }) },
    responses: { 200: jsonAnswer(z.object({ alarms: z.array(alarmSchema), ...next }), 'alarms') },
  });
  api.openapi(list, async c => {
    const { after, limit, subject } = c.req.valid('query');
    await ctx.reads.waitFor(await requirePlace(ctx, after), { projections: ['alarms', 'jobs'] });
    const queries = alarmQueries(ctx.reads.db);
    const isVisible = visibleTo(ctx, c.var.person.scope);
    const read = (from: number, count: number) => queries.page({ after: from, limit: count, subject });
    const found = await filtered(read, alarm => isVisible(alarm.subject), after, limit);
    return c.json({ alarms: [...found.rows], next: found.next }, 200);
  });

  const cases = createRoute({
    method: 'get',
    path: '/v1/alarm-cases',
    summary: 'Alarms of one code about one subject as one case, newest first',
    middleware: auth.personInScope(),
    request: { query: caseQuery },
    responses: { 200: jsonAnswer(z.object({ cases: z.array(caseSchema), next: z.number().optional() }), 'cases') },
  });
  api.openapi(cases, async c => {
    await ctx.reads.waitFor(await ctx.store.head(), { projections: ['alarms', 'jobs'] });
    const { cursor = Number.MAX_SAFE_INTEGER, limit: most, ...wanted } = c.req.valid('query');
    const now = nowIso(ctx);
    const isVisible = visibleTo(ctx, c.var.person.scope);
    const queries = alarmQueries(ctx.reads.db);
    const read = async (before: number, limit: number) => {
      const page = await queries.cases({ ...wanted, before, limit, now });
      return page.map(row => ({ row, position: row.last_position }));
    };
    // What others see is no empty page to whoever has a scope.
    const { rows, next: last, isEnd } = await filtered(read, ({ row }) => isVisible(row.subject), cursor, most);
    return c.json({ cases: rows.map(({ row }) => caseView(row, now)), ...(!isEnd && { next: last }) }, 200);
  });

  const keeper = auth.personInScope('securityOfficer', 'productionPlanner', 'releaseManager');
  /** @throws NusecError NOT_FOUND, also for what is beyond the scope */
  const visibleCase = async (c: HonoContext<ApiEnv>): Promise<AlarmCaseRow> => {
    const row = await alarmCase(ctx, c.req.param('id') ?? '');
    if (!(await visibleTo(ctx, c.var.person.scope)(row.subject))) throw new NusecError('NOT_FOUND', `there is no alarm case ${row.id}`);
    return row;
  };
  const answer = { 200: jsonAnswer(caseSchema, 'the case') };
  const one = createRoute({
    method: 'get',
    path: '/v1/alarm-cases/{id}',
    summary: 'One alarm case',
    middleware: auth.personInScope(),
    request: { params },
    responses: answer,
  });
  api.openapi(one, async c => c.json(caseView(await visibleCase(c), nowIso(ctx)), 200));
  const step = <Name extends string, Body extends z.ZodType>(name: Name, summary: string, body: Body) =>
    createRoute({
      method: 'post',
      path: `/v1/alarm-cases/{id}/${name}`,
      summary,
      middleware: keeper,
      request: { params, ...jsonBody(body) },
      responses: answer,
    });
  const seen = z.strictObject({ note: reasonField, position: z.number().int().min(1).optional() });
  api.openapi(
    step('acknowledge', 'Closes a case until it is raised again; `position` says up to which alarm you have seen it', seen),
    async c => {
      const { note, position } = c.req.valid('json');
      return c.json(caseView(await acknowledgeAlarm(ctx, await visibleCase(c), note, position, actor(c)), nowIso(ctx)), 200);
    },
  );
  api.openapi(step('assign', 'Says who looks after it', z.strictObject({ to: nameField })), async c =>
    c.json(caseView(await assignAlarm(ctx, await visibleCase(c), c.req.valid('json').to, actor(c)), nowIso(ctx)), 200),
  );
  const silence = z.strictObject({ hours: z.number().int().min(1).max(maxSilentHours), reason: reasonField });
  api.openapi(step('silence', 'Keeps it out of the open ones for a while', silence), async c => {
    const { hours, reason } = c.req.valid('json');
    const until = new Date(ctx.clock().getTime() + hours * hourMs).toISOString();
    return c.json(caseView(await silenceAlarm(ctx, await visibleCase(c), until, reason, actor(c)), nowIso(ctx)), 200);
  });
};

function caseView(row: AlarmCaseRow, now: string): AlarmCaseAnswer {
  const isClosed = row.last_position <= row.acknowledged_position;
  const isSilent = row.silenced_until !== null && row.silenced_until > now;
  const heldUntil = isClosed ? undefined : openUntil(row.code, row.last_at);
  return {
    ...{ id: row.id, state: isClosed ? 'acknowledged' : isSilent ? 'silenced' : 'open', code: row.code, subject: row.subject },
    ...{ detail: row.detail, raised: row.raised, firstAt: row.first_at, lastAt: row.last_at, position: row.last_position },
    ...(row.assigned_to !== null && { assignedTo: row.assigned_to }),
    ...(row.acknowledged_by !== null && { acknowledgedBy: row.acknowledged_by }),
    ...(row.acknowledged_at !== null && { acknowledgedAt: row.acknowledged_at }),
    ...(row.note !== null && { note: row.note }),
    ...(row.silenced_until !== null && { silencedUntil: row.silenced_until }),
    ...(row.silenced_by !== null && { silencedBy: row.silenced_by }),
    ...(row.silenced_reason !== null && { silencedReason: row.silenced_reason }),
    ...(heldUntil !== undefined && { openUntil: heldUntil }),
  };
}
