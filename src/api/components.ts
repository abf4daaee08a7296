import { createRoute, z } from '@hono/zod-openapi';
import { NusecError } from '../errors.ts';
import { wantedComponent, whereIs } from '../services/firmware/components.ts';
import { vulnerabilityOf } from '../services/firmware/vulnerabilities.ts';
import { idField, jsonAnswer, lineField, pageAfter, uidField } from './fields.ts';
import type { Resource } from './resource.ts';

/** Where in the fleet a component is, by the bills of materials of the releases. */

export const affectedReleaseSchema = z.object({
  releaseId: idField,
  line: lineField,
  image: z.string(),
  version: z.string(),
  status: z.string(),
  components: z.array(z.object({ name: z.string(), version: z.string().optional(), purl: z.string().optional() })),
  devices: z.number(),
});
const whereSchema = z
  .object({
    releases: z.array(affectedReleaseSchema),
    lines: z.array(lineField),
    deviceCount: z.number().openapi({ description: 'devices in use that run one of the releases, by the image they last proved' }),
    releasesWithoutSbom: z.number().openapi({ description: 'releases of which nothing is known: they have no bill of materials' }),
    devices: z.array(
      z.object({ uid: uidField, line: lineField, status: z.string(), version: z.string().nullable(), releaseId: idField.nullable() }),
    ),
    next: z.string().optional(),
  })
  .openapi('Where');

export type WhereAnswer = z.infer<typeof whereSchema>;

const query = pageAfter(uidField).extend({
  component: z.string().min(1).max(500).optional().openapi({ example: 'openssl@3.0.1' }),
  vulnerability: z.string().min(1).max(120).optional().openapi({ example: 'CVE-2023-0286' }),
});

export const componentsResource: Resource = (api, { ctx }, auth) => {
  const where = createRoute({
    method: 'get',
    path: '/v1/fleet/where',
    summary: 'Releases, lines and devices that contain a component, or what a vulnerability affects',
    middleware: auth.personInScope(),
    request: { query },
    responses: { 200: jsonAnswer(whereSchema, 'where it is') },
  });
  api.openapi(where, async c => {
    const { component, vulnerability, cursor, limit } = c.req.valid('query');
    if ((component === undefined) === (vulnerability === undefined))
      throw new NusecError('BAD_REQUEST', 'name either a component or a vulnerability');
    const wanted = component === undefined ? (await vulnerabilityOf(ctx, vulnerability ?? '')).affected : [wantedComponent(component)];
    const found = await whereIs(ctx, wanted, { after: cursor, limit, scope: c.var.person.scope });
    const next = found.devices.length === limit ? found.devices.at(-1)?.uid : undefined;
    return c.json({ ...found, ...(next !== undefined && { next }) }, 200);
  });
};
