import { createRoute, z } from '@hono/zod-openapi';
import { rolloutStatuses, rolloutStream } from '../domain/rollout.ts';
import { weekdays } from '../domain/rolloutPace.ts';
import { maxGroups, maxListedDevices, upgradableStatuses } from '../domain/rolloutPlan.ts';
import { formatVersion } from '../domain/version.ts';
import { beginningOf, earlierApprover } from '../services/administration/approvals.ts';
import { approveRollout, planSha256 } from '../services/firmware/rolloutApproval.ts';
import { planRollout } from '../services/firmware/rolloutPlan.ts';
import { listRollouts, showRollout } from '../services/firmware/rolloutView.ts';
import { dryRunQuery } from './dryRun.ts';
import {
  idField,
  jsonAnswer,
  jsonBody,
  lookBody,
  maxPageRows,
  pageAfter,
  pageQuery,
  reasonField,
  seenIn,
  sha256Field,
  siteField,
  tagField,
  uidField,
  versionField,
  wholeNumber,
} from './fields.ts';
import { actor, type Resource } from './resource.ts';
import { requireInScope, within } from './scopes.ts';

/** Rollouts of a release over groups of devices, with four eyes (R87–R95, I16). */

const rolloutSchema = z
  .object({
    rolloutId: idField,
    releaseId: z.string(),
    line: z.string(),
    status: z.string(),
    plannedBy: z.string(),
    groups: z.number(),
    startedGroups: z.number(),
    passedGroups: z.number(),
    devices: z.number(),
    reason: z.string().nullable(),
  })
  .openapi('Rollout');
const progressSchema = rolloutSchema
  .extend({
    contentSha256: sha256Field,
    plan: z
      .record(z.string(), z.unknown())
      .openapi({ description: 'the plan as it is approved: groups, thresholds and what else it says' }),
    counts: z.record(z.string(), z.number()),
    groupCounts: z.array(z.record(z.string(), z.number())).openapi({ description: 'the same for each group' }),
    progress: z.array(z.object({ uid: uidField, status: z.string(), reason: z.string().nullable(), group: z.number() })),
    next: z.string().optional(),
  })
  .openapi('RolloutProgress');

export type RolloutRowAnswer = z.infer<typeof rolloutSchema>;
export type RolloutAnswer = z.infer<typeof progressSchema>;

const params = z.object({ id: idField });
/** Devices of one rollout, page by page: the cursor counts those before. */
const devicesQuery = pageQuery.extend({
  cursor: wholeNumber(0).optional(),
  limit: wholeNumber(1, maxPageRows).default(maxPageRows),
});
const percent = z.number().min(0).max(100);
const minutes = z.number().int().min(1).max(525_600);
const words = <Word extends z.ZodType>(word: Word) => z.array(word).min(1).max(100);
const selectorSchema = z
  .strictObject({
    versions: words(versionField.transform(formatVersion)),
    tags: words(tagField),
    sites: words(siteField),
    gateways: words(idField),
    statuses: words(z.enum(upgradableStatuses)),
  })
  .partial()
  .openapi('DeviceSelector');
const clock = z.string().regex(/^([01]\d|2[0-3]):[0-5]\d$/, 'a time of the day reads 22:00');
const windowSchema = z
  .strictObject({ days: z.array(z.enum(weekdays)).min(1).optional(), from: clock, to: clock, timeZone: z.string().min(1).max(64) })
  .openapi({ example: { days: ['sat', 'sun'], from: '22:00', to: '04:00', timeZone: 'Europe/Berlin' } });
const planSchema = z
  .strictObject({
    releaseId: idField,
    devices: z.array(uidField).min(1).max(maxListedDevices).optional(),
    groups: z
      .array(z.union([percent, selectorSchema]))
      .min(1)
      .max(maxGroups)
      .optional()
      .openapi({ description: 'shares in percent or selectors, one group after the other; the last share takes what remains' }),
    selector: selectorSchema.optional(),
    windows: z.array(windowSchema).optional(),
    ramp: z.strictObject({ firstPerMinute: z.number().int().min(1), doublesEveryMinutes: minutes }).optional(),
    retries: z.strictObject({ count: z.number().int().min(0), afterMinutes: minutes }).optional(),
    lateJoiners: z.boolean().optional(),
    successPercent: percent.optional(),
    failurePercent: percent.optional(),
    maxFailures: z.number().int().min(0).optional(),
    deadline: z.iso.datetime().optional(),
    timeLimits: z
      .strictObject({ offered: minutes.max(43_200), downloading: minutes, written: minutes, testing: minutes })
      .partial()
      .optional()
      .openapi({ description: 'minutes that a device may stay in one state' }),
    ratePerMinute: z.number().int().min(1).optional(),
    securityUpdate: z.boolean().optional(),
    permitDowngrade: z.boolean().optional(),
    permitCounterJump: z.boolean().optional(),
    fromRelease: idField.optional(),
  })
  .openapi('RolloutPlan');

export const rolloutsResource: Resource = (api, { ctx, field }, auth) => {
  const inScope = within(ctx, 'rollout', 'id');
  const manager = auth.personWithin(inScope, 'releaseManager');
  const { rollouts } = field;
  const answer = { 200: jsonAnswer(progressSchema, 'the rollout') };
  const show = async (id: string, from?: number, limit?: number) => ({
    ...(await showRollout(ctx, rollouts, id, { from, limit })),
    contentSha256: await planSha256(ctx, id),
  });

  const plan = createRoute({
    method: 'post',
    path: '/v1/rollouts',
    summary: 'Plans a rollout of a published release',
    middleware: auth.personInScope('releaseManager'),
    request: jsonBody(planSchema),
    responses: { 201: jsonAnswer(progressSchema, 'the rollout') },
  });
  api.openapi(plan, async c => {
    const wish = c.req.valid('json');
    const { scope } = c.var.person;
    for (const id of [wish.releaseId, wish.fromRelease]) if (id !== undefined) await requireInScope(ctx, scope, 'release', id);
    // A refusal would say that there is a device, and of which line.
    for (const uid of wish.devices ?? []) await requireInScope(ctx, scope, 'device', uid);
    return c.json(await show(await planRollout(ctx, wish, actor(c))), 201);
  });

  const list = createRoute({
    method: 'get',
    path: '/v1/rollouts',
    summary: 'All rollouts',
    middleware: auth.personInScope(),
    request: { query: pageAfter(idField).extend({ status: z.enum(rolloutStatuses).optional() }) },
    responses: { 200: jsonAnswer(z.object({ rollouts: z.array(rolloutSchema), next: z.string().optional() }), 'rollouts') },
  });
  api.openapi(list, async c => {
    const { cursor, limit, status } = c.req.valid('query');
    const found = await listRollouts(ctx, { status, after: cursor, limit, scope: c.var.person.scope });
    return c.json({ rollouts: found, ...(found.length === limit && { next: found.at(-1)?.rolloutId ?? '' }) }, 200);
  });

  const one = createRoute({
    method: 'get',
    path: '/v1/rollouts/{id}',
    summary: 'One rollout with its devices',
    middleware: auth.personWithin(inScope),
    request: { params, query: devicesQuery },
    responses: answer,
  });
  api.openapi(one, async c => {
    const { cursor, limit } = c.req.valid('query');
    return c.json(await show(c.req.valid('param').id, cursor, limit), 200);
  });

  const approve = createRoute({
    method: 'post',
    path: '/v1/rollouts/{id}/approve',
    summary: 'Approves a plan of another person',
    middleware: manager,
    request: { params, ...lookBody },
    responses: answer,
  });
  api.openapi(approve, async c => {
    const { id } = c.req.valid('param');
    const approver = earlierApprover(ctx, c.var.person.name, ['releaseManager'], beginningOf(rolloutStream(id)));
    await approveRollout(ctx, id, actor(c), { condition: approver, ...seenIn(c.req.valid('json')) });
    return c.json(await show(id), 200);
  });

  for (const [name, type, summary] of [
    ['start', 'StartRollout', 'Starts an approved rollout'],
    ['resume', 'ResumeRollout', 'Goes on with a paused rollout'],
  ] as const) {
    const route = createRoute({
      method: 'post',
      path: `/v1/rollouts/{id}/${name}`,
      summary,
      middleware: manager,
      request: { params },
      responses: answer,
    });
    api.openapi(route, async c => {
      const { id } = c.req.valid('param');
      const contentSha256 = type === 'StartRollout' ? { contentSha256: await planSha256(ctx, id) } : {};
      await rollouts.command(id, { type, by: actor(c), ...contentSha256 }, actor(c));
      return c.json(await show(id), 200);
    });
  }
  for (const [name, type, summary] of [
    ['pause', 'PauseRollout', 'Holds back what has not been delivered'],
    ['abort', 'AbortRollout', 'Ends a rollout'],
  ] as const) {
    const route = createRoute({
      method: 'post',
      path: `/v1/rollouts/{id}/${name}`,
      summary,
      middleware: manager,
      request: { params, query: dryRunQuery, ...jsonBody(z.strictObject({ reason: reasonField })) },
      responses: answer,
    });
    api.openapi(route, async c => {
      const { id } = c.req.valid('param');
      await rollouts.command(id, { type, reason: c.req.valid('json').reason, by: actor(c) }, actor(c));
      return c.json(await show(id), 200);
    });
  }
};
