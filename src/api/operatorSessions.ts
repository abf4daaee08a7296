import { createRoute, z } from '@hono/zod-openapi';
import { NusecError } from '../errors.ts';
import { endSessionOf, listSessions } from '../services/administration/sessions.ts';
import { requireOwnHands } from './auth.ts';
import { dryRunQuery } from './dryRun.ts';
import { idField, jsonAnswer } from './fields.ts';
import { nameField } from './operators.ts';
import { actor, type Resource } from './resource.ts';

/** Sessions of people: one's own, and what administrators see and end of others. */

const sessionSchema = z
  .object({
    id: z.string(),
    use: z.enum(['console', 'command']).openapi({ description: 'a browser at the console, or `nusec login`' }),
    way: z.enum(['token', 'provider']).openapi({ description: 'how the person signed in' }),
    at: z.string(),
    until: z.string(),
    lastUsedAt: z.string().optional().openapi({ description: 'to the minute, at the machine that is asked' }),
    address: z.string().optional(),
    agent: z.string().optional(),
    isThis: z.boolean().openapi({ description: 'the session that asks' }),
  })
  .openapi('Session');
export type SessionAnswer = z.infer<typeof sessionSchema>;
const sessionsSchema = z.object({ sessions: z.array(sessionSchema).readonly() });

const thisSession = 'current';
const params = z.object({ id: z.string().regex(/^([0-9a-f]{32}|current)$/, 'an id is 32 lower-case hex digits, or current') });
const othersParams = z.object({ name: nameField, id: idField });

export const operatorSessionsResource: Resource = (api, { ctx, alarms, tokenUse }, auth) => {
  const parts = { ctx, alarms };
  const own = createRoute({
    method: 'get',
    path: '/v1/operators/me/sessions',
    summary: 'Where you are signed in: browsers and commands, newest first',
    middleware: auth.anybody(),
    responses: { 200: jsonAnswer(sessionsSchema, 'sessions') },
  });
  const endOwn = createRoute({
    method: 'delete',
    path: '/v1/operators/me/sessions/{id}',
    summary: 'Ends one of your sessions, everywhere and for good; `current` is the one that asks',
    middleware: auth.anybody(),
    request: { params, query: dryRunQuery },
    responses: { 204: { description: 'ended' } },
  });
  const others = createRoute({
    method: 'get',
    path: '/v1/operators/{name}/sessions',
    summary: 'Where a person is signed in: browsers and commands, newest first',
    middleware: auth.person('auditor'),
    request: { params: z.object({ name: nameField }) },
    responses: { 200: jsonAnswer(sessionsSchema, 'sessions') },
  });
  const endOther = createRoute({
    method: 'delete',
    path: '/v1/operators/{name}/sessions/{id}',
    summary: 'Ends a session of another person; one administrator is enough, as it only takes away',
    middleware: auth.person('administrator'),
    request: { params: othersParams, query: dryRunQuery },
    responses: { 204: { description: 'ended' } },
  });
  const shown = async (name: string, askingId: string | undefined) => {
    const list = await listSessions(ctx, tokenUse, name);
    return { sessions: list.map(session => ({ ...session, isThis: session.id === askingId })) };
  };
  api.openapi(own, async c => c.json(await shown(c.var.person.name, c.var.person.session?.id), 200));
  api.openapi(others, async c => c.json(await shown(c.req.valid('param').name, c.var.person.session?.id), 200));
  api.openapi(endOwn, async c => {
    requireOwnHands(c.var.person);
    const { name, session } = c.var.person;
    const { id } = c.req.valid('param');
    if (id === thisSession && session === undefined) throw new NusecError('CONFLICT', 'you ask with a token, and not in a session');
    await endSessionOf(parts, name, id === thisSession ? (session?.id ?? id) : id, actor(c));
    return c.body(null, 204);
  });
  api.openapi(endOther, async c => {
    requireOwnHands(c.var.person);
    const { name, id } = c.req.valid('param');
    await endSessionOf(parts, name, id, actor(c));
    return c.body(null, 204);
  });
};
