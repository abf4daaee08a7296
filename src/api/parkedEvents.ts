import { createRoute, z } from '@hono/zod-openapi';
import { sha256Hex } from '../digest.ts';
import { type ParkedEvent, parkedContent } from '../domain/parkedEvents.ts';
import { followerStates, listParkedEvents, parkEvent, parkingRole } from '../services/administration/parkedEvents.ts';
import { jsonAnswer, jsonBody, reasonField, sha256Field } from './fields.ts';
import type { Resource } from './resource.ts';

/** The followers of the log in this process, and events that they skip: proposed by one person, parked when another agrees (I16). */

const followerSchema = z
  .object({
    name: z.string(),
    position: z.number(),
    behindEvents: z.number(),
    failure: z.string().optional(),
    standsBefore: z.number().optional(),
  })
  .openapi('LogFollower');
const parkedSchema = z
  .object({
    follower: z.string(),
    position: z.number(),
    status: z.enum(['PROPOSED', 'PARKED']),
    reason: z.string(),
    proposedBy: z.string(),
    proposedAt: z.string(),
    approvedBy: z.string().optional(),
    contentSha256: sha256Field,
  })
  .openapi('ParkedEvent');
export type FollowerAnswer = z.infer<typeof followerSchema>;
export type ParkedAnswer = z.infer<typeof parkedSchema>;
const wishSchema = z
  .strictObject({
    follower: z.string().min(1).max(100),
    position: z.number().int().min(1),
    reason: reasonField,
    contentSha256: sha256Field.optional(),
  })
  .openapi('ParkedEventWish');

const shown = (parked: ParkedEvent) => ({ ...parked, contentSha256: sha256Hex(parkedContent(parked)) });

export const parkedEventsResource: Resource = (api, { ctx }, auth) => {
  const followers = createRoute({
    method: 'get',
    path: '/v1/log/followers',
    summary: 'What follows the log in this process, how far it is, and what stands before an event that it cannot handle',
    middleware: auth.person(parkingRole, 'auditor'),
    responses: { 200: jsonAnswer(z.object({ followers: z.array(followerSchema) }), 'followers') },
  });
  api.openapi(followers, c => c.json({ followers: [...followerStates(ctx)] }, 200));

  const list = createRoute({
    method: 'get',
    path: '/v1/log/parked',
    summary: 'Events that followers go on without, newest first',
    middleware: auth.person(parkingRole, 'auditor'),
    responses: { 200: jsonAnswer(z.object({ parked: z.array(parkedSchema) }), 'parked events') },
  });
  api.openapi(list, async c => c.json({ parked: (await listParkedEvents(ctx)).map(shown) }, 200));

  const park = createRoute({
    method: 'post',
    path: '/v1/log/parked',
    summary: 'Proposes that a follower skips the event it is stopped at; approves it when another person has proposed it',
    middleware: auth.person(parkingRole),
    request: jsonBody(wishSchema),
    responses: { 200: jsonAnswer(parkedSchema, 'proposed, or parked') },
  });
  api.openapi(park, async c => {
    const { contentSha256: seenSha256, ...wish } = c.req.valid('json');
    return c.json(shown(await parkEvent(ctx, { ...wish, seenSha256 }, c.var.person.name)), 200);
  });
};
