import { createRoute, z } from '@hono/zod-openapi';
import { sha256Hex } from '../digest.ts';
import { operatorChangeContent } from '../domain/operatorChanges.ts';
import type { KnownChange, OperatorChange } from '../domain/operatorsState.ts';
import { roles } from '../domain/roles.ts';
import { NusecError } from '../errors.ts';
import { type ChangeAnswer, changeOperator, type OperatorWish, rotateOwnToken } from '../services/administration/operatorChanges.ts';
import { listOperators } from '../services/administration/operators.ts';
import { requireOwnHands } from './auth.ts';
import { dryRunQuery } from './dryRun.ts';
import { idField, jsonAnswer, jsonBody, lineField, sha256Field, siteField } from './fields.ts';
import { actor, type Resource } from './resource.ts';

/** People and their tokens. What concerns those who may approve is only proposed here: operatorChanges.ts. */

export const nameField = z
  .string()
  .regex(/^[a-z][a-z0-9._-]{0,63}$/, 'a name is 1 to 64 of a–z, 0–9, . _ - and begins with a letter')
  .openapi({ example: 'alice' });
export const roleField = z.enum(roles);
export const rolesField = z.array(roleField).readonly();
const maxScopeEntries = 200;
export const scopeField = z
  .strictObject({
    lines: z.array(lineField).max(maxScopeEntries).readonly().optional(),
    jobs: z.array(idField).max(maxScopeEntries).readonly().optional(),
    sites: z.array(siteField).max(maxScopeEntries).readonly().optional(),
  })
  .openapi('Scope');
const operatorSchema = z
  .object({ name: nameField, roles: rolesField, scope: scopeField.optional(), expiresAt: z.string() })
  .openapi('Operator');
/** `token` only where one was made here; `proposal` where another administrator has to approve. */
export const changeSchema = z
  .object({
    id: z.string(),
    status: z.enum(['PROPOSED', 'DONE', 'WITHDRAWN']),
    change: z.object({
      type: z.enum(['add', 'setRoles', 'resetToken', 'endAuthenticator', 'remove']),
      name: nameField,
      roles: rolesField.optional(),
      scope: scopeField.optional(),
      tokenSha256: z.string().optional(),
      authenticatorId: z.string().optional(),
      identity: z.object({ issuer: z.string(), subject: z.string() }).optional(),
    }),
    proposedBy: z.string(),
    proposedAt: z.string(),
    contentSha256: sha256Field,
    notBefore: z.string().optional(),
    approvedBy: z.string().optional(),
  })
  .openapi('OperatorChange');
export type OperatorAnswer = z.infer<typeof operatorSchema>;
export type OperatorChangeAnswer = z.infer<typeof changeSchema>;
/** A change as people see it, with the hash of what an approval approves. */
export const changeView = (known: KnownChange) => ({ ...known, contentSha256: sha256Hex(operatorChangeContent(known)) });
const proposedSchema = z.object({ proposal: changeSchema });
const params = z.object({ name: nameField });
export const proposed = { 202: jsonAnswer(proposedSchema, 'proposed: another administrator approves it') };
const withToken = z.object({ name: nameField, token: z.string().optional() });

export const operatorsResource: Resource = (api, { ctx, alarms, openId }, auth) => {
  const parts = { ctx, alarms };
  const administrator = auth.person('administrator');
  const list = createRoute({
    method: 'get',
    path: '/v1/operators',
    summary: 'All operators',
    middleware: auth.person('auditor'),
    responses: { 200: jsonAnswer(z.object({ operators: z.array(operatorSchema).readonly() }), 'operators') },
  });
  const me = createRoute({
    method: 'get',
    path: '/v1/operators/me',
    summary: 'Who the token belongs to',
    middleware: auth.anybody(),
    responses: { 200: jsonAnswer(z.object({ name: nameField, roles: rolesField, scope: scopeField.optional() }), 'you') },
  });
  const ownToken = createRoute({
    method: 'post',
    path: '/v1/operators/me/token',
    summary: 'Another token for yourself: the present one and its sessions end',
    middleware: auth.anybody(),
    request: jsonBody(z.strictObject({ tokenSha256: sha256Field.optional() })),
    responses: { 200: jsonAnswer(withToken, 'the token, unless you have made it yourself') },
  });
  const add = createRoute({
    method: 'post',
    path: '/v1/operators',
    summary: 'Adds a person, or proposes it for one who may approve; a token that is made here is shown this once',
    middleware: administrator,
    request: jsonBody(
      z.strictObject({
        name: nameField,
        roles: z.array(roleField).min(1),
        scope: scopeField.optional(),
        tokenSha256: sha256Field.optional(),
        subject: z.string().min(1).max(255).optional(),
      }),
    ),
    responses: { 201: jsonAnswer(withToken, 'added'), ...proposed },
  });
  const setRoles = createRoute({
    method: 'put',
    path: '/v1/operators/{name}/roles',
    summary: 'Gives a person other roles, or proposes it; without a scope the person keeps the one it has, null drops it',
    middleware: administrator,
    request: { params, ...jsonBody(z.strictObject({ roles: z.array(roleField).min(1), scope: scopeField.nullable().optional() })) },
    responses: { 200: jsonAnswer(withToken, 'changed'), ...proposed },
  });
  const reset = createRoute({
    method: 'post',
    path: '/v1/operators/{name}/token',
    summary: 'Gives another person a new token, or proposes it',
    middleware: administrator,
    request: { params, ...jsonBody(z.strictObject({ tokenSha256: sha256Field.optional() })) },
    responses: { 200: jsonAnswer(withToken, 'changed'), ...proposed },
  });
  const remove = createRoute({
    method: 'delete',
    path: '/v1/operators/{name}',
    summary: 'Removes a person, or proposes it; the token stops working, and the name is never used again',
    middleware: administrator,
    request: { params, query: dryRunQuery },
    responses: { 204: { description: 'removed' }, ...proposed },
  });

  const change = (wish: OperatorWish, by: string): Promise<ChangeAnswer> => changeOperator(parts, wish, by);
  api.openapi(me, c => {
    const { name, roles: held, scope } = c.var.person;
    return c.json({ name, roles: held, ...(scope && { scope }) }, 200);
  });
  api.openapi(list, async c => c.json({ operators: await listOperators(ctx) }, 200));
  api.openapi(ownToken, async c => {
    requireOwnHands(c.var.person);
    const { name } = c.var.person;
    const token = await rotateOwnToken(parts, name, c.req.valid('json').tokenSha256, actor(c));
    return c.json({ name, ...(token !== undefined && { token }) }, 200);
  });
  api.openapi(add, async c => {
    requireOwnHands(c.var.person);
    const { subject, ...wish } = c.req.valid('json');
    if (subject !== undefined && openId === undefined) throw new NusecError('NOT_OFFERED', 'no OpenID provider is configured');
    const identity = subject === undefined ? {} : { identity: { issuer: openId?.issuer ?? '', subject } };
    const answer = await change({ type: 'add', ...wish, ...identity } as OperatorChange, actor(c));
    if ('proposal' in answer) return c.json({ proposal: changeView(answer.proposal) }, 202);
    return c.json({ name: wish.name, ...answer }, 201);
  });
  api.openapi(setRoles, async c => {
    requireOwnHands(c.var.person);
    const { name } = c.req.valid('param');
    const answer = await change({ type: 'setRoles', name, ...c.req.valid('json') } as OperatorWish, actor(c));
    if ('proposal' in answer) return c.json({ proposal: changeView(answer.proposal) }, 202);
    return c.json({ name }, 200);
  });
  api.openapi(reset, async c => {
    requireOwnHands(c.var.person);
    const { name } = c.req.valid('param');
    const answer = await change({ type: 'resetToken', name, ...c.req.valid('json') } as OperatorChange, actor(c));
    if ('proposal' in answer) return c.json({ proposal: changeView(answer.proposal) }, 202);
    return c.json({ name, ...answer }, 200);
  });
  api.openapi(remove, async c => {
    requireOwnHands(c.var.person);
    const answer = await change({ type: 'remove', name: c.req.valid('param').name }, actor(c));
    if ('proposal' in answer) return c.json({ proposal: changeView(answer.proposal) }, 202);
    return c.body(null, 204);
  });
};
