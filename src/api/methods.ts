import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Context, MiddlewareHandler } from 'hono';
import type { ApiEnv } from './auth.ts';
import type { Api } from './resource.ts';

/** Which methods an address takes (RFC 9110 §9.1): whoever asks with another one gets 405 with `Allow`, and OPTIONS gets `Allow` alone. */

const methods = ['GET', 'POST', 'PUT', 'DELETE'];

/** As `Allow` has it; undefined when there is nothing at the address. HEAD comes with GET. */
export function allowedAt(api: Api, path: string): string | undefined {
  // What is for all methods is middleware.
  const taken = methods.filter(method => api.router.match(method, path)[0].some(([[, route]]) => route.method === method));
  return taken.length === 0 ? undefined : allowOf(taken);
}

/** `GET`, `POST` → `GET, HEAD, POST, OPTIONS` */
const allowOf = (taken: readonly string[]): string =>
  [...taken.flatMap(method => (method === 'GET' ? ['GET', 'HEAD'] : [method])), 'OPTIONS'].join(', ');

/** Answers OPTIONS, and ends what was to follow the head of an answer that nobody gets: a stream of events would go on. */
export const answerHeads =
  (api: Api): MiddlewareHandler<ApiEnv> =>
  async (c, next) => {
    const allow = c.req.method === 'OPTIONS' ? allowedAt(api, c.req.path) : undefined;
    if (allow !== undefined) return c.body(null, 204, { Allow: allow });
    await next();
    if (c.req.method === 'HEAD') await c.res.body?.cancel();
    return undefined;
  };

/** The method by which a request finds its route: HEAD is answered by what answers GET. */
export const routedMethod = (c: Context<ApiEnv>): string => (c.req.method === 'HEAD' ? 'GET' : c.req.method);

/** For what is served without routes. @returns false when the request is answered: it asked what is taken here, or came with another method */
export function isTaken({ method = '' }: IncomingMessage, response: ServerResponse, ...taken: readonly string[]): boolean {
  if (taken.includes(method) || (method === 'HEAD' && taken.includes('GET'))) return true;
  response.writeHead(method === 'OPTIONS' ? 204 : 405, { Allow: allowOf(taken) }).end();
  return false;
}
