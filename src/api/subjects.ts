import { createRoute, z } from '@hono/zod-openapi';
import { sha256Hex } from '../digest.ts';
import { type Erasure, erasureContent, isProposed, subjectKinds } from '../domain/subjects.ts';
import { eraseSubject, erasureRole, listSubjects, type SubjectRow, subjectData } from '../services/administration/subjects.ts';
import { type Context, nowIso } from '../services/base/context.ts';
import { dryRunQuery } from './dryRun.ts';
import { eventAnswer, eventSchema } from './events.ts';
import { jsonAnswer, jsonBody, reasonField, sha256Field, wholeNumber } from './fields.ts';
import type { Resource } from './resource.ts';

/** The people whom the log speaks of: what is known of one, and erasure by two administrators (GDPR articles 15 and 17). */

const erasureSchema = z
  .object({
    status: z.enum(['PROPOSED', 'APPROVED', 'ERASED']),
    reason: z.string().optional(),
    proposedBy: z.string().optional(),
    proposedAt: z.string().optional(),
    approvedBy: z.string().optional(),
    contentSha256: sha256Field.optional(),
  })
  .openapi('Erasure');
const subjectSchema = z
  .object({ id: z.string(), kind: z.enum(subjectKinds), name: z.string(), since: z.string(), erasure: erasureSchema.optional() })
  .openapi('DataSubject');
export type SubjectAnswer = z.infer<typeof subjectSchema>;
/** @returns with the hash of what waits for an approval */
const erasureAnswer = (ctx: Context, id: string, erasure: Erasure) => {
  const { kind: _, ...known } = erasure;
  return { ...known, ...(isProposed(erasure, nowIso(ctx)) && { contentSha256: sha256Hex(erasureContent(id, erasure)) }) };
};
const shown = (ctx: Context, { erasure, ...subject }: SubjectRow) => ({
  ...subject,
  ...(erasure && { erasure: erasureAnswer(ctx, subject.id, erasure) }),
});
const params = z.object({ id: z.string().regex(/^[0-9a-f]{48}$/, 'an id is 48 lower-case hex digits') });

export const subjectsResource: Resource = (api, { ctx, alarms }, auth) => {
  const list = createRoute({
    method: 'get',
    path: '/v1/subjects',
    summary: 'Everybody whom the log speaks of and who is not erased: operators, sites, addresses of clients',
    middleware: auth.person('auditor'),
    responses: { 200: jsonAnswer(z.object({ subjects: z.array(subjectSchema) }), 'oldest first') },
  });
  api.openapi(list, async c => c.json({ subjects: (await listSubjects(ctx)).map(each => shown(ctx, each)) }, 200));

  const data = createRoute({
    method: 'get',
    path: '/v1/subjects/{id}/data',
    summary: 'What the log has of somebody: everything they did and everything that names them, page by page',
    middleware: auth.person('auditor'),
    request: { params, query: z.strictObject({ after: wholeNumber(0).default(0) }) },
    responses: {
      200: jsonAnswer(z.object({ events: z.array(eventSchema), next: z.number(), head: z.number() }), 'the next page begins after `next`'),
    },
  });
  api.openapi(data, async c => {
    const page = await subjectData(ctx, c.req.valid('param').id, c.req.valid('query').after);
    return c.json({ ...page, events: page.events.map(eventAnswer) }, 200);
  });

  const erase = createRoute({
    method: 'post',
    path: '/v1/subjects/{id}/erase',
    summary: 'Proposes that somebody is erased; erases them when another administrator has proposed it',
    middleware: auth.person(erasureRole),
    request: { params, query: dryRunQuery, ...jsonBody(z.strictObject({ reason: reasonField, contentSha256: sha256Field.optional() })) },
    responses: { 200: jsonAnswer(erasureSchema, 'proposed, or erased') },
  });
  api.openapi(erase, async c => {
    const { id } = c.req.valid('param');
    const { reason, contentSha256: seenSha256 } = c.req.valid('json');
    return c.json(erasureAnswer(ctx, id, await eraseSubject({ ctx, alarms }, id, { reason, seenSha256 }, c.var.person.name)), 200);
  });
};
