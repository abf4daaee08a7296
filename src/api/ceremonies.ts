import { createRoute, z } from '@hono/zod-openapi';
import { sha256Hex } from '../digest.ts';
import type { KnownCeremony } from '../domain/ceremonies.ts';
import { ceremoniesStream, ceremonyContent } from '../domain/ceremonies.ts';
import { signingKeyPattern, signingUses } from '../domain/signingUse.ts';
import { earlierApprover, proposalIn } from '../services/administration/approvals.ts';
import {
  approveCeremony,
  type CeremonyWish,
  ceremonyRecord,
  listCeremonies,
  proposeCeremony,
  withdrawCeremony,
} from '../services/administration/ceremonies.ts';
import { idField, jsonAnswer, jsonBody, lineField, lookBody, reasonField, seenIn, sha256Field } from './fields.ts';
import { actor, type Resource } from './resource.ts';

/** The key ceremonies that change the authorities: proposed by one administrator, approved by another (I16). */

const icaField = z.string().regex(/^[a-z0-9][a-z0-9._-]{0,127}$/, 'not the id of an authority');
const curveField = z.enum(['P-256', 'P-384']);
const keyField = z.string().regex(signingKeyPattern, 'not the id of a signing key');
const wishSchema = z
  .discriminatedUnion('type', [
    z.strictObject({
      type: z.literal('establishIssuingCa'),
      use: z.enum(['device', 'programmer', 'gateway', 'server']),
      line: lineField.optional(),
      curve: curveField.optional().describe('of its key; default: as the newest root says'),
    }),
    z.strictObject({ type: z.literal('activateIssuingCa'), icaId: icaField }),
    z.strictObject({ type: z.literal('retireIssuingCa'), icaId: icaField }),
    z.strictObject({ type: z.literal('compromiseIssuingCa'), icaId: icaField, reason: reasonField }),
    z.strictObject({
      type: z.literal('establishPackageKey'),
      use: z.enum(signingUses).optional().describe('what it signs; default: a key for each use'),
    }),
    z.strictObject({ type: z.literal('compromisePackageKey'), keyId: keyField, reason: reasonField }),
    z.strictObject({
      type: z.literal('rollRoot'),
      curve: curveField.optional().describe('of its key; default: that of the newest root'),
      icaCurve: curveField.optional().describe('of the issuing CAs under it; default: its own'),
    }),
    z.strictObject({ type: z.literal('retireRoot'), rootId: icaField }),
  ])
  .openapi('CeremonyWish');
const ceremonySchema = z
  .object({
    id: z.string(),
    status: z.enum(['PROPOSED', 'APPROVED', 'DONE', 'WITHDRAWN']),
    action: z.record(z.string(), z.string()),
    proposedBy: z.string(),
    proposedAt: z.string(),
    contentSha256: sha256Field,
    approvedBy: z.string().optional(),
    approvedAt: z.string().optional(),
    doneAt: z.string().optional(),
    outcome: z.record(z.string(), z.string()).optional(),
  })
  .openapi('Ceremony');

export type CeremonyAnswer = z.infer<typeof ceremonySchema>;

const toAnswer = ({ action, outcome, approvedSha256: _, ...rest }: KnownCeremony) => ({
  ...rest,
  contentSha256: sha256Hex(ceremonyContent({ action, ...rest })),
  action: Object.fromEntries(Object.entries(action)) as Record<string, string>,
  ...(outcome && { outcome: { ...outcome } }),
});

export const ceremoniesResource: Resource = (api, { ctx, alarms }, auth) => {
  const administrator = auth.person('administrator');
  const params = z.object({ id: idField });
  const one = { 200: jsonAnswer(ceremonySchema, 'the ceremony') };

  const list = createRoute({
    method: 'get',
    path: '/v1/authority/ceremonies',
    summary: 'Key ceremonies, newest first',
    middleware: auth.person(),
    responses: { 200: jsonAnswer(z.object({ ceremonies: z.array(ceremonySchema) }), 'ceremonies') },
  });
  api.openapi(list, async c => c.json({ ceremonies: (await listCeremonies(ctx)).map(toAnswer) }, 200));

  const propose = createRoute({
    method: 'post',
    path: '/v1/authority/ceremonies',
    summary: 'Proposes a change of the authorities; another administrator approves it',
    middleware: administrator,
    request: jsonBody(wishSchema),
    responses: { 201: jsonAnswer(ceremonySchema, 'proposed') },
  });
  api.openapi(propose, async c => c.json(toAnswer(await proposeCeremony(ctx, c.req.valid('json') as CeremonyWish, actor(c))), 201));

  const approve = createRoute({
    method: 'post',
    path: '/v1/authority/ceremonies/{id}/approve',
    summary: 'Approves a ceremony and carries it out; again: finishes one that was cut off',
    middleware: administrator,
    request: { params, ...lookBody },
    responses: one,
  });
  api.openapi(approve, async c => {
    const { id } = c.req.valid('param');
    const proposal = proposalIn(ceremoniesStream(ctx.project), 'CeremonyProposed', id);
    const approver = earlierApprover(ctx, c.var.person.name, ['administrator'], proposal);
    return c.json(toAnswer(await approveCeremony(ctx, alarms, id, actor(c), { condition: approver, ...seenIn(c.req.valid('json')) })), 200);
  });

  const withdraw = createRoute({
    method: 'post',
    path: '/v1/authority/ceremonies/{id}/withdraw',
    summary: 'Withdraws a proposal',
    middleware: administrator,
    request: { params },
    responses: one,
  });
  api.openapi(withdraw, async c => c.json(toAnswer(await withdrawCeremony(ctx, c.req.valid('param').id, actor(c))), 200));

  const record = createRoute({
    method: 'get',
    path: '/v1/authority/ceremonies/{id}/record',
    summary: 'The record of a ceremony, to be printed and signed; `root` for that of the first root',
    middleware: auth.person(),
    request: { params: z.object({ id: z.union([idField, z.literal('root')]) }) },
    responses: { 200: { description: 'as text', content: { 'text/plain': { schema: z.string() } } } },
  });
  api.openapi(record, async c => c.text(await ceremonyRecord(ctx, c.req.valid('param').id)));
};
