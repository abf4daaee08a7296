import { createRoute, z } from '@hono/zod-openapi';
import type { Context as HonoContext } from 'hono';
import { revocationReasons } from '../domain/deviceEvents.ts';
import { deviceStatuses } from '../domain/deviceStatus.ts';
import type { EffectKind } from '../domain/effects.ts';
import { formatVersion } from '../domain/version.ts';
import type { RecordedEvent } from '../eventstore/port.ts';
import { changeCursor, type DeviceRow } from '../projections/devices.ts';
import { useEffect } from '../services/administration/effects.ts';
import { livingDevice } from '../services/base/livingDevice.ts';
import { cannotBringReceipt } from '../services/field/decommission.ts';
import {
  countDevices,
  deviceEvidence,
  deviceRow,
  deviceTimeline,
  listDevices,
  quarantineDevice,
  releaseDevice,
  tagDevice,
} from '../services/field/devices.ts';
import { holdDevice, revokeDevice } from '../services/revocation/revokeDevice.ts';
import { actor, type Resource } from './app.ts';
import type { ApiEnv } from './auth.ts';
import {
  bytesAnswer,
  idField,
  jsonAnswer,
  jsonBody,
  lineField,
  maxPageRows,
  pageQuery,
  reasonField,
  sha256Field,
  tagField,
  uidField,
  versionField,
} from './fields.ts';
import { within } from './scopes.ts';

/** Devices as people see them: the fleet, one device, its history, and what ends or checks it (R83–R86, R96). */

const deviceSchema = z
  .object({
    uid: uidField,
    objId: z.string(),
    generation: z.number(),
    line: z.string(),
    jobId: z.string(),
    programmer: z.string(),
    status: z.string(),
    serial: z.string().nullable(),
    releaseId: z.string().nullable(),
    version: z.string().nullable(),
    securityCounter: z.number().nullable(),
    imageHash: z.string().nullable(),
    attestation: z.string().nullable(),
    attestedAt: z.string().nullable(),
    connected: z.boolean(),
    trustBundleVersion: z.number().nullable(),
    tags: z.array(z.string()),
    changedAt: z.string(),
    revision: z.number(),
  })
  .openapi('Device');

export type DeviceAnswer = z.infer<typeof deviceSchema>;

const countSchema = z
  .object({ status: z.string(), line: z.string().optional(), version: z.string().nullable().optional(), count: z.number() })
  .openapi('DeviceCount');
export type DeviceCountAnswer = z.infer<typeof countSchema>;

export const eventSchema = z
  .object({
    id: z.string(),
    type: z.string(),
    v: z.number().openapi({ description: 'version of the shape of its data' }),
    at: z.string(),
    by: z.string(),
    cause: z.string().optional(),
    corr: z.string().optional(),
    stream: z.string(),
    position: z.number(),
    revision: z.number(),
    hash: z.string(),
    data: z.record(z.string(), z.any()),
  })
  .openapi('Event');

export type EventAnswer = z.infer<typeof eventSchema>;

/** With all that its hash is over: whoever asks can check the chain. */
export const eventAnswer = ({ id, type, v, at, by, cause, corr, stream, position, revision, hash, data }: RecordedEvent) => ({
  ...{ id, type, v, at, by },
  ...(cause !== undefined && { cause }),
  ...(corr !== undefined && { corr }),
  stream,
  position,
  revision,
  hash,
  data: data as Record<string, unknown>,
});

const attestationSchema = z
  .object({
    result: z.enum(['passed', 'failed', 'unproven', 'unsupported']).openapi({
      description:
        'unproven: a gateway brought what the device has not signed; unsupported: the device does not speak what it was asked. Neither is a failure of the device',
    }),
    reason: z.string().optional(),
    evidenceSha256: sha256Field.optional(),
    via: z.enum(['mqtt', 'gateway', 'programmer']),
    imageHash: z.string().optional(),
    version: z.string().optional(),
  })
  .openapi('AttestationResult');

const attestedSchema = z
  .object({
    id: z.number(),
    at: z.string(),
    via: z.string(),
    nonceHex: z.string().openapi({ description: 'of the server; the evidence is verified with it' }),
    result: z.enum(['passed', 'failed', 'unproven', 'unsupported']),
    reason: z.string().optional(),
    evidenceSha256: sha256Field.optional(),
    verdictSha256: sha256Field.optional(),
  })
  .openapi('Attestation');

export type AttestedAnswer = z.infer<typeof attestedSchema>;

/** Which way; the device’s own connection before a gateway when not given. */
const attestSchema = z.strictObject({ via: z.enum(['mqtt', 'gateway']).optional() });
const params = z.object({ uid: uidField });
const reasonBody = jsonBody(z.strictObject({ reason: reasonField }));
const decommissionSchema = z.object({ status: z.string(), receipt: z.enum(['received', 'none', 'awaited']) }).openapi('Decommission');

/** ISO times compare as text. */
const laterOf = (at: string | null, otherMs: number | undefined): string | null => {
  const other = otherMs === undefined ? null : new Date(otherMs).toISOString();
  return other !== null && (at === null || other > at) ? other : at;
};

export const devicesResource: Resource = (api, { ctx, alarms, revocations, channel, field, attestations, evidence: evidenceOf }, auth) => {
  const inScope = within(ctx, 'device', 'uid');
  const officer = auth.personWithin(inScope, 'securityOfficer');
  const reader = auth.personWithin(inScope);
  /** Before the deed: how many a person does alone within a day is limited, whichever way they are asked. */
  const count = async (c: HonoContext<ApiEnv>, effect: EffectKind, uid: string): Promise<void> => {
    await deviceRow(ctx, uid);
    await useEffect({ ctx, alarms }, c.var.person.name, effect, uid);
  };
  const answer = { 200: jsonAnswer(deviceSchema, 'the device') };
  /** With the time of the last attestation, also when it changed nothing. */
  const toAnswer = (row: DeviceRow) => answerOf(row, attestations.lastOf([row.uid]).get(row.uid));
  const answerOf = (row: DeviceRow, attestedMs: number | undefined) => ({
    uid: row.uid,
    objId: row.obj_id,
    generation: row.generation,
    line: row.line,
    jobId: row.job_id,
    programmer: row.programmer,
    status: row.status,
    serial: row.serial,
    releaseId: row.release_id,
    version: row.version,
    securityCounter: row.security_counter,
    imageHash: row.image_hash,
    attestation: row.attestation,
    attestedAt: laterOf(row.attested_at, attestedMs),
    connected: channel.isConnected(row.uid),
    trustBundleVersion: row.trust_bundle_version,
    tags: row.tags === '' ? [] : row.tags.split(' '),
    changedAt: row.changed_at,
    revision: row.revision,
  });

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
        /** Only devices in use that do not have the newest trust bundle. */
        behind: z.enum(['true']).optional(),
        sort: z.enum(['uid', 'changed']).default('uid').openapi({ description: 'changed: what changed last comes first' }),
      }),
    },
    responses: { 200: jsonAnswer(z.object({ devices: z.array(deviceSchema), next: z.string().optional() }), 'devices') },
  });
  api.openapi(list, async c => {
    const { line, status, release, imageHash, version, tag, attestation, job, uid, behind, sort, cursor, limit } = c.req.valid('query');
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
      behind: behind === 'true',
      scope: c.var.person.scope,
    };
    const rows = await listDevices(ctx, { ...filter, limit, ...(cursor !== undefined && { after: cursor }) });
    const last = rows.length === limit ? rows.at(-1) : undefined;
    const next = last === undefined ? {} : { next: sort === 'changed' ? changeCursor(last) : last.uid };
    const attested = attestations.lastOf(rows.map(row => row.uid));
    return c.json({ devices: rows.map(row => answerOf(row, attested.get(row.uid))), ...next }, 200);
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
    responses: answer,
  });
  api.openapi(one, async c => {
    const row = await deviceRow(ctx, c.req.valid('param').uid);
    return c.json(toAnswer(row), 200);
  });

  const timeline = createRoute({
    method: 'get',
    path: '/v1/devices/{uid}/events',
    summary: 'Everything that happened to a device, oldest first',
    middleware: reader,
    request: { params },
    responses: { 200: jsonAnswer(z.object({ events: z.array(eventSchema) }), 'events') },
  });
  api.openapi(timeline, async c => c.json({ events: (await deviceTimeline(ctx, c.req.valid('param').uid)).map(eventAnswer) }, 200));

  const evidenceFile = createRoute({
    method: 'get',
    path: '/v1/devices/{uid}/evidence',
    summary: 'One file that proves the history of a device to a holder of the root certificate: `nusec verify FILE --trust root.pem`',
    middleware: reader,
    request: { params },
    responses: { 200: bytesAnswer('nusec-evidence/1, JSON (docs/evidence.md)', 'application/json') },
  });
  api.openapi(evidenceFile, async c => {
    const { uid } = c.req.valid('param');
    const headers = { 'Content-Type': 'application/json', 'Content-Disposition': `attachment; filename="${uid}.evidence.json"` };
    return c.body(JSON.stringify(await evidenceOf.export(uid)), 200, headers);
  });

  const evidence = createRoute({
    method: 'get',
    path: '/v1/devices/{uid}/evidence/{sha256}',
    summary: 'What the device signed, for anybody to verify again',
    middleware: reader,
    request: { params: params.extend({ sha256: sha256Field }) },
    responses: { 200: bytesAnswer('the raw messages, JSON with base64url', 'application/json') },
  });
  api.openapi(evidence, async c => {
    const { uid, sha256 } = c.req.valid('param');
    return c.body(new Uint8Array(await deviceEvidence(ctx, attestations, uid, sha256)), 200, { 'Content-Type': 'application/json' });
  });

  const history = createRoute({
    method: 'get',
    path: '/v1/devices/{uid}/attestations',
    summary: 'Every attestation of a device, newest first, also those that changed nothing',
    middleware: reader,
    request: {
      params,
      query: z.strictObject({
        before: z.coerce.number().int().min(1).optional(),
        limit: z.coerce.number().int().min(1).max(maxPageRows).default(100),
      }),
    },
    responses: { 200: jsonAnswer(z.object({ attestations: z.array(attestedSchema), next: z.number().optional() }), 'attestations') },
  });
  api.openapi(history, async c => {
    const { uid } = c.req.valid('param');
    await deviceRow(ctx, uid);
    const { before: beforeId, limit } = c.req.valid('query');
    const rows = attestations.page(uid, { beforeId, limit });
    const next = rows.length === limit ? { next: rows.at(-1)?.id ?? 0 } : {};
    const shown = rows.map(({ atMs, uid: _, line: __, ...row }) => ({ ...row, at: new Date(atMs).toISOString() }));
    return c.json({ attestations: shown, ...next }, 200);
  });

  const attest = createRoute({
    method: 'post',
    path: '/v1/devices/{uid}/attest',
    summary: 'Attests a connected device now, with a fresh nonce',
    middleware: officer,
    request: { params, body: { content: { 'application/json': { schema: attestSchema } } } },
    responses: { 200: jsonAnswer(attestationSchema, 'what the evidence shows') },
  });
  api.openapi(attest, async c => {
    const { via } = (c.req.valid('json') ?? {}) as z.infer<typeof attestSchema>;
    return c.json(await field.attestation.attest(c.req.valid('param').uid, { via }), 200);
  });

  const revoke = createRoute({
    method: 'post',
    path: '/v1/devices/{uid}/revoke',
    summary: 'Revokes the certificates of a device; its connection ends immediately',
    middleware: officer,
    request: { params, ...jsonBody(z.strictObject({ reason: z.enum(revocationReasons).default('unspecified') })) },
    responses: { 200: jsonAnswer(z.object({ status: z.string(), revoked: z.array(z.string()) }), 'serials') },
  });
  api.openapi(revoke, async c => {
    const { uid } = c.req.valid('param');
    await count(c, 'revoke', uid);
    const { revoked } = await revokeDevice(ctx, revocations, uid, c.req.valid('json').reason, actor(c));
    return c.json({ status: (await deviceRow(ctx, uid)).status, revoked: [...revoked] }, 200);
  });

  const tag = createRoute({
    method: 'post',
    path: '/v1/devices/{uid}/tags',
    summary: 'Adds and removes words by which rollouts and lists select devices',
    middleware: auth.personWithin(inScope, 'securityOfficer', 'releaseManager', 'productionPlanner'),
    request: { params, ...jsonBody(z.strictObject({ add: z.array(tagField).default([]), remove: z.array(tagField).default([]) })) },
    responses: answer,
  });
  api.openapi(tag, async c => {
    const { add, remove } = c.req.valid('json');
    return c.json(toAnswer(await tagDevice(ctx, c.req.valid('param').uid, add, remove, actor(c))), 200);
  });

  /** A step of an officer that takes a reason and answers with the device. */
  const withReason = <Name extends string>(name: Name, summary: string) =>
    createRoute({
      method: 'post',
      path: `/v1/devices/{uid}/${name}`,
      summary,
      middleware: officer,
      request: { params, ...reasonBody },
      responses: answer,
    });
  api.openapi(withReason('suspend', 'Puts the certificates of a device on hold; its connection ends immediately'), async c => {
    const { uid } = c.req.valid('param');
    await count(c, 'quarantine', uid);
    await holdDevice(ctx, revocations, uid, { type: 'SuspendDevice', reason: c.req.valid('json').reason }, actor(c));
    return c.json(toAnswer(await deviceRow(ctx, uid)), 200);
  });

  const resume = createRoute({
    method: 'post',
    path: '/v1/devices/{uid}/resume',
    summary: 'Makes a suspended device good again',
    middleware: officer,
    request: { params },
    responses: answer,
  });
  api.openapi(resume, async c => {
    const { uid } = c.req.valid('param');
    await count(c, 'release', uid);
    await holdDevice(ctx, revocations, uid, { type: 'ResumeDevice' }, actor(c));
    return c.json(toAnswer(await deviceRow(ctx, uid)), 200);
  });

  const decommission = createRoute({
    method: 'post',
    path: '/v1/devices/{uid}/decommission',
    summary: 'Orders the device to wipe itself, revokes its certificates and destroys its keys',
    middleware: officer,
    request: {
      params,
      ...jsonBody(z.strictObject({ reason: reasonField.default('end of life'), withoutReceipt: z.boolean().default(false) })),
    },
    responses: { 200: jsonAnswer(decommissionSchema, 'DECOMMISSIONED, or the present status while the device is awaited') },
  });
  api.openapi(decommission, async c => {
    const { uid } = c.req.valid('param');
    const { reason, withoutReceipt } = c.req.valid('json');
    const isGone = withoutReceipt || cannotBringReceipt(await livingDevice(ctx, uid));
    await count(c, isGone ? 'decommissionWithoutReceipt' : 'decommission', uid);
    return c.json(await field.decommissions.decommission(uid, reason, actor(c), isGone), 200);
  });

  api.openapi(withReason('quarantine', 'Holds back upgrades and trust until a person releases the device'), async c => {
    const { uid } = c.req.valid('param');
    await count(c, 'quarantine', uid);
    return c.json(toAnswer(await quarantineDevice(ctx, uid, c.req.valid('json').reason, actor(c))), 200);
  });

  api.openapi(withReason('release', 'Releases a device from quarantine'), async c => {
    const { uid } = c.req.valid('param');
    await count(c, 'release', uid);
    return c.json(toAnswer(await releaseDevice(ctx, uid, c.req.valid('json').reason, actor(c))), 200);
  });
};
