import { createRoute, z } from '@hono/zod-openapi';
import type { DefinedLine } from '../domain/line.ts';
import { isInScope } from '../domain/roles.ts';
import { defineLine, lineOf, listLines } from '../services/firmware/lines.ts';
import { actor, type Resource } from './app.ts';
import { countField, jsonAnswer, jsonBody, lineField } from './fields.ts';
import { within } from './scopes.ts';

/** Product lines. */

const lineSchema = z
  .object({
    line: lineField,
    vendorUuid: z.string(),
    classUuid: z.string(),
    counterMaximum: z.number(),
    rollbackFloor: z.number(),
    oem: z.string(),
    supportUntil: z.string().optional(),
    attestationDays: z.number().optional(),
  })
  .openapi('Line');
const wishSchema = z.strictObject({
  line: lineField,
  counterMaximum: countField.optional(),
  rollbackFloor: countField.optional(),
  /** How many days attestations are kept with their evidence. */
  attestationDays: countField.optional(),
});

export const linesResource: Resource = (api, { ctx }, auth) => {
  const define = createRoute({
    method: 'post',
    path: '/v1/lines',
    summary: 'Defines a product line and its device-issuing CA',
    middleware: auth.person('releaseManager'),
    request: jsonBody(wishSchema),
    responses: { 201: jsonAnswer(lineSchema, 'the line') },
  });
  const list = createRoute({
    method: 'get',
    path: '/v1/lines',
    summary: 'All product lines',
    middleware: auth.personInScope(),
    responses: { 200: jsonAnswer(z.object({ lines: z.array(lineSchema) }), 'lines') },
  });
  const one = createRoute({
    method: 'get',
    path: '/v1/lines/{line}',
    summary: 'One product line',
    middleware: auth.personWithin(within(ctx, 'line', 'line')),
    request: { params: z.object({ line: lineField }) },
    responses: { 200: jsonAnswer(lineSchema, 'the line') },
  });
  api.openapi(define, async c => c.json(lineView(await defineLine(ctx, c.req.valid('json'), actor(c))), 201));
  api.openapi(list, async c => {
    const { scope = {} } = c.var.person;
    const lines = (await listLines(ctx)).filter(({ line }) => isInScope(scope, { line }));
    return c.json({ lines: lines.map(lineView) }, 200);
  });
  api.openapi(one, async c => c.json(lineView(await lineOf(ctx, c.req.valid('param').line)), 200));
};

function lineView({ status: _, ...line }: DefinedLine) {
  return line;
}
