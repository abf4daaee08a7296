import { createRoute, z } from '@hono/zod-openapi';
import { roles } from '../domain/operators.ts';
import { addOperator, listOperators, removeOperator } from '../services/administration/operators.ts';
import { actor, type Resource } from './app.ts';

/** People and their tokens. */

const nameSchema = z
  .string()
  .regex(/^[a-z][a-z0-9._-]{0,63}$/, 'a name is 1 to 64 of a–z, 0–9, . _ - and begins with a letter')
  .openapi({ example: 'alice' });
const roleSchema = z.enum(roles);
const operatorSchema = z.object({ name: nameSchema, roles: z.array(roleSchema), expiresAt: z.string() }).openapi('Operator');

const list = createRoute({
  method: 'get',
  path: '/v1/operators',
  summary: 'All operators',
  responses: {
    200: { description: 'operators', content: { 'application/json': { schema: z.object({ operators: z.array(operatorSchema) }) } } },
  },
});
const add = createRoute({
  method: 'post',
  path: '/v1/operators',
  summary: 'Adds a person; the token is shown this once',
  request: {
    body: {
      required: true,
      content: { 'application/json': { schema: z.strictObject({ name: nameSchema, roles: z.array(roleSchema).min(1) }) } },
    },
  },
  responses: {
    201: { description: 'added', content: { 'application/json': { schema: z.object({ name: nameSchema, token: z.string() }) } } },
  },
});
const remove = createRoute({
  method: 'delete',
  path: '/v1/operators/{name}',
  summary: 'Removes a person; the token stops working',
  request: { params: z.object({ name: nameSchema }) },
  responses: { 204: { description: 'removed' } },
});
const me = createRoute({
  method: 'get',
  path: '/v1/operators/me',
  summary: 'Who the token belongs to',
  responses: {
    200: { description: 'you', content: { 'application/json': { schema: z.object({ name: nameSchema, roles: z.array(roleSchema) }) } } },
  },
});

export const operatorsResource: Resource = (api, { ctx }, auth) => {
  api.get('/v1/operators/me', auth.person());
  api.use('/v1/operators', auth.person('administrator'));
  api.delete('/v1/operators/:name', auth.person('administrator'));
  api.openapi(me, c => c.json({ name: c.var.person.name, roles: [...c.var.person.roles] }, 200));
  api.openapi(list, async c =>
    c.json({ operators: (await listOperators(ctx)).map(operator => ({ ...operator, roles: [...operator.roles] })) }, 200),
  );
  api.openapi(add, async c => {
    const { name, roles: wanted } = c.req.valid('json');
    return c.json({ name, token: await addOperator(ctx, name, wanted, actor(c)) }, 201);
  });
  api.openapi(remove, async c => {
    await removeOperator(ctx, c.req.valid('param').name, actor(c));
    return c.body(null, 204);
  });
};
