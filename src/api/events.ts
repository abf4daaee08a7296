import { createRoute, z } from '@hono/zod-openapi';
import type { Scope } from '../domain/roles.ts';
import { alarmQueries } from '../projections/alarms.ts';
import type { Resource } from './app.ts';
import { eventAnswer, eventSchema } from './devices.ts';
import { jsonAnswer, maxPageRows } from './fields.ts';
import { subjectsInScope } from './scopes.ts';

/** The event log and the alarms, for auditors and operators. */

const position = z.coerce.number().int().min(0).default(0);
const page = z.strictObject({ after: position, limit: z.coerce.number().int().min(1).max(maxPageRows).default(100) });

const alarmSchema = z
  .object({ position: z.number(), at: z.string(), code: z.string(), subject: z.string(), detail: z.string() })
  .openapi('Alarm');

const next = { next: z.number().openapi({ description: 'ask again after it; it may be after the last one shown' }) };

/** Rows looked at for one answer; with a narrow scope most of them are not shown. */
const maxScanned = 5000;

type Positioned = { readonly position: number };

/** Rows after a position that may be seen, and how far was looked. */
async function filtered<Row extends Positioned>(
  read: (after: number, limit: number) => Promise<readonly Row[]>,
  isVisible: (row: Row) => Promise<boolean>,
  after: number,
  limit: number,
): Promise<{ readonly rows: readonly Row[]; readonly next: number }> {
  const rows: Row[] = [];
  let [position, scanned] = [after, 0];
  while (rows.length < limit && scanned < maxScanned) {
    const page = await read(position, maxPageRows);
    for (const row of page) {
      if (rows.length === limit) return { rows, next: position };
      if (await isVisible(row)) rows.push(row);
      position = row.position;
    }
    scanned += page.length;
    if (page.length < maxPageRows) break;
  }
  return { rows, next: position };
}

export const eventsResource: Resource = (api, { ctx }, auth) => {
  const visibleTo = (scope: Scope | undefined): ((subject: string) => Promise<boolean>) =>
    scope === undefined ? async () => true : subjectsInScope(ctx, scope);
  const events = createRoute({
    method: 'get',
    path: '/v1/events',
    summary: 'Events after a position, oldest first',
    middleware: auth.personInScope('auditor'),
    request: { query: page },
    responses: { 200: jsonAnswer(z.object({ events: z.array(eventSchema), ...next, head: z.number() }), 'events') },
  });
  api.openapi(events, async c => {
    const { after, limit } = c.req.valid('query');
    const isVisible = visibleTo(c.var.person.scope);
    const read = (from: number, count: number) => ctx.store.readAll(from, count);
    const found = await filtered(read, ({ stream }) => isVisible(stream), after, limit);
    return c.json({ events: found.rows.map(eventAnswer), next: found.next, head: await ctx.store.head() }, 200);
  });

  const alarms = createRoute({
    method: 'get',
    path: '/v1/alarms',
    summary: 'Alarms after a position, oldest first',
    middleware: auth.personInScope(),
    request: { query: page.extend({ subject: z.string().max(128).optional() }) },
    responses: { 200: jsonAnswer(z.object({ alarms: z.array(alarmSchema), ...next }), 'alarms') },
  });
  api.openapi(alarms, async c => {
    await ctx.reads.waitFor(await ctx.store.head(), { projections: ['alarms', 'jobs'] });
    const { after, limit, subject } = c.req.valid('query');
    const queries = alarmQueries(ctx.reads.db);
    const isVisible = visibleTo(c.var.person.scope);
    const read = (from: number, count: number) => queries.page({ after: from, limit: count, subject });
    const found = await filtered(read, alarm => isVisible(alarm.subject), after, limit);
    return c.json({ alarms: [...found.rows], next: found.next }, 200);
  });
};
