import type { MiddlewareHandler } from 'hono';
import { NusecError } from '../errors.ts';
import { noSpans, type Spans } from '../services/base/spans.ts';
import type { ApiEnv } from './auth.ts';
import { routeOf } from './metrics.ts';

/** Names every request, so that it can be followed through several systems: the trace of `traceparent` (W3C Trace Context) gets a span of ours,
 *  and `X-Request-Id` comes back as it came, or as the trace. Both are in the log of requests that fail. */

const serverFault = 500;

export const traced =
  (spans: Spans): MiddlewareHandler<ApiEnv> =>
  async (c, next) => {
    // A page of ours asks the API: the request of the browser has its span.
    const span = (c.env.console === undefined ? spans : noSpans).begin('server', c.req.header('traceparent'));
    const { traceId, traceparent } = span;
    const given = c.req.header('X-Request-Id') ?? '';
    const requestId = /^[\w.:-]{1,64}$/.test(given) ? given : traceId;
    c.set('trace', { traceId, requestId });
    await next();
    c.res.headers.set('traceparent', traceparent);
    c.res.headers.set('X-Request-Id', requestId);
    const code = c.error instanceof NusecError ? c.error.code : undefined;
    const { method } = c.req;
    const route = routeOf(c);
    const { status } = c.res;
    const attributes = { 'http.request.method': method, 'http.route': route, 'http.response.status_code': status, 'error.type': code };
    span.end(`${method} ${route}`, attributes, status >= serverFault ? (code ?? 'INTERNAL') : undefined);
  };
