import { createRoute, z } from '@hono/zod-openapi';
import type { Context, MiddlewareHandler } from 'hono';
import { matchedRoutes } from 'hono/route';
import { Counter, Histogram, Registry } from 'prom-client';
import type { Services } from '../services/start/services.ts';
import type { ApiEnv } from './auth.ts';
import { registerFigures } from './figures.ts';
import { routedMethod } from './methods.ts';
import type { Resource } from './resource.ts';

/** `/metrics`: what this process has done and sees, for Prometheus. */

export type Metrics = { readonly registry: Registry; readonly watch: MiddlewareHandler<ApiEnv> };

/** The path as it is declared: the names of things make no series of their own. */
export const routeOf = (c: Context<ApiEnv>): string =>
  matchedRoutes(c).findLast(one => one.method === routedMethod(c) && !one.path.endsWith('*'))?.path ?? 'none';

/** Seconds: from what an index answers to what a token signs. */
const requestSeconds = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10];

export function createMetrics(services: Services): Metrics {
  const registry = new Registry();
  // Of processes that share a port any may be the one that is asked: without a name their counters would go back and forth as one.
  if (services.processSlot !== undefined) registry.setDefaultLabels({ process: String(services.processSlot) });
  const registers = [registry];
  const requests = new Counter({
    ...{ name: 'nusec_http_requests_total', help: 'Requests that were answered', registers },
    labelNames: ['method', 'route', 'status'] as const,
  });
  const durations = new Histogram({
    ...{ name: 'nusec_http_request_duration_seconds', help: 'Time to the head of the answer', registers },
    labelNames: ['method', 'route'] as const,
    buckets: requestSeconds,
  });
  registerFigures(registry, services);
  return {
    registry,
    async watch(c, next) {
      const startMs = performance.now();
      await next();
      // A page of ours asks the API: the request of the browser counts.
      if (c.env.console !== undefined) return;
      const { method } = c.req;
      const route = routeOf(c);
      requests.inc({ method, route, status: c.res.status });
      durations.observe({ method, route }, (performance.now() - startMs) / 1000);
    },
  };
}

export const metricsResource =
  ({ registry }: Metrics): Resource =>
  (api, services, auth) => {
    const metrics = createRoute({
      method: 'get',
      path: '/metrics',
      summary: 'Figures of this process and of what it sees, for Prometheus; a service account may read them',
      middleware: auth.person('auditor', 'service'),
      responses: { 200: { description: 'Prometheus text format', content: { 'text/plain': { schema: z.string() } } } },
    });
    // A connection that stays would show one process alone, again and again.
    const ends = services.processSlot === undefined ? {} : { Connection: 'close' };
    api.openapi(metrics, async c => c.text(await registry.metrics(), 200, { 'Content-Type': registry.contentType, ...ends }));
  };
