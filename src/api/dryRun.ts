import { z } from '@hono/zod-openapi';
import type { Context, Next } from 'hono';
import { inDryRun } from '../eventstore/dryRun.ts';
import type { ApiEnv } from './auth.ts';
import type { Api } from './resource.ts';

/** `?dryRun=true`: whether a change would be made, judged like the change itself, and nothing is changed. A server that does not know it refuses
 *  the parameter, and so does a request that has no dry run. */

/** The query of a route that has a dry run. */
export const dryRunQuery = z.strictObject({
  dryRun: z
    .enum(['true', 'false'])
    .optional()
    .openapi({ description: '`true`: nothing is changed; refused as the change would be, or answered with what would be recorded' }),
});
/** Its answer has a type of its own, beside that of the change. */
export const dryRunType = 'application/vnd.nusec.dry-run+json';
export const dryRunSchema = {
  type: 'object',
  description: 'What a change would record first; nothing when it is so already',
  required: ['dryRun', 'events'],
  properties: {
    dryRun: { const: true },
    events: {
      type: 'array',
      items: { type: 'object', required: ['stream', 'type'], properties: { stream: { type: 'string' }, type: { type: 'string' } } },
    },
  },
};

type Declared = { readonly request?: { readonly query?: unknown } };
type Handler = (c: Context<ApiEnv>, next: Next) => Promise<unknown>;

/** To be called before the first route is added. */
export function offerDryRuns(api: Api): void {
  const add = api.openapi as (route: Declared, handler: Handler, ...more: readonly unknown[]) => unknown;
  const offering = (route: Declared, handler: Handler, ...more: readonly unknown[]) =>
    add(route, route.request?.query === dryRunQuery ? withDryRun(handler) : handler, ...more);
  api.openapi = offering as unknown as Api['openapi'];
}

const withDryRun =
  (handler: Handler): Handler =>
  async (c, next) => {
    if (c.req.query('dryRun') !== 'true') return handler(c, next);
    const events = await inDryRun(() => handler(c, next));
    return c.body(JSON.stringify({ dryRun: true, events }), 200, { 'Content-Type': dryRunType });
  };
