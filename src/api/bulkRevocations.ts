import { createRoute, z } from '@hono/zod-openapi';
import { sha256Hex } from '../digest.ts';
import { type BulkRevocation, bulkRevocationContent, bulkRevocationsStream } from '../domain/bulkRevocations.ts';
import { revocationReasons } from '../domain/deviceEvents.ts';
import { earlierApprover, proposalIn } from '../services/administration/approvals.ts';
import { bytesAnswer, idField, jsonAnswer, jsonBody, lineField, lookBody, reasonField, seenIn, sha256Field, uidField } from './fields.ts';
import { actor, type Resource } from './resource.ts';

/** Revocation of many devices together: proposed by one person, approved by another, with progress (I16). */

/** UIDs in one request; more are selected by line or job. */
const maxUidsInRequest = 5000;
const maxLinesInRequest = 100;
const wishSchema = z
  .strictObject({
    selection: z.union([
      z.strictObject({ uids: z.array(uidField).min(1).max(maxUidsInRequest) }),
      z.strictObject({ line: lineField, status: z.string().max(20).optional() }),
      z.strictObject({ lines: z.array(lineField).min(1).max(maxLinesInRequest), status: z.string().max(20).optional() }),
      z.strictObject({ all: z.literal(true), status: z.string().max(20).optional() }),
      z.strictObject({ jobId: idField }),
    ]),
    reason: z.enum(revocationReasons),
    note: reasonField,
  })
  .openapi('BulkRevocationWish');
const bulkSchema = z
  .object({
    id: z.string(),
    status: z.enum(['PROPOSED', 'RUNNING', 'DONE', 'CANCELLED']),
    reason: z.string(),
    note: z.string(),
    count: z.number(),
    done: z.number(),
    revoked: z.number(),
    failed: z.number(),
    proposedBy: z.string(),
    proposedAt: z.string(),
    contentSha256: sha256Field,
    approvedBy: z.string().optional(),
  })
  .openapi('BulkRevocation');

export type BulkRevocationAnswer = z.infer<typeof bulkSchema>;

const toAnswer = (known: BulkRevocation) => {
  const { uidsSha256: _, approvedSha256: __, ...bulk } = known;
  return { ...bulk, contentSha256: sha256Hex(bulkRevocationContent(known)) };
};

export const bulkRevocationsResource: Resource = (api, { ctx, bulkRevocations }, auth) => {
  const officer = auth.person('securityOfficer');
  const params = z.object({ id: idField });
  const one = { 200: jsonAnswer(bulkSchema, 'the bulk revocation') };

  const propose = createRoute({
    method: 'post',
    path: '/v1/bulk-revocations',
    summary: 'Proposes to revoke many devices; another person approves',
    middleware: officer,
    request: jsonBody(wishSchema),
    responses: { 201: jsonAnswer(bulkSchema, 'proposed') },
  });
  api.openapi(propose, async c => {
    const { selection, reason, note } = c.req.valid('json');
    return c.json(toAnswer(await bulkRevocations.propose(selection, reason, note, actor(c))), 201);
  });

  const list = createRoute({
    method: 'get',
    path: '/v1/bulk-revocations',
    summary: 'Bulk revocations, newest first',
    middleware: auth.person(),
    responses: { 200: jsonAnswer(z.object({ bulkRevocations: z.array(bulkSchema) }), 'bulk revocations') },
  });
  api.openapi(list, async c => c.json({ bulkRevocations: (await bulkRevocations.list()).map(toAnswer) }, 200));

  const get = createRoute({
    method: 'get',
    path: '/v1/bulk-revocations/{id}',
    summary: 'How far it is',
    middleware: auth.person(),
    request: { params },
    responses: one,
  });
  api.openapi(get, async c => c.json(toAnswer(await bulkRevocations.get(c.req.valid('param').id)), 200));

  const devices = createRoute({
    method: 'get',
    path: '/v1/bulk-revocations/{id}/devices',
    summary: 'Which devices, one UID per line: what the approver looks at',
    middleware: auth.person(),
    request: { params },
    responses: { 200: bytesAnswer('UIDs, one a line', 'text/plain') },
  });
  api.openapi(devices, async c => {
    const lines = await bulkRevocations.uidLines(c.req.valid('param').id);
    return c.body(ReadableStream.from(lines).pipeThrough(new TextEncoderStream()), 200, { 'Content-Type': 'text/plain; charset=UTF-8' });
  });

  const approve = createRoute({
    method: 'post',
    path: '/v1/bulk-revocations/{id}/approve',
    summary: 'Approves and begins',
    middleware: officer,
    request: { params, ...lookBody },
    responses: one,
  });
  api.openapi(approve, async c => {
    const { id } = c.req.valid('param');
    const proposal = proposalIn(bulkRevocationsStream(ctx.project), 'BulkRevocationProposed', id);
    const approver = earlierApprover(ctx, c.var.person.name, ['securityOfficer'], proposal);
    return c.json(toAnswer(await bulkRevocations.approve(id, actor(c), { condition: approver, ...seenIn(c.req.valid('json')) })), 200);
  });

  const cancel = createRoute({
    method: 'post',
    path: '/v1/bulk-revocations/{id}/cancel',
    summary: 'Revokes nothing more',
    middleware: officer,
    request: { params },
    responses: one,
  });
  api.openapi(cancel, async c => c.json(toAnswer(await bulkRevocations.cancel(c.req.valid('param').id, actor(c))), 200));
};
