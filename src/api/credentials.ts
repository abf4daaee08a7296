import { createRoute, z } from '@hono/zod-openapi';
import { maxTokenDays } from '../domain/operatorCredentials.ts';
import { authenticatorsNow } from '../services/administration/authenticators.ts';
import { changeOperator } from '../services/administration/operatorChanges.ts';
import { addNamedToken, endCredential, listCredentials, type TokenWish } from '../services/administration/operatorCredentials.ts';
import { requireOwnHands } from './auth.ts';
import { dryRunQuery } from './dryRun.ts';
import { jsonAnswer, jsonBody, sha256Field } from './fields.ts';
import { changeView, nameField, proposed, roleField, rolesField, scopeField } from './operators.ts';
import { actor, type Resource } from './resource.ts';

/** What a person signs in with: one's own, and what administrators see and end of others. */

const credentialSchema = z
  .object({
    id: z.string(),
    kind: z.enum(['token', 'identity', 'authenticator']),
    label: z.string(),
    expiresAt: z.string().optional(),
    roles: rolesField.optional(),
    scope: scopeField.optional(),
    lastUsedAt: z.string().optional(),
  })
  .openapi('Credential');
export type CredentialAnswer = z.infer<typeof credentialSchema>;
const credentialsSchema = z.object({ credentials: z.array(credentialSchema).readonly() });
const defaultDays = 90;
const wishField = z.strictObject({
  label: z.string().min(1).max(60).openapi({ example: 'build server' }),
  days: z.number().int().min(1).max(maxTokenDays).default(defaultDays),
  roles: z.array(roleField).min(1).optional(),
  scope: scopeField.optional(),
  tokenSha256: sha256Field.optional(),
});
const params = z.object({ id: z.string().regex(/^([0-9a-f]{32}|main)$/, 'an id is 32 lower-case hex digits') });

export const credentialsResource: Resource = (api, { ctx, alarms, tokenUse }, auth) => {
  const parts = { ctx, alarms };
  const own = createRoute({
    method: 'get',
    path: '/v1/operators/me/credentials',
    summary: 'What you sign in with, and when it was used last',
    middleware: auth.anybody(),
    responses: { 200: jsonAnswer(credentialsSchema, 'credentials') },
  });
  const add = createRoute({
    method: 'post',
    path: '/v1/operators/me/tokens',
    summary: 'One more token for yourself, by name; it may do less than you',
    middleware: auth.anybody(),
    request: jsonBody(wishField),
    responses: {
      201: jsonAnswer(z.object({ id: z.string(), token: z.string().optional() }), 'the token, unless you have made it yourself'),
    },
  });
  const endOwn = createRoute({
    method: 'delete',
    path: '/v1/operators/me/credentials/{id}',
    summary: 'Ends one of your named tokens; an authenticator of somebody who approves is ended by two administrators',
    middleware: auth.anybody(),
    request: { params, query: dryRunQuery },
    responses: { 204: { description: 'ended' }, ...proposed },
  });
  const others = createRoute({
    method: 'get',
    path: '/v1/operators/{name}/credentials',
    summary: 'What a person signs in with, and when it was used last',
    middleware: auth.person('auditor'),
    request: { params: z.object({ name: nameField }) },
    responses: { 200: jsonAnswer(credentialsSchema, 'credentials') },
  });
  const endOther = createRoute({
    method: 'delete',
    path: '/v1/operators/{name}/credentials/{id}',
    summary:
      'Ends a named token of another person; one administrator is enough, as it only takes away. An authenticator of somebody who approves is ended by two',
    middleware: auth.person('administrator'),
    request: { params: params.extend({ name: nameField }), query: dryRunQuery },
    responses: { 204: { description: 'ended' }, ...proposed },
  });
  /** @returns what another administrator has to approve */
  const end = async (name: string, id: string, by: string) => {
    const isAuthenticator = (await authenticatorsNow(ctx, name)).some(known => known.id === id);
    if (!isAuthenticator) return void (await endCredential(parts, name, id, by));
    const answer = await changeOperator(parts, { type: 'endAuthenticator', name, authenticatorId: id }, by);
    return 'proposal' in answer ? changeView(answer.proposal) : undefined;
  };
  api.openapi(own, async c => c.json({ credentials: await listCredentials(ctx, tokenUse, c.var.person.name) }, 200));
  api.openapi(add, async c => {
    requireOwnHands(c.var.person);
    return c.json(await addNamedToken(parts, c.var.person.name, c.req.valid('json') as TokenWish, actor(c)), 201);
  });
  api.openapi(endOwn, async c => {
    requireOwnHands(c.var.person);
    const proposal = await end(c.var.person.name, c.req.valid('param').id, actor(c));
    return proposal === undefined ? c.body(null, 204) : c.json({ proposal }, 202);
  });
  api.openapi(others, async c => c.json({ credentials: await listCredentials(ctx, tokenUse, c.req.valid('param').name) }, 200));
  api.openapi(endOther, async c => {
    requireOwnHands(c.var.person);
    const { name, id } = c.req.valid('param');
    const proposal = await end(name, id, actor(c));
    return proposal === undefined ? c.body(null, 204) : c.json({ proposal }, 202);
  });
};
