import { createRoute, z } from '@hono/zod-openapi';
import type { WebhookTarget } from '../domain/webhook.ts';
import type { DeadLetterRow } from '../projections/webhooks.ts';
import type { WebhookView } from '../services/integration/webhooks.ts';
import { dryRunQuery } from './dryRun.ts';
import { isEventType, jsonAnswer, jsonBody, maxPageRows, reasonField, wholeNumber } from './fields.ts';
import { actor, type Resource } from './resource.ts';

/** Webhooks: systems that are told of events as they come. What they are told anybody may not know, so an administrator adds them. */

const nameField = z
  .string()
  .regex(/^[a-z][a-z0-9-]{0,39}$/, 'a name is 1 to 40 of a–z, 0–9 and - and begins with a letter')
  .openapi({ example: 'mes' });
const maxUrlChars = 2000;
const maxPatterns = 64;
/** A root and some issuing authorities. */
const maxCaChars = 32 * 1024;
const pattern = z.string().min(1).max(256);
const patternsOf = (one: z.ZodString) => z.array(one).min(1).max(maxPatterns).optional();
const filterFields = {
  types: patternsOf(pattern.superRefine(isEventType)).openapi({ description: 'types of events, with *', example: ['Unit*', 'JobClosed'] }),
  streams: patternsOf(pattern).openapi({ description: 'streams, with *', example: ['job-*'] }),
  actors: patternsOf(pattern).openapi({ description: 'who did it, with *', example: ['operator:*'] }),
};
const urlField = z
  .url({ protocol: /^https$/ })
  .max(maxUrlChars)
  .openapi({ example: 'https://mes.example.com/nusec' });
const wishSchema = z
  .strictObject({
    name: nameField,
    url: urlField,
    ...filterFields,
    caCertificates: z
      .string()
      .max(maxCaChars)
      .regex(/^-----BEGIN CERTIFICATE-----\r?\n/, 'certificates are PEM')
      .optional()
      .openapi({ description: 'PEM of the authorities of the receiver; those of the system when left out' }),
    after: z.number().int().min(0).optional().openapi({ description: 'begin after this position; from now on when left out' }),
  })
  .openapi('WebhookWish');
const webhookSchema = z
  .object({
    name: nameField,
    url: z.string(),
    ...filterFields,
    hasOwnCa: z.boolean(),
    addedBy: z.string(),
    addedAt: z.string(),
    position: z.number().openapi({
      description:
        'how far it is in the log: at the leading process what is delivered, at another one what was recorded a minute ago or when much was skipped',
    }),
    behindEvents: z.number(),
    deadLetters: z.number(),
    formerSecretUntil: z.string().optional().openapi({ description: 'until then the secret before signs too' }),
  })
  .openapi('Webhook');
const secretSchema = webhookSchema.extend({
  secret: z.string().openapi({ description: 'shown this once: whsec_ and base64, for Standard Webhooks', example: 'whsec_…' }),
});
const letterSchema = z
  .object({
    position: z.number(),
    eventId: z.string(),
    eventType: z.string(),
    attempts: z.number(),
    failure: z.string(),
    at: z.string(),
    isOrdered: z.boolean().openapi({ description: 'another attempt is ordered and still to come' }),
  })
  .openapi('DeadLetter');
const outcomeSchema = z
  .object({ isDelivered: z.boolean(), status: z.number().optional(), failure: z.string().optional() })
  .openapi('WebhookTest');
const idsField = z.array(z.uuid()).min(1).max(1000).optional().openapi({ description: 'ids of events; all when left out' });
const countAnswer = (description: string) => ({ 200: jsonAnswer(z.object({ events: z.number() }), description) });
export type WebhookAnswer = z.infer<typeof webhookSchema>;
export type DeadLetterAnswer = z.infer<typeof letterSchema>;

const params = z.object({ name: nameField });
const letterQuery = z.strictObject({
  cursor: wholeNumber(1).optional(),
  limit: wholeNumber(1, maxPageRows).default(100),
});

export const webhooksResource: Resource = (api, { webhooks }, auth) => {
  const administrator = auth.person('administrator');
  const list = createRoute({
    method: 'get',
    path: '/v1/webhooks',
    summary: 'Webhooks, with how far each is',
    middleware: auth.person('auditor'),
    responses: { 200: jsonAnswer(z.object({ webhooks: z.array(webhookSchema) }), 'webhooks') },
  });
  api.openapi(list, async c => c.json({ webhooks: (await webhooks.list()).map(view) }, 200));

  const one = createRoute({
    method: 'get',
    path: '/v1/webhooks/{name}',
    summary: 'One webhook',
    middleware: auth.person('auditor'),
    request: { params },
    responses: { 200: jsonAnswer(webhookSchema, 'the webhook') },
  });
  api.openapi(one, async c => c.json(view(await webhooks.get(c.req.valid('param').name)), 200));

  const add = createRoute({
    method: 'post',
    path: '/v1/webhooks',
    summary: 'Has events sent to a system, signed (Standard Webhooks); the secret is shown this once',
    middleware: administrator,
    request: jsonBody(wishSchema),
    responses: { 201: jsonAnswer(secretSchema, 'added') },
  });
  api.openapi(add, async c => {
    const { after, ...target } = c.req.valid('json');
    const added = await webhooks.add(target as WebhookTarget, after, actor(c));
    return c.json({ ...view(added), secret: added.secret }, 201);
  });

  const rotate = createRoute({
    method: 'post',
    path: '/v1/webhooks/{name}/secret',
    summary: 'Another secret, shown this once; for a day the one before signs too',
    middleware: administrator,
    request: { params },
    responses: { 200: jsonAnswer(secretSchema, 'the webhook') },
  });
  api.openapi(rotate, async c => {
    const rotated = await webhooks.rotate(c.req.valid('param').name, actor(c));
    return c.json({ ...view(rotated), secret: rotated.secret }, 200);
  });

  const test = createRoute({
    method: 'post',
    path: '/v1/webhooks/{name}/test',
    summary: 'Sends one message that is no event, now, and says what the receiver answers',
    middleware: administrator,
    request: { params },
    responses: { 200: jsonAnswer(outcomeSchema, 'what came of it') },
  });
  api.openapi(test, async c => {
    const outcome = await webhooks.test(c.req.valid('param').name);
    const { isDelivered, status } = outcome;
    return c.json({ isDelivered, ...(status !== undefined && { status }), ...(!isDelivered && { failure: outcome.failure }) }, 200);
  });

  const letters = createRoute({
    method: 'get',
    path: '/v1/webhooks/{name}/dead-letters',
    summary: 'Events that could not be delivered, oldest first',
    middleware: auth.person('auditor'),
    request: { params, query: letterQuery },
    responses: { 200: jsonAnswer(z.object({ deadLetters: z.array(letterSchema), next: z.number().optional() }), 'events') },
  });
  api.openapi(letters, async c => {
    const { cursor, limit } = c.req.valid('query');
    const rows = await webhooks.deadLetters(c.req.valid('param').name, cursor, limit);
    const next = rows.length === limit ? rows.at(-1)?.position : undefined;
    return c.json({ deadLetters: rows.map(letterView), ...(next !== undefined && { next }) }, 200);
  });

  const replay = createRoute({
    method: 'post',
    path: '/v1/webhooks/{name}/replay',
    summary: 'Orders one more attempt for events that could not be delivered',
    middleware: administrator,
    request: { params, ...jsonBody(z.strictObject({ events: idsField })) },
    responses: countAnswer('how many are tried again'),
  });
  api.openapi(replay, async c => {
    const events = await webhooks.replay(c.req.valid('param').name, c.req.valid('json').events, actor(c));
    return c.json({ events }, 200);
  });

  const drop = createRoute({
    method: 'post',
    path: '/v1/webhooks/{name}/drop',
    summary: 'Gives up events that could not be delivered: they are in the log, and are not sent any more',
    middleware: administrator,
    request: { params, query: dryRunQuery, ...jsonBody(z.strictObject({ events: idsField, reason: reasonField })) },
    responses: countAnswer('how many were given up'),
  });
  api.openapi(drop, async c => {
    const { events: ids, reason } = c.req.valid('json');
    return c.json({ events: await webhooks.drop(c.req.valid('param').name, ids, reason, actor(c)) }, 200);
  });

  const remove = createRoute({
    method: 'delete',
    path: '/v1/webhooks/{name}',
    summary: 'Nothing more is sent; its dead letters are forgotten',
    middleware: administrator,
    request: { params, query: dryRunQuery },
    responses: { 204: { description: 'removed' } },
  });
  api.openapi(remove, async c => {
    await webhooks.remove(c.req.valid('param').name, actor(c));
    return c.body(null, 204);
  });
};

function view(known: WebhookView): WebhookAnswer {
  const { name, url, types, streams, actors, caCertificates, addedBy, addedAt, position, behindEvents, deadLetters, former } = known;
  return {
    name,
    url,
    ...(types && { types: [...types] }),
    ...(streams && { streams: [...streams] }),
    ...(actors && { actors: [...actors] }),
    hasOwnCa: caCertificates !== undefined,
    ...{ addedBy, addedAt, position, behindEvents, deadLetters },
    ...(former && { formerSecretUntil: former.until }),
  };
}

const letterView = ({ position, event_id, event_type, attempts, failure, at, is_ordered }: DeadLetterRow): DeadLetterAnswer => ({
  ...{ position, eventId: event_id, eventType: event_type, attempts, failure, at },
  isOrdered: is_ordered === 1,
});
