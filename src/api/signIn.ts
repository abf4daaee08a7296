import { createRoute, z } from '@hono/zod-openapi';
import { toBase64url, utf8 } from '../bytes.ts';
import { definedOf } from '../defined.ts';
import { sha256 } from '../digest.ts';
import type { SessionOf } from '../domain/sessions.ts';
import { NusecError } from '../errors.ts';
import type { Context } from '../services/base/context.ts';
import { minuteMs } from '../times.ts';
import { jsonAnswer, jsonBody } from './fields.ts';
import { originOf } from './origin.ts';
import type { Resource } from './resource.ts';
import { openSession, seal, unseal } from './sessions.ts';
import { wrongTokensOf } from './wrongTokens.ts';

/** `nusec login`: the command opens a browser at the console, where its person allows it, and changes the code that it gets for a session. Only the
 *  command that began has the verifier of the challenge (as in PKCE, RFC 7636). */

const codeMs = minuteMs;
const purpose = 'command code';
type Code = SessionOf & { readonly challenge: string };

/** @returns what the browser brings to the command */
export const commandCode = (ctx: Context, of: SessionOf, challenge: string): Promise<string> =>
  seal(ctx, purpose, codeOf(of, challenge), codeMs);

/** No more than this is sealed and handed on. */
const codeOf = ({ name, tokenSha256, identityId, mapped }: SessionOf, challenge: string): Code => ({
  ...{ name, tokenSha256, challenge },
  ...definedOf({ identityId, mapped }),
});

export const signInResource: Resource = (api, services) => {
  const { ctx } = services;
  const route = createRoute({
    method: 'post',
    path: '/v1/sign-in/command',
    summary: 'A session for the command that began the sign-in',
    request: jsonBody(z.strictObject({ code: z.string().max(2048), verifier: z.string().regex(/^[A-Za-z0-9_-]{43,128}$/) })),
    responses: {
      200: jsonAnswer(z.object({ session: z.string(), name: z.string() }), 'the session, which counts as a token for 12 hours'),
    },
  });
  api.openapi(route, async c => {
    const { code, verifier } = c.req.valid('json');
    const found = await wrongTokensOf(services).watch(c.env.incoming.socket.remoteAddress, async () => {
      const sealed = await unseal<Code>(ctx, purpose, code);
      if (sealed === undefined || toBase64url(sha256(utf8(verifier))) !== sealed.challenge)
        throw new NusecError('UNAUTHENTICATED', 'this code is not known, or its minute is over');
      return sealed;
    });
    return c.json({ session: await openSession(ctx, found, originOf(c), 'command'), name: found.name }, 200);
  });
};
