import { createRoute, z } from '@hono/zod-openapi';
import type { Context as HonoContext } from 'hono';
import { fromBase64url } from '../bytes.ts';
import { revocationReasons } from '../domain/deviceEvents.ts';
import { attestationKeyOf, currentCertificate } from '../domain/deviceState.ts';
import type { EffectKind } from '../domain/effects.ts';
import type { DeviceRow } from '../projections/devices.ts';
import { counted } from '../services/administration/effects.ts';
import { livingDevice } from '../services/base/livingDevice.ts';
import { cannotBringReceipt } from '../services/field/decommission.ts';
import { deviceRow, enrolAttestationKey, quarantineDevice, releaseDevice, tagDevice } from '../services/field/devices.ts';
import { holdDevice, revokeDevice } from '../services/revocation/revokeDevice.ts';
import type { ApiEnv } from './auth.ts';
import { deviceAnswerOf, deviceSchema } from './deviceAnswer.ts';
import { dryRunQuery } from './dryRun.ts';
import { base64urlField, jsonAnswer, jsonBody, reasonField, tagField, uidField } from './fields.ts';
import { actor, type Resource } from './resource.ts';
import { within } from './scopes.ts';

/** What an officer does to a device: revoke, suspend, quarantine, decommission (R86, R96). */

/** SubjectPublicKeyInfo (DER); an ML-DSA-87 key has 2614 bytes. */
const publicKeyField = base64urlField(z.string().regex(/^[A-Za-z0-9_-]{80,3600}$/)).openapi({
  description: 'SubjectPublicKeyInfo (DER), base64url',
  example: 'MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEaxfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpZP40Li_hp_m47n60p8D54WK84zV2sxXs7LtkBoN79R9Q',
});
const enrolKeySchema = z.strictObject({
  publicKey: publicKeyField,
  instanceId: z
    .string()
    .regex(/^01[0-9a-f]{64}$/)
    .optional()
    .openapi({ description: 'of its PSA attestation tokens, hex; 01 and SHA-256 of the point of the key when not given' }),
});
const params = z.object({ uid: uidField });
const reasonBody = jsonBody(z.strictObject({ reason: reasonField }));
const decommissionSchema = z.object({ status: z.string(), receipt: z.enum(['received', 'none', 'awaited']) }).openapi('Decommission');

export const deviceActionsResource: Resource = (api, services, auth) => {
  const { ctx, alarms, revocations, field } = services;
  const inScope = within(ctx, 'device', 'uid');
  const officer = auth.personWithin(inScope, 'securityOfficer');
  /** How many a person does alone within a day is limited, whichever way they are asked. */
  const count = async <Result>(c: HonoContext<ApiEnv>, effect: EffectKind, uid: string, deed: () => Promise<Result>): Promise<Result> => {
    await deviceRow(ctx, uid);
    return counted({ ctx, alarms }, { name: c.var.person.name, effect, subject: uid }, deed);
  };
  const answer = { 200: jsonAnswer(deviceSchema, 'the device') };
  const toAnswer = (row: DeviceRow) => deviceAnswerOf(row, services);

  const revoke = createRoute({
    method: 'post',
    path: '/v1/devices/{uid}/revoke',
    summary: 'Revokes the certificates of a device; its connection ends immediately',
    middleware: officer,
    request: { params, query: dryRunQuery, ...jsonBody(z.strictObject({ reason: z.enum(revocationReasons) })) },
    responses: { 200: jsonAnswer(z.object({ status: z.string(), revoked: z.array(z.string()) }), 'serials') },
  });
  api.openapi(revoke, async c => {
    const { uid } = c.req.valid('param');
    const { reason } = c.req.valid('json');
    const { revoked } = await count(c, 'revoke', uid, () => revokeDevice(ctx, revocations, uid, reason, actor(c)));
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

  const enrolKey = createRoute({
    method: 'put',
    path: '/v1/devices/{uid}/attestation-key',
    summary:
      'Enrols the key that a device proves itself with where it has no certificate; in the place of another key it counts as a quarantine for the day of the caller',
    middleware: officer,
    request: { params, ...jsonBody(enrolKeySchema) },
    responses: answer,
  });
  api.openapi(enrolKey, async c => {
    const { uid } = c.req.valid('param');
    const { publicKey, instanceId } = c.req.valid('json');
    const enrol = () => enrolAttestationKey(ctx, uid, fromBase64url(publicKey), instanceId, actor(c));
    await deviceRow(ctx, uid);
    const state = await livingDevice(ctx, uid);
    // With another key than its own it fails from now on, and is quarantined.
    const isReplaced = (attestationKeyOf(state) ?? currentCertificate(state)) !== undefined;
    return c.json(toAnswer(isReplaced ? await count(c, 'quarantine', uid, enrol) : await enrol()), 200);
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
    const hold = { type: 'SuspendDevice', reason: c.req.valid('json').reason } as const;
    await count(c, 'quarantine', uid, () => holdDevice(ctx, revocations, uid, hold, actor(c)));
    return c.json(toAnswer(await deviceRow(ctx, uid)), 200);
  });

  const resume = createRoute({
    method: 'post',
    path: '/v1/devices/{uid}/resume',
    summary: 'Ends the hold of a suspended device',
    middleware: officer,
    request: { params },
    responses: answer,
  });
  api.openapi(resume, async c => {
    const { uid } = c.req.valid('param');
    await count(c, 'release', uid, () => holdDevice(ctx, revocations, uid, { type: 'ResumeDevice' }, actor(c)));
    return c.json(toAnswer(await deviceRow(ctx, uid)), 200);
  });

  const decommission = createRoute({
    method: 'post',
    path: '/v1/devices/{uid}/decommission',
    summary: 'Orders the device to wipe itself, revokes its certificates and destroys its keys',
    middleware: officer,
    request: {
      params,
      query: dryRunQuery,
      ...jsonBody(z.strictObject({ reason: reasonField, withoutReceipt: z.boolean().default(false) })),
    },
    responses: { 200: jsonAnswer(decommissionSchema, 'DECOMMISSIONED, or the present status while the device is awaited') },
  });
  api.openapi(decommission, async c => {
    const { uid } = c.req.valid('param');
    const { reason, withoutReceipt } = c.req.valid('json');
    const isGone = withoutReceipt || cannotBringReceipt(await livingDevice(ctx, uid));
    const effect = isGone ? 'decommissionWithoutReceipt' : 'decommission';
    return c.json(await count(c, effect, uid, () => field.decommissions.decommission(uid, reason, actor(c), isGone)), 200);
  });

  api.openapi(withReason('quarantine', 'Holds back upgrades and trust until a person releases the device'), async c => {
    const { uid } = c.req.valid('param');
    const { reason } = c.req.valid('json');
    return c.json(toAnswer(await count(c, 'quarantine', uid, () => quarantineDevice(ctx, uid, reason, actor(c)))), 200);
  });

  api.openapi(withReason('release', 'Releases a device from quarantine'), async c => {
    const { uid } = c.req.valid('param');
    const { reason } = c.req.valid('json');
    return c.json(toAnswer(await count(c, 'release', uid, () => releaseDevice(ctx, uid, reason, actor(c)))), 200);
  });
};
