import { createRoute, z } from '@hono/zod-openapi';
import type { Context as HonoContext } from 'hono';
import { toBase64url } from '../bytes.ts';
import { NusecError } from '../errors.ts';
import { kekNonceBytes } from '../production/kek.ts';
import type { Machine } from '../services/identity/machines.ts';
import { agreeKek, confirmKek } from '../services/production/kek.ts';
import { checkInProgrammer } from '../services/production/programmers.ts';
import type { ApiEnv } from './auth.ts';
import { bytesField, jsonAnswer, jsonBody, uidField, wholeNumber } from './fields.ts';
import { actor, type Resource } from './resource.ts';

/** What a programmer asks for about itself, over mTLS with its own certificate (R27–R34, R70, R71). */

const params = z.object({ uid: uidField });

/** A programmer speaks for itself only. @throws NusecError FORBIDDEN */
function self(c: HonoContext<ApiEnv>): Machine {
  const { machine } = c.var;
  if (machine.id !== c.req.param('uid')) throw new NusecError('FORBIDDEN', 'the certificate is of another programmer');
  return machine;
}

export const programmerSelfResource: Resource = (api, { ctx }, auth) => {
  const machine = auth.machine('programmer');
  const kekSchema = z.object({ publicKey: z.string(), nonce: z.string(), mac: z.string(), epoch: z.number() });
  const agree = createRoute({
    method: 'post',
    path: '/v1/programmers/{uid}/kek',
    summary: 'Begins the agreement on AES_NuLink3',
    middleware: machine,
    request: { params, ...jsonBody(z.strictObject({ publicKey: bytesField(65, 65), nonce: bytesField(kekNonceBytes, kekNonceBytes) })) },
    responses: { 200: jsonAnswer(kekSchema, 'the server’s half') },
  });
  const confirm = createRoute({
    method: 'put',
    path: '/v1/programmers/{uid}/kek/{epoch}',
    summary: 'Shows that the programmer has the same key',
    middleware: machine,
    request: {
      params: params.extend({ epoch: wholeNumber(1, 0xffff_ffff) }),
      ...jsonBody(z.strictObject({ mac: bytesField(32, 32) })),
    },
    responses: { 200: jsonAnswer(z.object({ epoch: z.number() }), 'agreed') },
  });
  const checkIn = createRoute({
    method: 'post',
    path: '/v1/programmers/{uid}/check-in',
    summary: 'First call from the contract manufacturer',
    middleware: machine,
    request: { params },
    responses: { 200: jsonAnswer(z.object({ status: z.string() }), 'the programmer’s status') },
  });
  api.openapi(agree, async c => {
    const answer = await agreeKek(ctx, self(c), c.req.valid('json'));
    const { epoch } = answer;
    return c.json({ publicKey: toBase64url(answer.publicKey), nonce: toBase64url(answer.nonce), mac: toBase64url(answer.mac), epoch }, 200);
  });
  api.openapi(confirm, async c => {
    const { epoch } = c.req.valid('param');
    await confirmKek(ctx, self(c), epoch, c.req.valid('json').mac, actor(c));
    return c.json({ epoch }, 200);
  });
  api.openapi(checkIn, async c => c.json({ status: (await checkInProgrammer(ctx, self(c).id, actor(c))).status }, 200));
};
