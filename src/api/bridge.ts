import { createRoute, z } from '@hono/zod-openapi';
import type { MiddlewareHandler } from 'hono';
import { toBase64url } from '../bytes.ts';
import { maxEvidenceBytes } from '../spdm/evidence.ts';
import type { ApiEnv } from './auth.ts';
import { bytesAnswer, bytesField, idField, jsonAnswer, jsonBody, sha256Field, uidField } from './fields.ts';
import type { Resource } from './resource.ts';
import { wiredIdentitySchema, wiredIdentityView } from './wiredIdentity.ts';

/** Firmware and orders for a device on the wires of a programmer (`/v1/programmer-bridge/…`) or of a gateway (`/v1/gateway-bridge/…`), each over mTLS
 *  with the certificate of the machine. docs/upgrades.md shows the order. */

const maxReceiptBytes = 2048;
const maxOrderBytes = 4096;
const text = z.string();
const standingSchema = z.object({
  identity: wiredIdentitySchema,
  isOrdered: z.boolean(),
  job: z.object({ signed: text, bodySha256: sha256Field, trailer: text }).optional(),
});
const reportSchema = z.union([
  z.strictObject({ status: z.enum(['downloading', 'written', 'testing']) }),
  z.strictObject({ status: z.literal('refused'), code: z.string().min(1).max(64) }),
]);
const done = z.object({ done: z.literal(true) });
const params = z.object({ uid: uidField });
const jobParams = params.extend({ otaJobId: idField });

export const bridgeResource: Resource = (api, { field }, auth) => {
  const routes = <Path extends string>(path: Path, middleware: MiddlewareHandler<ApiEnv>): void => {
    const { bridge } = field;
    const base = { method: 'post', middleware } as const;
    const look = createRoute({
      ...base,
      path: `${path}/{uid}`,
      summary: 'What stands for a device on the wire: its job, or an order',
      request: { params },
      responses: { 200: jsonAnswer(standingSchema, 'what stands') },
    });
    api.openapi(look, async c => {
      const { identity, isOrdered, job } = await bridge.look(c.var.machine, c.req.valid('param').uid);
      return c.json(
        {
          identity: wiredIdentityView(identity),
          isOrdered,
          ...(job && { job: { ...job, signed: toBase64url(job.signed), trailer: toBase64url(job.trailer) } }),
        },
        200,
      );
    });
    const body = createRoute({
      method: 'get',
      middleware,
      path: `${path}/{uid}/jobs/{otaJobId}/body`,
      summary: 'Body of the image: the same for all devices of a release',
      request: { params: jobParams },
      responses: { 200: bytesAnswer('header, payload and protected TLVs') },
    });
    api.openapi(body, async c => {
      const { uid, otaJobId } = c.req.valid('param');
      return c.body(new Uint8Array(await bridge.body(c.var.machine, uid, otaJobId)), 200, { 'Content-Type': 'application/octet-stream' });
    });
    const report = createRoute({
      ...base,
      path: `${path}/{uid}/jobs/{otaJobId}/status`,
      summary: 'How far the upgrade over the wire is',
      request: { params: jobParams, ...jsonBody(reportSchema) },
      responses: { 200: jsonAnswer(done, 'recorded') },
    });
    api.openapi(report, async c => {
      const { uid, otaJobId } = c.req.valid('param');
      await bridge.report(c.var.machine, uid, otaJobId, c.req.valid('json'));
      return c.json({ done: true as const }, 200);
    });
    const prove = createRoute({
      ...base,
      path: `${path}/{uid}/jobs/{otaJobId}/evidence`,
      summary: 'Evidence of the device for the nonce of this job',
      request: { params: jobParams, ...jsonBody(z.strictObject({ evidence: bytesField(maxEvidenceBytes) })) },
      responses: { 200: jsonAnswer(z.object({ result: text }), 'what it shows') },
    });
    api.openapi(prove, async c => {
      const { uid, otaJobId } = c.req.valid('param');
      const { result } = await bridge.prove(c.var.machine, uid, otaJobId, c.req.valid('json').evidence);
      return c.json({ result }, 200);
    });
    const order = createRoute({
      ...base,
      path: `${path}/{uid}/order`,
      summary: 'The standing order to wipe, for the nonce of the device',
      request: { params, ...jsonBody(z.strictObject({ nonce: bytesField(16, 16) })) },
      responses: { 200: jsonAnswer(z.object({ order: text }), 'the signed order') },
    });
    api.openapi(order, async c => {
      const signed = await bridge.order(c.var.machine, c.req.valid('param').uid, c.req.valid('json').nonce);
      return c.json({ order: toBase64url(signed) }, 200);
    });
    const receipt = createRoute({
      ...base,
      path: `${path}/{uid}/receipt`,
      summary: 'The signed receipt of the device for that order',
      request: { params, ...jsonBody(z.strictObject({ order: bytesField(maxOrderBytes), receipt: bytesField(maxReceiptBytes) })) },
      responses: { 200: jsonAnswer(done, 'received') },
    });
    api.openapi(receipt, async c => {
      const sent = c.req.valid('json');
      await bridge.receipt(c.var.machine, c.req.valid('param').uid, sent.order, sent.receipt);
      return c.json({ done: true as const }, 200);
    });
  };
  routes('/v1/programmer-bridge', auth.machine('programmer'));
  routes('/v1/gateway-bridge', auth.machine('gateway'));
};
