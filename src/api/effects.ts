import { createRoute, z } from '@hono/zod-openapi';
import { sha256Hex } from '../digest.ts';
import { type Allowance, allowanceContent, effects, effectsStream, maxAllowed } from '../domain/effects.ts';
import { NusecError } from '../errors.ts';
import { earlierApprover, proposalIn } from '../services/administration/approvals.ts';
import { approveAllowance, listAllowances, listOpenAllowances, proposeAllowance } from '../services/administration/effects.ts';
import { idField, jsonAnswer, jsonBody, lookBody, reasonField, seenIn, sha256Field } from './fields.ts';
import { actor, type Resource } from './resource.ts';

/** More than one person may do to devices alone within a day (I16). */

const effectField = z.enum(effects);
const allowanceSchema = z
  .object({
    id: z.string(),
    effect: effectField,
    count: z.number(),
    note: z.string(),
    proposedBy: z.string(),
    proposedAt: z.string(),
    contentSha256: sha256Field,
    approvedBy: z.string().optional(),
    approvedAt: z.string().optional(),
    used: z.number(),
  })
  .openapi('Allowance');
export type AllowanceAnswer = z.infer<typeof allowanceSchema>;
const withContent = <Known extends Allowance>(known: Known) => ({ ...known, contentSha256: sha256Hex(allowanceContent(known)) });
const params = z.object({ name: z.string().max(64) });
const path = '/v1/operators/{name}/allowances';

export const effectsResource: Resource = (api, { ctx }, auth) => {
  const officer = auth.person('securityOfficer');
  const propose = createRoute({
    method: 'post',
    path: '/v1/operators/me/allowances',
    summary: 'Asks for more than you may do alone within a day; another officer approves',
    middleware: auth.personInScope('securityOfficer'),
    request: jsonBody(z.strictObject({ effect: effectField, count: z.number().int().min(1).max(maxAllowed), note: reasonField })),
    responses: { 201: jsonAnswer(allowanceSchema, 'proposed') },
  });
  const list = createRoute({
    method: 'get',
    path,
    summary: 'Allowances of a person, newest first',
    middleware: auth.personInScope('securityOfficer', 'auditor'),
    request: { params },
    responses: { 200: jsonAnswer(z.object({ allowances: z.array(allowanceSchema).readonly() }), 'allowances') },
  });
  const open = createRoute({
    method: 'get',
    path: '/v1/allowances',
    summary: 'Allowances that wait for another officer',
    middleware: auth.person('securityOfficer', 'auditor'),
    responses: { 200: jsonAnswer(z.object({ allowances: z.array(allowanceSchema.extend({ name: z.string() })).readonly() }), 'open ones') },
  });
  const approve = createRoute({
    method: 'post',
    path: `${path}/{id}/approve`,
    summary: 'Allows it, for a day',
    middleware: officer,
    request: { params: params.extend({ id: idField }), ...lookBody },
    responses: { 200: jsonAnswer(allowanceSchema, 'approved') },
  });
  api.openapi(propose, async c => c.json(withContent(await proposeAllowance(ctx, c.var.person.name, c.req.valid('json'))), 201));
  api.openapi(list, async c => {
    const { name } = c.req.valid('param');
    if (c.var.person.scope !== undefined && name !== c.var.person.name)
      throw new NusecError('FORBIDDEN', 'with a scope you see only your own');
    return c.json({ allowances: (await listAllowances(ctx, name)).map(withContent) }, 200);
  });
  api.openapi(open, async c => c.json({ allowances: (await listOpenAllowances(ctx)).map(withContent) }, 200));
  api.openapi(approve, async c => {
    const { name, id } = c.req.valid('param');
    const proposal = proposalIn(effectsStream(name), 'EffectAllowanceProposed', id);
    const approver = earlierApprover(ctx, c.var.person.name, ['securityOfficer'], proposal);
    return c.json(
      withContent(await approveAllowance(ctx, name, id, actor(c), { condition: approver, ...seenIn(c.req.valid('json')) })),
      200,
    );
  });
};
