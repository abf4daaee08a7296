import { createRoute, z } from '@hono/zod-openapi';
import {
  addAuthenticator,
  type BrowserAnswer,
  confirmationOptions,
  registrationOptions,
} from '../services/administration/authenticators.ts';
import { requireOwnHands } from './auth.ts';
import { newChallenge, openChallenge, placeOf } from './confirmations.ts';
import { jsonAnswer, jsonBody, sha256Field } from './fields.ts';
import { actor, type Resource } from './resource.ts';

/** Authenticators (WebAuthn) with which people confirm what they approve: registered and asked in the browser. */

const maxTextChars = 4096;
const challengeField = z.string().max(maxTextChars).openapi({ description: 'sealed; handed back as it is' });
const optionsSchema = z.object({
  challenge: challengeField,
  options: z.any().openapi({ type: 'object', description: 'for the browser, JSON of WebAuthn' }),
});
const answerField = z.looseObject({ id: z.string().max(maxTextChars) }).openapi({ description: 'what the browser gave, by toJSON()' });
const registering = { target: 'POST /v1/operators/me/authenticators', bodySha256: '' } as const;

export const authenticatorsResource: Resource = (api, { ctx, alarms }, auth) => {
  const begin = createRoute({
    method: 'post',
    path: '/v1/operators/me/authenticators/begin',
    summary: 'What the browser is asked for to register an authenticator of yours',
    middleware: auth.anybody(),
    responses: { 200: jsonAnswer(optionsSchema, 'options') },
  });
  api.openapi(begin, async c => {
    const { name } = c.var.person;
    requireOwnHands(c.var.person);
    const place = placeOf(c);
    const { text, challenge } = await newChallenge(ctx, { name, ...registering, ...place });
    return c.json({ challenge: text, options: await registrationOptions(ctx, name, place, challenge) }, 200);
  });

  const add = createRoute({
    method: 'post',
    path: '/v1/operators/me/authenticators',
    summary:
      'Registers an authenticator: your approvals are confirmed with one from now on; a further one is confirmed with one that you have',
    middleware: auth.anybody(),
    request: jsonBody(
      z.strictObject({
        label: z.string().min(1).max(60).openapi({ example: 'blue key' }),
        challenge: challengeField,
        response: answerField,
      }),
    ),
    responses: { 201: jsonAnswer(z.object({ id: z.string() }), 'registered') },
  });
  api.openapi(add, async c => {
    const { name } = c.var.person;
    requireOwnHands(c.var.person);
    const { label, challenge: text, response } = c.req.valid('json');
    const { challenge, place } = await openChallenge(ctx, text, { name, ...registering });
    return c.json(
      await addAuthenticator({ ctx, alarms }, name, { label, answer: response as BrowserAnswer, challenge, place }, actor(c)),
      201,
    );
  });

  const confirm = createRoute({
    method: 'post',
    path: '/v1/operators/me/confirmations',
    summary: 'What the browser is asked for to confirm one request; it goes into the header Confirmation of that request',
    middleware: auth.anybody(),
    request: jsonBody(
      z.strictObject({
        path: z.string().startsWith('/v1/').max(256),
        bodySha256: sha256Field.openapi({ description: 'of the body as it will be sent' }),
      }),
    ),
    responses: { 200: jsonAnswer(optionsSchema, 'options; for five minutes') },
  });
  api.openapi(confirm, async c => {
    const { name } = c.var.person;
    const { path, bodySha256 } = c.req.valid('json');
    const place = placeOf(c);
    const { text, challenge } = await newChallenge(ctx, { name, target: `POST ${path}`, bodySha256, ...place });
    return c.json({ challenge: text, options: await confirmationOptions(ctx, name, place, challenge) }, 200);
  });
};
