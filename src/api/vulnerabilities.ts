import { createRoute, z } from '@hono/zod-openapi';
import { reportSteps } from '../domain/vulnerability.ts';
import {
  closeVulnerability,
  listVulnerabilities,
  openVulnerability,
  reportVulnerability,
  showVulnerability,
} from '../services/firmware/vulnerabilities.ts';
import { affectedReleaseSchema } from './components.ts';
import { fileBody, fileIn, jsonAnswer, jsonBody, lineField, pageAfter, reasonField } from './fields.ts';
import { actor, type Resource } from './resource.ts';

/** Cases about vulnerabilities of components: what is affected, which reports are due, and when it is over. */

const caseField = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9.-]{0,119}$/, 'a case is named as its note: CVE-2023-0286');
const statusField = z.enum(['OPEN', 'CLOSED']);
const stepField = z.enum(reportSteps);
const time = z.iso.datetime();
const caseSchema = z
  .object({
    id: caseField,
    status: statusField,
    title: z.string(),
    format: z.string(),
    aliases: z.array(z.string()),
    noteSha256: z.string(),
    awareAt: z.string(),
    reports: z.array(
      z.object({
        step: z.string(),
        dueAt: z.string(),
        missed: z.boolean(),
        at: z.string().optional(),
        by: z.string().optional(),
        note: z.string().optional(),
      }),
    ),
    lines: z.array(lineField),
    releases: z.array(affectedReleaseSchema),
    devices: z.number(),
    unknownDevices: z.number().openapi({ description: 'devices of these lines whose firmware has no bill of materials' }),
    fix: z.object({ releaseId: z.string(), at: z.string() }).optional(),
    closedBecause: z.string().optional(),
  })
  .openapi('Vulnerability');
const rowSchema = z.object({ id: caseField, status: statusField, title: z.string(), openedAt: z.string() });
export type VulnerabilityAnswer = z.infer<typeof caseSchema>;
export type VulnerabilityRowAnswer = z.infer<typeof rowSchema>;

export const vulnerabilitiesResource: Resource = (api, { ctx }, auth) => {
  const officer = auth.person('securityOfficer', 'releaseManager');
  const params = z.object({ id: caseField });
  const answer = { 200: jsonAnswer(caseSchema, 'the case') };
  const open = createRoute({
    method: 'post',
    path: '/v1/vulnerabilities',
    summary: 'Opens a case from a vulnerability note (CSAF 2.0 or OSV, JSON)',
    middleware: officer,
    request: { query: z.strictObject({ awareAt: time.optional() }), ...fileBody },
    responses: { 201: jsonAnswer(caseSchema, 'the case') },
  });
  api.openapi(open, async c => {
    const id = await openVulnerability(ctx, await fileIn(c.req), actor(c), c.req.valid('query').awareAt);
    return c.json(await showVulnerability(ctx, id), 201);
  });
  const list = createRoute({
    method: 'get',
    path: '/v1/vulnerabilities',
    summary: 'Cases, by page',
    middleware: auth.person('securityOfficer', 'releaseManager', 'auditor'),
    request: { query: pageAfter(caseField).extend({ status: statusField.optional() }) },
    responses: { 200: jsonAnswer(z.object({ vulnerabilities: z.array(rowSchema), next: z.string().optional() }), 'cases') },
  });
  api.openapi(list, async c => {
    const { cursor, limit, status } = c.req.valid('query');
    const rows = await listVulnerabilities(ctx, { after: cursor, limit, status });
    const vulnerabilities = rows.map(row => ({ id: row.id, status: row.status, title: row.title, openedAt: row.opened_at }));
    return c.json({ vulnerabilities, ...(rows.length === limit && { next: rows.at(-1)?.id ?? '' }) }, 200);
  });
  const one = createRoute({
    method: 'get',
    path: '/v1/vulnerabilities/{id}',
    summary: 'One case with its clock and what is affected now',
    middleware: auth.person('securityOfficer', 'releaseManager', 'auditor'),
    request: { params },
    responses: answer,
  });
  api.openapi(one, async c => c.json(await showVulnerability(ctx, c.req.valid('param').id), 200));
  const report = createRoute({
    method: 'post',
    path: '/v1/vulnerabilities/{id}/report',
    summary: 'Records that a report was made to the authorities',
    middleware: officer,
    request: { params, ...jsonBody(z.strictObject({ step: stepField, note: reasonField })) },
    responses: answer,
  });
  api.openapi(report, async c => {
    const { id } = c.req.valid('param');
    const { step, note } = c.req.valid('json');
    await reportVulnerability(ctx, id, step, note, actor(c));
    return c.json(await showVulnerability(ctx, id), 200);
  });
  const close = createRoute({
    method: 'post',
    path: '/v1/vulnerabilities/{id}/close',
    summary: 'Closes a case that does not concern the product',
    middleware: officer,
    request: { params, ...jsonBody(z.strictObject({ reason: reasonField })) },
    responses: answer,
  });
  api.openapi(close, async c => {
    const { id } = c.req.valid('param');
    await closeVulnerability(ctx, id, c.req.valid('json').reason, actor(c));
    return c.json(await showVulnerability(ctx, id), 200);
  });
};
