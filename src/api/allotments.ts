import { createRoute, z } from '@hono/zod-openapi';
import { sha256Hex } from '../digest.ts';
import { allotmentStream, thawContent } from '../domain/allotment.ts';
import type { ThawProposal } from '../domain/allotmentState.ts';
import { NusecError } from '../errors.ts';
import { earlierApprover, proposalIn } from '../services/administration/approvals.ts';
import { allot, approveThaw, proposeThaw, thawProposal, waitingThaws } from '../services/production/allotments.ts';
import { thawShare } from '../services/production/clonedKey.ts';
import { jobOf } from '../services/production/jobs.ts';
import { exportPackage } from '../services/production/packages.ts';
import { bytesAnswer, countField, idField, jsonAnswer, jsonBody, lookBody, reasonField, seenIn, sha256Field, uidField } from './fields.ts';
import { isPlanner } from './jobs.ts';
import { jobSchema, jobView } from './jobViews.ts';
import { actor, type Resource } from './resource.ts';
import { requireInScope, within } from './scopes.ts';

/** Allotments: a programmer's share of a job and its production package (R57–R61). */

const params = z.object({ id: idField });
const shareParams = params.extend({ programmer: uidField });
const proposalSchema = z
  .object({ id: z.string(), frozenReason: z.string(), reason: z.string(), by: z.string(), contentSha256: sha256Field })
  .openapi('ThawProposal');
export type ThawProposalAnswer = z.infer<typeof proposalSchema>;
const shown = ({ isOver: _, ...proposal }: ThawProposal) => ({ ...proposal, contentSha256: sha256Hex(thawContent(proposal)) });

export const allotmentsResource: Resource = (api, { ctx }, auth) => {
  const inScope = within(ctx, 'job', 'id');
  const planner = auth.personWithin(inScope, 'productionPlanner');
  const driver = auth.personWithin(inScope, 'productionPlanner', 'lineOperator');
  const answer = { 200: jsonAnswer(jobSchema, 'the job') };
  const share = z.strictObject({ programmer: uidField, count: countField.min(1), scrapAllowance: countField.optional() });
  const give = createRoute({
    method: 'post',
    path: '/v1/jobs/{id}/allotments',
    summary: 'Gives a programmer its share, or raises it',
    middleware: planner,
    request: { params, ...jsonBody(share) },
    responses: answer,
  });
  const pack = createRoute({
    method: 'post',
    path: '/v1/jobs/{id}/allotments/{programmer}/export',
    summary: 'The production package of a programmer: the same bytes again, or a new one that supersedes it (planners only)',
    middleware: driver,
    request: { params: shareParams, ...jsonBody(z.strictObject({ replace: z.boolean().default(false) })) },
    responses: { 200: bytesAnswer('production package', 'application/nusec-njp') },
  });
  const thaw = createRoute({
    method: 'post',
    path: '/v1/jobs/{id}/allotments/{programmer}/thaw',
    summary: 'Lets a share go on that a cloned key has frozen',
    middleware: planner,
    request: { params: shareParams, ...jsonBody(z.strictObject({ reason: reasonField })) },
    responses: answer,
  });
  const propose = createRoute({
    method: 'post',
    path: '/v1/jobs/{id}/allotments/{programmer}/thaw-proposals',
    summary: 'Proposes to let a share go on that is frozen for any reason',
    middleware: planner,
    request: { params: shareParams, ...jsonBody(z.strictObject({ reason: reasonField })) },
    responses: { 201: jsonAnswer(proposalSchema, 'the proposal') },
  });
  const look = createRoute({
    method: 'get',
    path: '/v1/jobs/{id}/allotments/{programmer}/thaw-proposals',
    summary: 'The thaw that waits for a second person, if there is one: why the share is frozen, and why it may go on',
    middleware: auth.personWithin(inScope, 'productionPlanner', 'securityOfficer', 'auditor'),
    request: { params: shareParams },
    responses: { 200: jsonAnswer(z.object({ proposals: z.array(proposalSchema) }), 'the proposal') },
  });
  const approve = createRoute({
    method: 'post',
    path: '/v1/jobs/{id}/allotments/{programmer}/thaw-proposals/{proposal}/approve',
    summary: 'Approves a thaw; another person than the one who proposed it',
    middleware: auth.personWithin(inScope, 'productionPlanner', 'securityOfficer'),
    request: { params: shareParams.extend({ proposal: idField }), ...lookBody },
    responses: answer,
  });

  api.openapi(give, async c => {
    const wish = c.req.valid('json');
    // Its first share of a line or job is this one.
    const { sites } = c.var.person.scope ?? {};
    await requireInScope(ctx, sites && { sites }, 'programmer', wish.programmer);
    return c.json(jobView(await allot(ctx, c.req.valid('param').id, wish, actor(c))), 200);
  });
  api.openapi(pack, async c => {
    const { id, programmer } = c.req.valid('param');
    const { replace } = c.req.valid('json');
    if (replace && !isPlanner(c.var.person)) throw new NusecError('FORBIDDEN', 'a planner replaces a package');
    const file = await exportPackage(ctx, id, programmer, replace, actor(c));
    return c.body(new Uint8Array(file), 200, { 'Content-Type': 'application/nusec-njp' });
  });
  api.openapi(thaw, async c => {
    const { id, programmer } = c.req.valid('param');
    await thawShare(ctx, id, programmer, c.req.valid('json').reason, actor(c));
    return c.json(jobView(await jobOf(ctx, id)), 200);
  });
  api.openapi(propose, async c => {
    const { id, programmer } = c.req.valid('param');
    const proposal = await proposeThaw(ctx, id, programmer, c.req.valid('json').reason, actor(c));
    return c.json(shown(await thawProposal(ctx, { jobId: id, programmer, id: proposal })), 201);
  });
  api.openapi(look, async c => {
    const { id, programmer } = c.req.valid('param');
    return c.json({ proposals: (await waitingThaws(ctx, id, programmer)).map(shown) }, 200);
  });
  api.openapi(approve, async c => {
    const { id, programmer, proposal } = c.req.valid('param');
    const proposed = proposalIn(allotmentStream(id, programmer), 'ThawProposed', proposal);
    const approver = earlierApprover(ctx, c.var.person.name, ['productionPlanner', 'securityOfficer'], proposed);
    const place = { jobId: id, programmer, id: proposal };
    await approveThaw(ctx, place, actor(c), { condition: approver, ...seenIn(c.req.valid('json')) });
    return c.json(jobView(await jobOf(ctx, id)), 200);
  });
};
