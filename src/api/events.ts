import { createRoute, z } from '@hono/zod-openapi';
import { alarmQueries } from '../projections/alarms.ts';
import type { Resource } from './app.ts';
import { eventAnswer, eventSchema } from './devices.ts';
import { jsonAnswer, maxPageRows } from './fields.ts';

/** The event log and the alarms, for auditors and operators. */

const position = z.coerce.number().int().min(0).default(0);
const page = z.strictObject({ after: position, limit: z.coerce.number().int().min(1).max(maxPageRows).default(100) });

const alarmSchema = z
  .object({ position: z.number(), at: z.string(), code: z.string(), subject: z.string(), detail: z.string() })
  .openapi('Alarm');

export const eventsResource: Resource = (api, { ctx }, auth) => {
  const events = createRoute({
    method: 'get',
    path: '/v1/events',
    summary: 'Events after a position, oldest first',
    middleware: auth.person('auditor'),
    request: { query: page },
    responses: { 200: jsonAnswer(z.object({ events: z.array(eventSchema), head: z.number() }), 'events') },
  });
  api.openapi(events, async c => {
    const { after, limit } = c.req.valid('query');
    const found = await ctx.store.readAll(after, limit);
    return c.json({ events: found.map(eventAnswer), head: ctx.store.head() }, 200);
  });

  const alarms = createRoute({
    method: 'get',
    path: '/v1/alarms',
    summary: 'Alarms after a position, oldest first',
    middleware: auth.person(),
    request: { query: page.extend({ subject: z.string().max(128).optional() }) },
    responses: { 200: jsonAnswer(z.object({ alarms: z.array(alarmSchema) }), 'alarms') },
  });
  api.openapi(alarms, async c => {
    await ctx.reads.waitFor(ctx.store.head(), { projections: ['alarms'] });
    return c.json({ alarms: await alarmQueries(ctx.reads.db).page(c.req.valid('query')) }, 200);
  });
};
