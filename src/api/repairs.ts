import { createRoute, z } from '@hono/zod-openapi';
import { toBase64url } from '../bytes.ts';
import { deviceStream } from '../domain/device.ts';
import { maxCsrBytes } from '../pki/csr.ts';
import { earlierApprover, newestIn } from '../services/administration/approvals.ts';
import { counted } from '../services/administration/effects.ts';
import {
  approveDebugUnlock,
  certifyNextGeneration,
  deviceInRepair,
  orderReturn,
  rekeyOrder,
  repairView,
  requestDebugUnlock,
  returnToService,
  takeForRepair,
  unlockOrder,
} from '../services/production/repairs.ts';
import { maxEvidenceBytes } from '../spdm/evidence.ts';
import { bytesField, idField, jsonAnswer, jsonBody, reasonField, seenIn, sha256Field, uidField } from './fields.ts';
import { actor, type Resource } from './resource.ts';
import { requireInScope, within } from './scopes.ts';
import { stepsOf } from './steps.ts';
import { wiredIdentitySchema, wiredIdentityView } from './wiredIdentity.ts';

/** Repair: what people decide about a device (`/v1/devices/{uid}/repair…`), and what the programmer that was named asks for while the device is on
 *  its wires, over mTLS (`/v1/repairs/{uid}…`). docs/repair.md shows the order. */

const maxReceiptBytes = 2048;
const params = z.object({ uid: uidField });
const repairSchema = z
  .object({
    status: z.string(),
    generation: z.number(),
    programmer: z.string().nullable(),
    unlock: z.enum(['none', 'requested', 'approved', 'disclosed']),
    contentSha256: sha256Field.optional(),
    returning: z.enum(['none', 'ordered', 'certified']),
  })
  .openapi('Repair');
const nonceBody = z.strictObject({ nonce: bytesField(16, 16) });

export const repairsResource: Resource = (api, { ctx, alarms, revocations }, auth) => {
  const parts = { ctx, alarms, revocations };
  const inScope = within(ctx, 'device', 'uid');
  const officer = auth.personWithin(inScope, 'securityOfficer');

  const show = createRoute({
    method: 'get',
    path: '/v1/devices/{uid}/repair',
    summary: 'How far the repair of a device is',
    middleware: auth.personWithin(inScope),
    request: { params },
    responses: { 200: jsonAnswer(repairSchema, 'the repair') },
  });
  api.openapi(show, async c => c.json(await repairView(ctx, c.req.valid('param').uid), 200));

  /** A decision of an officer, answered with the state of the repair. */
  const decision = <Name extends string, Body extends z.ZodType>(name: Name, summary: string, body: Body) =>
    createRoute({
      method: 'post',
      path: `/v1/devices/{uid}/${name}`,
      summary,
      middleware: officer,
      request: { params, ...jsonBody(body) },
      responses: { 200: jsonAnswer(repairSchema, 'the repair') },
    });
  const nothing = z.strictObject({});
  const look = z.strictObject({ contentSha256: sha256Field.optional() });
  const wish = z.strictObject({ reason: reasonField, programmer: uidField });
  api.openapi(decision('repair', 'Takes a device for repair; its connection ends immediately', wish), async c => {
    const { uid } = c.req.valid('param');
    await requireInScope(ctx, c.var.person.scope, 'programmer', c.req.valid('json').programmer);
    const deed = { name: c.var.person.name, effect: 'quarantine', subject: uid } as const;
    await counted({ ctx, alarms }, deed, () => takeForRepair(parts, uid, c.req.valid('json'), actor(c)));
    return c.json(await repairView(ctx, uid), 200);
  });
  const why = z.strictObject({ reason: reasonField });
  api.openapi(decision('repair/unlock', 'Asks for the one debug unlock of this repair', why), async c => {
    const { uid } = c.req.valid('param');
    await requestDebugUnlock(ctx, uid, c.req.valid('json').reason, actor(c));
    return c.json(await repairView(ctx, uid), 200);
  });
  api.openapi(decision('repair/unlock/approve', 'Approves the debug unlock; another person than the one who asked', look), async c => {
    const { uid } = c.req.valid('param');
    const approver = earlierApprover(ctx, c.var.person.name, ['securityOfficer'], newestIn(deviceStream(uid), 'DebugUnlockRequested'));
    await approveDebugUnlock(ctx, uid, actor(c), { condition: approver, ...seenIn(c.req.valid('json')) });
    return c.json(await repairView(ctx, uid), 200);
  });
  api.openapi(decision('repair/return', 'Orders the return to service as a new generation', nothing), async c => {
    const { uid } = c.req.valid('param');
    await orderReturn(ctx, uid, actor(c));
    return c.json(await repairView(ctx, uid), 200);
  });

  const machine = auth.machine('programmer');
  const step = stepsOf('/v1/repairs/{uid}', params, machine);
  const device = createRoute({
    method: 'get',
    path: '/v1/repairs/{uid}',
    summary: 'Which identity a device in repair has, and which it will have',
    middleware: machine,
    request: { params },
    responses: {
      200: jsonAnswer(
        z.object({
          objId: z.string(),
          identity: wiredIdentitySchema,
          nextObjId: z.string().optional(),
          next: wiredIdentitySchema.optional(),
        }),
        'the device',
      ),
    },
  });
  api.openapi(device, async c => {
    const { objId, nextObjId, identity, next } = await deviceInRepair(parts, c.var.machine.id, c.req.valid('param').uid);
    return c.json(
      { objId, identity: wiredIdentityView(identity), ...(nextObjId && { nextObjId }), ...(next && { next: wiredIdentityView(next) }) },
      200,
    );
  });
  const unlockSchema = z.object({ order: z.string(), password: z.string() });
  api.openapi(step('unlock', 'Order and password for a debug unlock, once in a repair', nonceBody, unlockSchema), async c => {
    const nonce = c.req.valid('json').nonce;
    const { order, password } = await unlockOrder(parts, c.var.machine.id, c.req.valid('param').uid, nonce, actor(c));
    c.header('Cache-Control', 'no-store');
    return c.json({ order: toBase64url(order), password: toBase64url(password) }, 200);
  });
  api.openapi(
    step('rekey', 'Order for the key of the next generation', nonceBody, z.object({ order: z.string(), objId: z.string() })),
    async c => {
      const nonce = c.req.valid('json').nonce;
      const { order, objId } = await rekeyOrder(parts, c.var.machine.id, c.req.valid('param').uid, nonce);
      return c.json({ order: toBase64url(order), objId }, 200);
    },
  );
  const csr = z.strictObject({ csr: bytesField(maxCsrBytes) });
  api.openapi(step('csr', 'Certifies the next generation', csr, wiredIdentitySchema.extend({ bundles: z.array(z.string()) })), async c => {
    const request = c.req.valid('json').csr;
    const issued = await certifyNextGeneration(parts, c.var.machine.id, c.req.valid('param').uid, request, actor(c));
    return c.json({ ...wiredIdentityView(issued), bundles: issued.bundles.map(toBase64url) }, 200);
  });
  const proof = z.strictObject({ objId: idField, receipt: bytesField(maxReceiptBytes), evidence: bytesField(maxEvidenceBytes) });
  api.openapi(step('returned', 'The next generation has proven itself', proof, z.object({ status: z.string() })), async c => {
    return c.json(await returnToService(parts, c.var.machine.id, c.req.valid('param').uid, c.req.valid('json'), actor(c)), 200);
  });
};
