import { createRoute, z } from '@hono/zod-openapi';
import type { KnownSeries } from '../domain/series.ts';
import { seriesKinds } from '../domain/seriesValues.ts';
import { addList, addRange, allSeries, createSeries } from '../services/production/series.ts';
import { countField, jsonAnswer, jsonBody, pageAfter } from './fields.ts';
import { actor, type Resource } from './resource.ts';

/** Series of values that each unit gets for itself: serial numbers, MAC addresses, labels, calibration data. */

export const seriesNameField = z
  .string()
  .regex(/^[a-z][a-z0-9.-]{0,39}$/, 'a series is 1 to 40 of a–z, 0–9, . and -, and begins with a letter')
  .openapi({ example: 'meter-serial' });
const segmentSchema = z.object({ count: z.number(), from: z.string().optional(), listSha256: z.string().optional() });
const seriesSchema = z
  .object({ name: z.string(), kind: z.enum(seriesKinds), count: z.number(), taken: z.number(), segments: z.array(segmentSchema) })
  .openapi('Series');
export type SeriesAnswer = z.infer<typeof seriesSchema>;
const params = z.object({ name: seriesNameField.describe('Name of the series') });
const maxFirstChars = 64;

export const seriesResource: Resource = (api, { ctx }, auth) => {
  const planner = auth.person('productionPlanner');
  const answer = { 200: jsonAnswer(seriesSchema, 'the series') };
  const create = createRoute({
    method: 'post',
    path: '/v1/series',
    summary: 'Begins a series of values of which each unit gets one; it has none yet',
    middleware: planner,
    request: jsonBody(z.strictObject({ name: seriesNameField, kind: z.enum(seriesKinds) })),
    responses: { 201: jsonAnswer(seriesSchema, 'the series') },
  });
  const list = createRoute({
    method: 'get',
    path: '/v1/series',
    summary: 'Series by name, with how many values they have and how many are taken',
    middleware: auth.person('productionPlanner', 'auditor'),
    request: { query: pageAfter(seriesNameField) },
    responses: { 200: jsonAnswer(z.object({ series: z.array(seriesSchema), next: z.string().optional() }), 'series') },
  });
  const range = createRoute({
    method: 'post',
    path: '/v1/series/{name}/range',
    summary: 'Adds a range: its first value, and how many there are',
    middleware: planner,
    request: { params, ...jsonBody(z.strictObject({ from: z.string().min(1).max(maxFirstChars), count: countField.min(1) })) },
    responses: answer,
  });
  const values = createRoute({
    method: 'put',
    path: '/v1/series/{name}/list',
    summary: 'Adds a list: one value per line, calibration data in hex, up to 100 000',
    middleware: planner,
    request: { params, body: { required: true, content: { 'text/plain': { schema: z.string() } } } },
    responses: answer,
  });
  api.openapi(create, async c => {
    const { name, kind } = c.req.valid('json');
    return c.json(seriesView(await createSeries(ctx, name, kind, actor(c))), 201);
  });
  api.openapi(list, async c => {
    const { cursor = '', limit } = c.req.valid('query');
    const later = (await allSeries(ctx)).filter(({ name }) => name > cursor);
    const page = later.slice(0, limit);
    return c.json({ series: page.map(seriesView), ...(later.length > limit && { next: page.at(-1)?.name ?? '' }) }, 200);
  });
  api.openapi(range, async c => c.json(seriesView(await addRange(ctx, c.req.valid('param').name, c.req.valid('json'), actor(c))), 200));
  api.openapi(values, async c => c.json(seriesView(await addList(ctx, c.req.valid('param').name, await c.req.text(), actor(c))), 200));
};

const seriesView = ({ name, kind, count, taken, segments }: KnownSeries) => ({
  ...{ name, kind, count, taken },
  segments: segments.map(segment =>
    'from' in segment ? { count: segment.count, from: segment.from } : { count: segment.count, listSha256: segment.listSha256 },
  ),
});
