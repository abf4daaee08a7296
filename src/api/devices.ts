import { createRoute, z } from '@hono/zod-openapi';
import { deviceStatuses } from '../domain/deviceStatus.ts';
import { formatVersion } from '../domain/version.ts';
import { NusecError } from '../errors.ts';
import { changeCursor } from '../projections/deviceQueries.ts';
import { countDevices, deviceChain, deviceRow, deviceTimeline, listDevices } from '../services/field/devices.ts';
import { deviceAnswer, deviceAnswerOf, deviceSchema } from './deviceAnswer.ts';
import { eventAnswer, eventSchema } from './events.ts';
import { idField, jsonAnswer, lineField, pageQuery, tagField, uidField, versionField } from './fields.ts';
import { gatewayField } from './gateways.ts';
import type { Resource } from './resource.ts';
import { within } from './scopes.ts';

/** Devices as people see them: the fleet, one device, its history (R83–R86). */

const countSchema = z
  .object({ status: z.string(), line: z.string().optional(), version: z.string().nullable().optional(), count: z.number() })
  .openapi('DeviceCount');
export type DeviceCountAnswer = z.infer<typeof countSchema>;

const params = z.object({ uid: uidField });

/** Where a page ends, in each order. */
const places = { uid: /^[0-9a-f]{32}$/, changed: /^\d{4}-[0-9T:.-]{15,24}Z~[0-9a-f]{32}$/ } as const;
const chainSchema = z.object({ ok: z.boolean(), brokenAt: z.number().optional() }).openapi({
  description:
    'whether the hash chain of the history is unbroken as it is stored, with pseudonyms; else the first revision that it does not fit',
});

export const devicesResource: Resource = (api, services, auth) => {
  const { ctx, attestations } = services;
  const reader = auth.personWithin(within(ctx, 'device', 'uid'));

  const list = createRoute({
    method: 'get',
    path: '/v1/devices',
    summary: 'The fleet, by UID',
    middleware: auth.personInScope(),
    request: {
      query: pageQuery.extend({
        line: lineField.optional(),
        status: z.enum(deviceStatuses).optional(),
        /** What they run, by what they last proved. */
        release: idField.optional(),
        imageHash: z
          .string()
          .regex(/^[0-9a-f]{64}$/)
          .optional(),
        version: versionField.transform(formatVersion).optional(),
        attestation: z.enum(['passed', 'failed', 'none']).optional(),
        job: idField.optional(),
        uid: z
          .string()
          .regex(/^[0-9a-f]{1,32}$/, 'the beginning of a UID is 1 to 32 lower-case hex digits')
          .optional()
          .openapi({ description: 'the beginning of the UID' }),
        tag: tagField.optional(),
        gateway: gatewayField.optional().openapi({ description: 'only devices that are attached to this gateway' }),
        /** Only devices in use that do not have the newest trust bundle. */
        behind: z.enum(['true']).optional(),
        /** Only devices in use without a certified encryption key. */
        encryptionKey: z
          .enum(['missing'])
          .optional()
          .openapi({ description: 'missing: devices in use that no encrypted image can be made for' }),
        sort: z.enum(['uid', 'changed']).default('uid').openapi({ description: 'changed: what changed last comes first' }),
      }),
    },
    responses: { 200: jsonAnswer(z.object({ devices: z.array(deviceSchema), next: z.string().optional() }), 'devices') },
  });
  api.openapi(list, async c => {
    const { line, status, release, imageHash, version, tag, gateway, attestation, job, uid, behind, encryptionKey, sort, cursor, limit } =
      c.req.valid('query');
    const filter = {
      ...(attestation !== undefined && { attestation }),
      ...(job !== undefined && { jobId: job }),
      ...(uid !== undefined && { uidPrefix: uid }),
      order: sort,
      ...(line !== undefined && { line }),
      ...(status !== undefined && { status }),
      ...(release !== undefined && { releaseId: release }),
      ...(imageHash !== undefined && { imageHash }),
      ...(version !== undefined && { version }),
      ...(tag !== undefined && { tag }),
      ...(gateway !== undefined && { gatewayId: gateway }),
      behind: behind === 'true',
      withoutEncryptionKey: encryptionKey === 'missing',
      scope: c.var.person.scope,
    };
    if (cursor !== undefined && !places[sort].test(cursor))
      throw new NusecError('BAD_REQUEST', 'cursor: it is not that of a page in this order');
    const rows = await listDevices(ctx, { ...filter, limit, ...(cursor !== undefined && { after: cursor }) });
    const last = rows.length === limit ? rows.at(-1) : undefined;
    const next = last === undefined ? {} : { next: sort === 'changed' ? changeCursor(last) : last.uid };
    const attested = attestations.lastOf(rows.map(row => row.uid));
    return c.json({ devices: rows.map(row => deviceAnswer(row, services, attested.get(row.uid))), ...next }, 200);
  });

  const counts = createRoute({
    method: 'get',
    path: '/v1/devices/counts',
    summary: 'How many devices are in each state; without a scope also by line and version',
    middleware: auth.personInScope(),
    responses: { 200: jsonAnswer(z.object({ counts: z.array(countSchema) }), 'counts') },
  });
  api.openapi(counts, async c => c.json({ counts: await countDevices(ctx, c.var.person.scope) }, 200));

  const one = createRoute({
    method: 'get',
    path: '/v1/devices/{uid}',
    summary: 'One device',
    middleware: reader,
    request: { params },
    responses: { 200: jsonAnswer(deviceSchema, 'the device') },
  });
  api.openapi(one, async c => {
    const row = await deviceRow(ctx, c.req.valid('param').uid);
    return c.json(deviceAnswerOf(row, services), 200);
  });

  const timeline = createRoute({
    method: 'get',
    path: '/v1/devices/{uid}/events',
    summary: 'Everything that happened to a device, oldest first',
    middleware: reader,
    request: { params },
    responses: { 200: jsonAnswer(z.object({ events: z.array(eventSchema), chain: chainSchema }), 'events') },
  });
  api.openapi(timeline, async c => {
    const { uid } = c.req.valid('param');
    const events = (await deviceTimeline(ctx, uid)).map(eventAnswer);
    const verdict = await deviceChain(ctx, uid);
    return c.json({ events, chain: verdict.ok ? { ok: true } : { ok: false, brokenAt: verdict.revision } }, 200);
  });
};
