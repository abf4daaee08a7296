import { createRoute, z } from '@hono/zod-openapi';
import { gatewayClientId } from '../mqttTopics.ts';
import { livingDevice } from '../services/base/livingDevice.ts';
import { gatewayOf } from '../services/field/gateways.ts';
import type { ClientPresence, PresenceNote } from '../services/field/presence.ts';
import { jsonAnswer, uidField, wholeNumber } from './fields.ts';
import { gatewayField } from './gateways.ts';
import type { Resource } from './resource.ts';
import { within } from './scopes.ts';

/** Who connects over MQTT, and who was refused why: what the server remembers since it started. */

const noteSchema = z
  .object({
    at: z.string(),
    state: z.enum(['connected', 'disconnected', 'refused']),
    address: z.string(),
    reason: z.string().optional().openapi({ description: 'a stable word: AUTH_ERROR, REVOKED, THROTTLED …' }),
    detail: z.string().optional(),
  })
  .openapi('PresenceNote');
const presenceSchema = z
  .object({
    connected: z.boolean(),
    connects: z.number(),
    refusals: z.number(),
    recent: z.array(noteSchema).openapi({ description: 'at most 8, the newest first' }),
  })
  .openapi('Presence');
const refusalSchema = noteSchema.extend({
  clientId: z.string().nullable().openapi({ description: 'null: the certificate was not accepted' }),
});
const addressSchema = z.object({
  address: z.string(),
  connects: z.number(),
  refusals: z.number(),
  lastAt: z.string(),
  lastReason: z.string().optional(),
});

export type PresenceAnswer = z.infer<typeof presenceSchema>;
export type RefusalAnswer = z.infer<typeof refusalSchema>;

const iso = (ms: number): string => new Date(ms).toISOString();
const noteOf = ({ atMs, state, address, reason, detail }: PresenceNote) => ({
  at: iso(atMs),
  state,
  address,
  ...(reason !== undefined && { reason }),
  ...(detail !== undefined && { detail }),
});

const maxListed = 500;
const addressesListed = 50;

export const presenceResource: Resource = (api, { ctx, channel, field }, auth) => {
  const presenceOf = (isConnected: boolean, known: ClientPresence | undefined) => ({
    connected: isConnected,
    connects: known?.connects ?? 0,
    refusals: known?.refusals ?? 0,
    recent: known?.recent.map(noteOf) ?? [],
  });

  const device = createRoute({
    method: 'get',
    path: '/v1/devices/{uid}/presence',
    summary: 'Connects, ends and refusals of a device, with their reasons',
    middleware: auth.personWithin(within(ctx, 'device', 'uid')),
    request: { params: z.object({ uid: uidField }) },
    responses: { 200: jsonAnswer(presenceSchema, 'since the server started') },
  });
  api.openapi(device, async c => {
    const { uid } = c.req.valid('param');
    await livingDevice(ctx, uid);
    return c.json(presenceOf(channel.isConnected(uid), field.presence.ofClient(uid)), 200);
  });

  const gateway = createRoute({
    method: 'get',
    path: '/v1/gateways/{id}/presence',
    summary: 'Connects, ends and refusals of a gateway, with their reasons',
    middleware: auth.person(),
    request: { params: z.object({ id: gatewayField }) },
    responses: { 200: jsonAnswer(presenceSchema, 'since the server started') },
  });
  api.openapi(gateway, async c => {
    const { id } = c.req.valid('param');
    await gatewayOf(ctx, id);
    return c.json(presenceOf(channel.isGatewayConnected(id), field.presence.ofClient(gatewayClientId(id))), 200);
  });

  const refusals = createRoute({
    method: 'get',
    path: '/v1/gateway/refusals',
    summary: 'Connections over MQTT that were refused, the newest first, and the addresses with the most',
    middleware: auth.person('securityOfficer', 'auditor'),
    request: {
      query: z.strictObject({
        address: z.string().max(64).optional(),
        reason: z.string().max(32).optional(),
        limit: wholeNumber(1, maxListed).default(100),
      }),
    },
    responses: {
      200: jsonAnswer(z.object({ refusals: z.array(refusalSchema), addresses: z.array(addressSchema) }), 'since the server started'),
    },
  });
  api.openapi(refusals, c => {
    const { limit, ...filter } = c.req.valid('query');
    const found = field.presence.refusals(limit, filter).map(note => ({ ...noteOf(note), clientId: note.clientId }));
    const addresses = field.presence.addresses(addressesListed).map(({ lastMs, ...rest }) => ({ ...rest, lastAt: iso(lastMs) }));
    return c.json({ refusals: found, addresses }, 200);
  });
};
