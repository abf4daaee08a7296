import { randomBytes } from 'node:crypto';
import type { MiddlewareHandler } from 'hono';
import type { ApiEnv } from './auth.ts';

/** Names every request, so that it can be followed through several systems: the trace of `traceparent` (W3C Trace Context) gets a span of ours,
 *  and `X-Request-Id` comes back as it came, or as the trace. Both are in the log of requests that fail. */

const zeros = /^0+$/;

export const traced: MiddlewareHandler<ApiEnv> = async (c, next) => {
  const traceId = traceOf(c.req.header('traceparent')) ?? randomBytes(16).toString('hex');
  const given = c.req.header('X-Request-Id') ?? '';
  const requestId = /^[\w.:-]{1,64}$/.test(given) ? given : traceId;
  c.set('trace', { traceId, requestId });
  await next();
  c.res.headers.set('traceparent', `00-${traceId}-${randomBytes(8).toString('hex')}-01`);
  c.res.headers.set('X-Request-Id', requestId);
};

/** The trace id of a header that follows the standard; anything else begins a trace of its own. */
function traceOf(header: string | undefined): string | undefined {
  const [, version = 'ff', traceId = '', parent = ''] =
    /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(?:-.*)?$/.exec(header ?? '') ?? [];
  return version === 'ff' || zeros.test(traceId) || zeros.test(parent) ? undefined : traceId;
}
