import { createRoute, z } from '@hono/zod-openapi';
import { certificateKinds } from '../domain/storeEvents.ts';
import { NusecError } from '../errors.ts';
import { type CertificateRow, certificateQueries } from '../projections/certificates.ts';
import type { Context } from '../services/base/context.ts';
import { jsonAnswer, maxPageRows, pageAfter, wholeNumber } from './fields.ts';
import type { Resource } from './resource.ts';

/** Certificates issued, expired and revoked (R86, RULE-16). */

const certificateSchema = z
  .object({
    serial: z.string(),
    kind: z.string(),
    subject: z.string(),
    icaId: z.string(),
    sha256: z.string(),
    issuedAt: z.string(),
    notAfter: z.string(),
    status: z.enum(['issued', 'expired', 'revoked']),
    reason: z.string().nullable(),
    revokedAt: z.string().nullable(),
  })
  .openapi('Certificate');

export type CertificateAnswer = z.infer<typeof certificateSchema>;

const toAnswer = (row: CertificateRow) => ({
  serial: row.serial,
  kind: row.kind,
  subject: row.subject,
  icaId: row.ica_id,
  sha256: row.sha256,
  issuedAt: row.issued_at,
  notAfter: row.not_after,
  status: row.reason !== null ? ('revoked' as const) : row.expired === 1 ? ('expired' as const) : ('issued' as const),
  reason: row.reason,
  revokedAt: row.revoked_at,
});

const queriesOf = async (ctx: Context, ...more: readonly string[]) => {
  await ctx.reads.waitFor(await ctx.store.head(), { projections: ['certificates', ...more] });
  return certificateQueries(ctx.reads.db);
};

const serialField = z.string().regex(/^[0-9a-f]{2,64}$/, 'a serial number is hex');

export const certificatesResource: Resource = (api, { ctx }, auth) => {
  const list = createRoute({
    method: 'get',
    path: '/v1/certificates',
    summary: 'The certificate inventory, by serial; with a scope those of its devices',
    middleware: auth.personInScope(),
    request: {
      query: pageAfter(serialField).extend({
        status: z.enum(['issued', 'expired', 'revoked']).optional(),
        kind: z.enum(certificateKinds).optional(),
        subject: z.string().max(64).optional(),
        endsBefore: z
          .union([z.iso.date(), z.iso.datetime()], { error: 'a day or a time, such as 2027-01-31 or 2027-01-31T12:00:00Z' })
          .optional()
          .openapi({ description: 'ends before this day or time, UTC' }),
      }),
    },
    responses: { 200: jsonAnswer(z.object({ certificates: z.array(certificateSchema), next: z.string().optional() }), 'certificates') },
  });
  api.openapi(list, async c => {
    const { status, kind, subject, endsBefore, cursor, limit } = c.req.valid('query');
    const { scope } = c.var.person;
    const queries = scope === undefined ? await queriesOf(ctx) : await queriesOf(ctx, 'devices', 'jobs');
    const rows = await queries.page({
      scope,
      status: status === 'issued' ? 'good' : status,
      kind,
      endsBefore,
      limit,
      ...(subject !== undefined && { subject }),
      ...(cursor !== undefined && { after: cursor }),
    });
    const next = rows.length === limit ? { next: rows.at(-1)?.serial ?? '' } : {};
    return c.json({ certificates: rows.map(toAnswer), ...next }, 200);
  });

  const revocations = createRoute({
    method: 'get',
    path: '/v1/revocations',
    summary:
      'What was revoked, put on hold or taken off it since a position; `revoked` says whether a certificate is (still) revoked or on hold',
    middleware: auth.person(),
    request: {
      query: z.strictObject({
        since: wholeNumber(0).default(0),
        limit: wholeNumber(1, maxPageRows).default(maxPageRows),
      }),
    },
    responses: {
      200: jsonAnswer(
        z.object({
          revocations: z.array(z.object({ serial: z.string(), revoked: z.boolean(), reason: z.string().nullable(), position: z.number() })),
          next: z.number(),
        }),
        'changes, oldest first; ask again with since = next',
      ),
    },
  });
  api.openapi(revocations, async c => {
    const { since, limit } = c.req.valid('query');
    const head = await ctx.store.head();
    if (since > head) throw new NusecError('CONFLICT', `the log ends at ${head}: an older store was put back since; read again from 0`);
    const rows = await (await queriesOf(ctx)).changedSince(since, limit);
    const changes = rows.map(({ serial, reason, position }) => ({ serial, revoked: reason !== null, reason, position }));
    return c.json({ revocations: changes, next: rows.at(-1)?.position ?? since }, 200);
  });
};
