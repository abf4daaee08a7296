import { createRoute, z } from '@hono/zod-openapi';
import { toBase64url } from '../bytes.ts';
import { gatewayStream, type RegisteredGateway } from '../domain/gateway.ts';
import { maxCsrBytes } from '../pki/csr.ts';
import { counted } from '../services/administration/effects.ts';
import { watchKey } from '../services/base/alarms.ts';
import {
  attachDevice,
  detachDevice,
  gatewayOf,
  listGateways,
  moveGateway,
  recordAppliedBundle,
  registerGateway,
} from '../services/field/gateways.ts';
import { certifyGateway } from '../services/identity/enrolment.ts';
import { dryRunQuery } from './dryRun.ts';
import { bytesField, jsonAnswer, jsonBody, pageAfter, reasonField, uidField } from './fields.ts';
import { secondOfficer } from './gatewayKeys.ts';
import { actor, type Resource } from './resource.ts';

/** Gateways and the devices behind them (R84). */

export const gatewayField = z.string().regex(/^[A-Za-z0-9_-]{1,64}$/, 'a gateway id is 1 to 64 letters, digits, _ and -');
const gatewaySchema = z
  .object({
    id: gatewayField,
    name: z.string(),
    status: z.string(),
    devices: z.array(z.string()),
    trustBundleVersion: z.number().openapi({ description: 'the newest it said it has; 0 before' }),
  })
  .openapi('Gateway');
export type GatewayAnswer = z.infer<typeof gatewaySchema>;
const params = z.object({ id: gatewayField });

const toAnswer = ({ gatewayId, name, status, devices, trustBundleVersion }: RegisteredGateway) => ({
  id: gatewayId,
  name,
  status,
  devices: [...devices].sort(),
  trustBundleVersion,
});

export const gatewaysResource: Resource = (api, { ctx, alarms, revocations, field }, auth) => {
  const officer = auth.person('securityOfficer');
  const { attachments } = field;
  const answer = { 200: jsonAnswer(gatewaySchema, 'the gateway') };

  const register = createRoute({
    method: 'post',
    path: '/v1/gateways',
    summary: 'Registers a gateway',
    middleware: officer,
    request: jsonBody(z.strictObject({ id: gatewayField, name: z.string().min(1).max(64).optional() })),
    responses: { 201: jsonAnswer(gatewaySchema, 'the gateway') },
  });
  api.openapi(register, async c => {
    const { id, name } = c.req.valid('json');
    return c.json(toAnswer(await registerGateway(ctx, id, name ?? id, actor(c))), 201);
  });

  const list = createRoute({
    method: 'get',
    path: '/v1/gateways',
    summary: 'All gateways with their devices',
    middleware: auth.person(),
    request: { query: pageAfter(gatewayField) },
    responses: { 200: jsonAnswer(z.object({ gateways: z.array(gatewaySchema), next: z.string().optional() }), 'gateways') },
  });
  api.openapi(list, async c => {
    const { cursor, limit } = c.req.valid('query');
    const rows = await listGateways(ctx, { after: cursor, limit });
    const next = rows.length === limit ? { next: rows.at(-1)?.gateway_id ?? '' } : {};
    const gateways = rows.map(({ gateway_id: id, name, status, devices, bundle_version: trustBundleVersion }) => {
      return { id, name, status, devices: [...devices], trustBundleVersion };
    });
    return c.json({ gateways, ...next }, 200);
  });

  const csr = createRoute({
    method: 'post',
    path: '/v1/gateways/{id}/csr',
    summary: 'Certifies the key of a gateway; the same request gives the same certificate',
    middleware: officer,
    request: { params, ...jsonBody(z.strictObject({ csr: bytesField(maxCsrBytes) })) },
    responses: { 200: jsonAnswer(z.object({ certificate: z.string(), ica: z.string(), root: z.string() }), 'DER, base64url') },
  });
  api.openapi(csr, async c => {
    const { id } = c.req.valid('param');
    const request = c.req.valid('json').csr;
    const issued = await watchKey(alarms, `gateway-${id}`, () => {
      const second = secondOfficer(ctx, c.var.person.name, id, () => auth.confirm(c, c.var.person.name));
      return certifyGateway(ctx, id, request, actor(c), undefined, second);
    });
    const { certificate, ica, root } = issued;
    return c.json({ certificate: toBase64url(certificate), ica: toBase64url(ica), root: toBase64url(root) }, 200);
  });

  const attach = createRoute({
    method: 'post',
    path: '/v1/gateways/{id}/devices',
    summary: 'Lets the gateway speak for a device',
    middleware: officer,
    request: { params, ...jsonBody(z.strictObject({ uid: uidField })) },
    responses: answer,
  });
  api.openapi(attach, async c =>
    c.json(toAnswer(await attachDevice(ctx, attachments, c.req.valid('param').id, c.req.valid('json').uid, actor(c))), 200),
  );

  const detach = createRoute({
    method: 'delete',
    path: '/v1/gateways/{id}/devices/{uid}',
    summary: 'Ends that',
    middleware: officer,
    request: { params: params.extend({ uid: uidField }) },
    responses: answer,
  });
  api.openapi(detach, async c => {
    const { id, uid } = c.req.valid('param');
    // Who is behind no gateway is reached by nobody.
    const deed = { name: c.var.person.name, effect: 'quarantine', subject: uid, recordedIn: gatewayStream(id) } as const;
    const detached = await counted({ ctx, alarms }, deed, () => detachDevice(ctx, attachments, id, uid, actor(c)));
    return c.json(toAnswer(detached), 200);
  });

  const applied = createRoute({
    method: 'post',
    path: '/v1/gateways/{id}/trust-bundle',
    summary: 'The gateway itself says which trust bundle it judges with now',
    middleware: [auth.machine('gateway')] as const,
    request: { params, ...jsonBody(z.strictObject({ version: z.int().min(1) })) },
    responses: answer,
  });
  api.openapi(applied, async c => {
    const { id } = c.req.valid('param');
    return c.json(toAnswer(await recordAppliedBundle(ctx, id, c.req.valid('json').version, c.var.machine)), 200);
  });

  for (const [name, type] of [
    ['suspend', 'SuspendGateway'],
    ['revoke', 'RevokeGateway'],
  ] as const) {
    const route = createRoute({
      method: 'post',
      path: `/v1/gateways/{id}/${name}`,
      summary: name === 'suspend' ? 'Puts the certificate of the gateway on hold' : 'Revokes the gateway permanently',
      middleware: officer,
      request: { params, query: dryRunQuery, ...jsonBody(z.strictObject({ reason: reasonField })) },
      responses: answer,
    });
    api.openapi(route, async c => {
      const { reason } = c.req.valid('json');
      const { gatewayId } = await gatewayOf(ctx, c.req.valid('param').id);
      const deed = { name: c.var.person.name, effect: 'quarantine', subject: gatewayStream(gatewayId) } as const;
      const move = () => moveGateway(ctx, revocations, gatewayId, { type, reason }, actor(c));
      return c.json(toAnswer(await counted({ ctx, alarms }, deed, move)), 200);
    });
  }

  const resume = createRoute({
    method: 'post',
    path: '/v1/gateways/{id}/resume',
    summary: 'Makes a suspended gateway good again',
    middleware: officer,
    request: { params },
    responses: answer,
  });
  api.openapi(resume, async c => {
    const { gatewayId } = await gatewayOf(ctx, c.req.valid('param').id);
    const deed = { name: c.var.person.name, effect: 'release', subject: gatewayStream(gatewayId) } as const;
    const move = () => moveGateway(ctx, revocations, gatewayId, { type: 'ResumeGateway' }, actor(c));
    return c.json(toAnswer(await counted({ ctx, alarms }, deed, move)), 200);
  });
};
