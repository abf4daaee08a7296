import { createRoute, z } from '@hono/zod-openapi';
import { createAttestationLag, createScheduleView } from '../services/field/attestationLag.ts';
import { jsonAnswer } from './fields.ts';
import { progressSchema } from './lines.ts';
import type { Resource } from './resource.ts';
import { readinessOf } from './system.ts';

/** Figures about the whole: how current attestations are, and whether the log and its checkpoints are well. */

const lagSchema = z.object({ inUse: z.number(), withinDay: z.number(), withinWeek: z.number() }).openapi('AttestationLag');
const healthSchema = z
  .object({
    head: z.number().openapi({ description: 'position of the newest event' }),
    checkpoint: z.object({ size: z.number(), at: z.string() }).nullable(),
    troubles: z.array(z.string()).openapi({ description: 'what `/readyz` complains about' }),
  })
  .openapi('LogHealth');
export type AttestationLagAnswer = z.infer<typeof lagSchema>;
export type ScheduleAnswer = z.infer<typeof progressSchema>;
export type LogHealthAnswer = z.infer<typeof healthSchema>;

export const overviewResource: Resource = (api, services, auth) => {
  const { ctx, attestations, newestCheckpoint } = services;
  const lagNow = createAttestationLag(ctx, attestations);
  const lag = createRoute({
    method: 'get',
    path: '/v1/attestations/lag',
    summary: 'How many devices in use were attested within a day and within a week; counted once a minute',
    middleware: auth.person(),
    responses: { 200: jsonAnswer(lagSchema, 'the lag') },
  });
  api.openapi(lag, async c => c.json(await lagNow(), 200));

  const schedulesNow = createScheduleView(ctx, attestations);
  const schedules = createRoute({
    method: 'get',
    path: '/v1/attestations/schedules',
    summary: 'How far each line is that has a schedule of attestations, or whose devices were all asked; counted once a minute',
    middleware: auth.person(),
    responses: { 200: jsonAnswer(z.object({ schedules: z.array(progressSchema) }), 'the schedules') },
  });
  api.openapi(schedules, async c => c.json({ schedules: [...(await schedulesNow())] }, 200));

  const health = createRoute({
    method: 'get',
    path: '/v1/log/health',
    summary: 'How far the log and its newest checkpoint are, and what is wrong',
    middleware: auth.person(),
    responses: { 200: jsonAnswer(healthSchema, 'the health') },
  });
  api.openapi(health, async c => {
    const newest = newestCheckpoint.newest();
    const checkpoint = newest === undefined ? null : { size: newest.size, at: newest.at.toISOString() };
    return c.json({ head: await ctx.store.head(), checkpoint, troubles: [...(await readinessOf(services))] }, 200);
  });
};
