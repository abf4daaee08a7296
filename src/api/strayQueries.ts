import type { Context, Next } from 'hono';
import { NusecError } from '../errors.ts';
import type { ApiEnv } from './auth.ts';
import type { Api } from './resource.ts';

/** A route that takes no parameters refuses those that come: a filter that it does not have must not answer with everything. The others say in their
 *  schema what they take. */

type Declared = { readonly path: string; readonly request?: { readonly query?: unknown } };
type Handler = (c: Context<ApiEnv>, next: Next) => unknown;

/** To be called before the first route is added. */
export function refuseStrayQueries(api: Api): void {
  const add = api.openapi as (route: Declared, handler: Handler, ...more: readonly unknown[]) => unknown;
  const strict = (route: Declared, handler: Handler, ...more: readonly unknown[]) =>
    add(route, route.path.startsWith('/v1/') && route.request?.query === undefined ? withoutQuery(handler) : handler, ...more);
  api.openapi = strict as unknown as Api['openapi'];
}

const withoutQuery =
  (handler: Handler): Handler =>
  (c, next) => {
    const [name] = c.req.url.includes('?') ? Object.keys(c.req.query()) : [];
    if (name !== undefined) throw new NusecError('BAD_REQUEST', `${name}: this request takes no such parameter`);
    return handler(c, next);
  };
