import { createRoute, z } from '@hono/zod-openapi';
import { issuingCaStatuses } from '../domain/authorityEvents.ts';
import { signingUses } from '../domain/signingUse.ts';
import { overviewOf } from '../services/administration/caGenerations.ts';
import { authorityOf } from '../services/authority/authority.ts';
import { countDevicesBehind } from '../services/field/devices.ts';
import { jsonAnswer } from './fields.ts';
import type { Resource } from './resource.ts';

/** The authorities of the project; ceremonies.ts changes them. */

const certificateSchema = z.object({
  sha256: z.string(),
  serial: z.string(),
  subject: z.string(),
  notAfter: z.string(),
  keyId: z.string(),
  curve: z.string(),
});
const overviewSchema = z
  .object({
    project: z.string(),
    roots: z.array(certificateSchema.extend({ icaCurve: z.string(), rootId: z.string(), retired: z.boolean() })),
    issuingCas: z.array(
      certificateSchema.extend({
        icaId: z.string(),
        use: z.string(),
        line: z.string().nullable(),
        generation: z.number(),
        status: z.enum(issuingCaStatuses),
        rootId: z.string(),
        crl: z.object({ number: z.number(), nextUpdate: z.string(), lists: z.number() }).nullable(),
      }),
    ),
    packageKeys: z.array(
      z.object({ keyId: z.string(), uses: z.array(z.enum(signingUses)), publicKeySha256: z.string(), compromised: z.boolean() }),
    ),
    trustBundle: z.object({ version: z.number(), sha256: z.string(), devicesBehind: z.number() }),
  })
  .openapi('Authority');

export type AuthorityAnswer = z.infer<typeof overviewSchema>;

export const authorityResource: Resource = (api, { ctx }, auth) => {
  const overview = createRoute({
    method: 'get',
    path: '/v1/authority',
    summary: 'Roots, issuing CAs with their generations, signing keys, trust bundle',
    middleware: auth.person(),
    responses: { 200: jsonAnswer(overviewSchema, 'authorities') },
  });
  api.openapi(overview, async c => c.json(overviewOf(await authorityOf(ctx), await countDevicesBehind(ctx)), 200));
};
