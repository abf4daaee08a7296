import { createRoute, z } from '@hono/zod-openapi';
import { sha256Hex } from '../digest.ts';
import type { UploadedRelease } from '../domain/release.ts';
import { releaseContent, releaseStream } from '../domain/release.ts';
import { beginningOf, earlierApprover } from '../services/administration/approvals.ts';
import { attachSbom, sbomOf } from '../services/firmware/components.ts';
import { analyseRelease } from '../services/firmware/releaseAnalysis.ts';
import { approveRelease, listReleases, publishRelease, releaseOf, uploadRelease, withdrawRelease } from '../services/firmware/releases.ts';
import { dryRunQuery } from './dryRun.ts';
import {
  bytesAnswer,
  bytesBody,
  fileBody,
  fileIn,
  idField,
  jsonAnswer,
  jsonBody,
  lineField,
  lookBody,
  pageAfter,
  reasonField,
  seenIn,
  sha256Field,
  versionField,
  wholeNumber,
} from './fields.ts';
import { actor, type Resource } from './resource.ts';
import { requirePlace, within } from './scopes.ts';

/** Firmware releases: uploaded by one person, approved by another, published, some day withdrawn. */

const imageField = z.enum(['bl2', 'app']);
const releaseSchema = z
  .object({
    releaseId: z.string(),
    line: z.string(),
    image: imageField,
    version: z.string(),
    securityCounter: z.number(),
    imageHash: z.string(),
    bodySha256: z.string(),
    size: z.number(),
    status: z.string(),
    uploadedBy: z.string(),
    contributors: z.array(z.string()),
    contentSha256: sha256Field,
    approvedBy: z.string().optional(),
    counterJump: z.boolean().optional(),
    encrypted: z
      .object({
        bits: z.number(),
        imageHash: z.string(),
        bodySha256: z.string(),
        size: z.number(),
        contentKeyId: z.string(),
        uidBound: z.boolean(),
      })
      .optional()
      .openapi({ description: 'the encrypted variant, which devices of the line get' }),
    sbomSha256: sha256Field.optional(),
    sbomFormat: z.string().optional(),
    upload: z
      .object({ kept: z.boolean(), added: z.array(z.string()), dropped: z.array(z.string()), replaced: z.array(z.string()) })
      .optional()
      .openapi({
        description:
          'answer to an upload: whether its bytes were kept, which protected TLVs were added or dropped, and what it said that the request has replaced: version, security counter …',
      }),
  })
  .openapi('Release');
const analysisSchema = z
  .object({
    headerBytes: z.number(),
    payloadBytes: z.number(),
    loadAddress: z.number(),
    flags: z.number(),
    protectedTlvs: z.array(z.object({ type: z.string(), value: z.string().openapi({ description: 'hex' }) })),
    dependencies: z.array(z.object({ imageId: z.number(), minVersion: z.string() })),
    vectors: z
      .object({ stackPointer: z.number(), resetHandler: z.number() })
      .optional()
      .openapi({ description: 'where a program of a Cortex-M begins; left out for what is none' }),
  })
  .openapi('ReleaseAnalysis');
export type ReleaseAnalysisAnswer = z.infer<typeof analysisSchema>;
const uploadQuery = z.strictObject({
  line: lineField,
  image: imageField,
  version: versionField.optional(),
  counter: wholeNumber(0, 0xffff_ffff).optional(),
  drop: z.stringbool().optional(),
  counterJump: z.stringbool().optional(),
});
const rowSchema = releaseSchema.pick({
  releaseId: true,
  line: true,
  image: true,
  version: true,
  securityCounter: true,
  imageHash: true,
  status: true,
});
export type ReleaseAnswer = z.infer<typeof releaseSchema>;
export type ReleaseRowAnswer = z.infer<typeof rowSchema>;
const params = z.object({ id: idField });

export const releasesResource: Resource = (api, { ctx, alarms }, auth) => {
  const uploader = auth.personInScope('releaseManager');
  const inScope = within(ctx, 'release', 'id');
  const manager = auth.personWithin(inScope, 'releaseManager');
  const answer = { 200: jsonAnswer(releaseSchema, 'the release') };
  const upload = createRoute({
    method: 'post',
    path: '/v1/releases',
    summary: 'Uploads firmware, raw or as an MCUboot image',
    middleware: uploader,
    request: { query: uploadQuery, ...bytesBody },
    responses: { 201: jsonAnswer(releaseSchema, 'the release') },
  });
  const list = createRoute({
    method: 'get',
    path: '/v1/releases',
    summary: 'Releases, by page',
    middleware: auth.personInScope(),
    request: { query: pageAfter(idField).extend({ line: lineField.optional() }) },
    responses: { 200: jsonAnswer(z.object({ releases: z.array(rowSchema), next: z.string().optional() }), 'releases') },
  });
  const one = createRoute({
    method: 'get',
    path: '/v1/releases/{id}',
    summary: 'One release',
    middleware: auth.personWithin(inScope),
    request: { params },
    responses: answer,
  });
  const analysis = createRoute({
    method: 'get',
    path: '/v1/releases/{id}/analysis',
    summary: 'What the stored image of a release says of itself',
    middleware: auth.personWithin(inScope),
    request: { params },
    responses: { 200: jsonAnswer(analysisSchema, 'the analysis') },
  });
  const step = <Name extends string>(name: Name, summary: string) =>
    createRoute({
      method: 'post',
      path: `/v1/releases/{id}/${name}`,
      summary,
      middleware: manager,
      request: { params },
      responses: answer,
    });
  const withdraw = createRoute({
    method: 'post',
    path: '/v1/releases/{id}/withdraw',
    summary: 'Withdraws a release for ever',
    middleware: manager,
    request: { params, query: dryRunQuery, ...jsonBody(z.strictObject({ reason: reasonField })) },
    responses: answer,
  });
  api.openapi(upload, async c => {
    requirePlace(c.var.person.scope, { line: c.req.valid('query').line });
    const bytes = new Uint8Array(await c.req.arrayBuffer());
    return c.json(releaseView(await uploadRelease(ctx, c.req.valid('query'), bytes, actor(c))), 201);
  });
  api.openapi(list, async c => {
    const { cursor, limit, line } = c.req.valid('query');
    const rows = await listReleases(ctx, { line, after: cursor, limit, scope: c.var.person.scope });
    const releases = rows.map(row => ({
      releaseId: row.release_id,
      line: row.line,
      image: row.image,
      version: row.version,
      securityCounter: row.security_counter,
      imageHash: row.image_hash,
      status: row.status,
    }));
    return c.json({ releases, ...nextPage(rows.length === limit ? rows.at(-1)?.release_id : undefined) }, 200);
  });
  api.openapi(analysis, async c => {
    const { protectedTlvs, dependencies, ...facts } = await analyseRelease({ ctx, alarms }, c.req.valid('param').id);
    return c.json({ ...facts, protectedTlvs: [...protectedTlvs], dependencies: [...dependencies] }, 200);
  });
  api.openapi(one, async c => c.json(releaseView(await releaseOf(ctx, c.req.valid('param').id)), 200));
  const approve = createRoute({
    method: 'post',
    path: '/v1/releases/{id}/approve',
    summary: 'Approves a release: nobody who had a part in it',
    middleware: manager,
    request: { params, ...lookBody },
    responses: answer,
  });
  api.openapi(approve, async c => {
    const { id } = c.req.valid('param');
    const approver = earlierApprover(ctx, c.var.person.name, ['releaseManager'], beginningOf(releaseStream(id)));
    return c.json(releaseView(await approveRelease(ctx, id, actor(c), { condition: approver, ...seenIn(c.req.valid('json')) })), 200);
  });
  api.openapi(step('publish', 'Publishes an approved release'), async c =>
    c.json(releaseView(await publishRelease(ctx, c.req.valid('param').id, actor(c))), 200),
  );
  const attach = createRoute({
    method: 'put',
    path: '/v1/releases/{id}/sbom',
    summary: 'Attaches a bill of materials (CycloneDX or SPDX 2.3, JSON)',
    middleware: manager,
    request: { params, ...fileBody },
    responses: answer,
  });
  api.openapi(attach, async c => c.json(releaseView(await attachSbom(ctx, c.req.valid('param').id, await fileIn(c.req), actor(c))), 200));
  const sbom = createRoute({
    method: 'get',
    path: '/v1/releases/{id}/sbom',
    summary: 'The bill of materials as it was attached',
    middleware: auth.personWithin(inScope),
    request: { params },
    responses: { 200: bytesAnswer('the file', 'application/json') },
  });
  api.openapi(sbom, async c =>
    c.body(new Uint8Array(await sbomOf(ctx, c.req.valid('param').id)), 200, { 'Content-Type': 'application/json' }),
  );
  api.openapi(withdraw, async c =>
    c.json(releaseView(await withdrawRelease(ctx, c.req.valid('param').id, c.req.valid('json').reason, actor(c))), 200),
  );
};

const nextPage = (next: string | undefined) => (next === undefined ? {} : { next });

function releaseView<Release extends UploadedRelease>(state: Release) {
  const { vendorUuid: _, classUuid: __, approvedSha256: ___, contributors, ...release } = state;
  return { ...release, contributors: [...contributors], contentSha256: sha256Hex(releaseContent(state)) };
}
