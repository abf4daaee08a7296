import { OpenAPIHono } from '@hono/zod-openapi';
import type { Context as HonoContext, MiddlewareHandler } from 'hono';
import { bodyLimit } from 'hono/body-limit';
import { compress } from 'hono/compress';
import { utf8 } from '../bytes.ts';
import { NusecError } from '../errors.ts';
import { storeError } from '../eventstore/storeError.ts';
import type { Services } from '../services/start/services.ts';
import type { ApiEnv, Auth } from './auth.ts';
import { tagged, tagOf } from './conditional.ts';
import { errorPage, isConsole } from './console/errors.ts';
import { offerDryRuns } from './dryRun.ts';
import { allowedAt, answerHeads } from './methods.ts';
import { createMetrics, metricsResource } from './metrics.ts';
import { type Document, describeApi, noteRights } from './openapi/describe.ts';
import { serveDocs } from './openapi/page.ts';
import { problemResponse } from './problem.ts';
import { rememberingRouter } from './rememberingRouter.ts';
import { requestLog } from './requestLog.ts';
import type { Api, Resource } from './resource.ts';
import { refuseStrayQueries } from './strayQueries.ts';
import { traced } from './tracing.ts';

/** The HTTPS API: one file per resource, all with the same authentication, limits and problem documents. */

const maxBodyBytes = 256 * 1024;
/** Firmware, bills of materials, vulnerability notes and lists of values only. */
const maxFirmwareBytes = 8 * 1024 * 1024;
const largePath =
  /^\/(v1\/(releases|releases\/[0-9a-f]{32}\/sbom|vulnerabilities|programmers\/[0-9a-f]{32}\/firmware|series\/[a-z][a-z0-9.-]{0,39}\/list)|console\/do\/(upload-release|open-vulnerability|attach-sbom\/[0-9a-f]{32}|attach-uids\/[0-9a-f]{32}|add-list\/[a-z][a-z0-9.-]{0,39}))$/;
/** Read as it streams in, with limits of its own. */
const streamedPath = /^\/v1\/jobs\/[0-9a-f]{32}\/uids$/;

export function createApi(services: Services, auth: Auth, resources: readonly Resource[]): Api {
  const api: Api = new OpenAPIHono<ApiEnv>({
    router: rememberingRouter(),
    defaultHook: result => {
      if (result.success) return;
      const issue = result.error.issues[0];
      throw new NusecError('BAD_REQUEST', `${issue?.path.join('.') || 'request'}: ${issue?.message ?? 'not valid'}`);
    },
  });
  const small = limitBody(maxBodyBytes);
  const large = limitBody(maxFirmwareBytes);
  const compressed = compress();
  const metrics = createMetrics(services);
  api.use(metrics.watch);
  api.use(traced(services.spans));
  api.use((c, next) => (c.req.header('Accept-Encoding') === undefined ? next() : compressed(c, next)));
  api.use(answerHeads(api));
  api.use(requestLog(services.ctx.log, () => services.ctx.clock().getTime()));
  // Answers are for the one who asked, and are what they say they are.
  api.use(async (c, next) => {
    await next();
    // `c.header` would copy the answer, and its body into a stream, for each of them.
    c.res.headers.set('X-Content-Type-Options', 'nosniff');
    // A stream of events says `no-cache` of itself, which lets it be stored.
    const isStream = c.res.headers.get('Content-Type')?.startsWith('text/event-stream');
    if (isStream || !c.res.headers.has('Cache-Control')) c.res.headers.set('Cache-Control', 'no-store');
  });
  api.use(tagged);
  api.use((c, next) => {
    if (c.req.method === 'PUT' && streamedPath.test(c.req.path)) return next();
    return largePath.test(c.req.path) ? large(c, next) : small(c, next);
  });
  const refusal = (error: Error, c: HonoContext<ApiEnv>): Response | Promise<Response> => {
    const known = badBody(error) ?? ofDisk(error) ?? error;
    const { trace } = c.var as Partial<ApiEnv['Variables']>;
    const request = { method: c.req.method, path: c.req.path, ...trace };
    if (!(error instanceof NusecError) && badBody(error) === undefined)
      services.ctx.log.error({ error: error.message, ...request }, 'request failed');
    return isConsole(c) ? errorPage(c, known) : problemResponse(c, known);
  };
  api.onError(refusal);
  // Answered, not thrown: what is thrown here passes over the headers that the console adds.
  api.notFound(c => {
    const allow = allowedAt(api, c.req.path);
    if (allow === undefined) return refusal(new NusecError('NOT_FOUND', `there is no ${c.req.path}`), c);
    c.header('Allow', allow);
    return refusal(new NusecError('METHOD_NOT_ALLOWED', `${c.req.path} takes ${allow}, not ${c.req.method}`), c);
  });
  refuseStrayQueries(api);
  offerDryRuns(api);
  const rights = noteRights(api);
  for (const resource of [...resources, metricsResource(metrics)]) resource(api, services, auth);
  // Public, and as much work as 28 health checks: it is made once.
  let document: Document | undefined;
  let made: { readonly text: string; readonly tag: string } | undefined;
  const describe = (): Document => {
    document ??= describeApi(api, rights);
    return document;
  };
  api.get('/openapi.json', c => {
    if (made === undefined) {
      const text = JSON.stringify(describe());
      made = { text, tag: tagOf(utf8(text)) };
    }
    return c.body(made.text, 200, { 'Content-Type': 'application/json', ETag: made.tag });
  });
  serveDocs(api, describe);
  // The router is built with the first path that it is asked for, which takes as long as a hundred requests: not while somebody waits.
  api.router.match('GET', '/healthz');
  return api;
}

/** Hono's own limit looks at the body, which makes a stream of it. A length that is declared needs no look, and machines declare it. */
function limitBody(maxSize: number): MiddlewareHandler<ApiEnv> {
  const onError = (): never => {
    throw new NusecError('BODY_TOO_LARGE', 'the body is larger than this endpoint takes');
  };
  const counted = bodyLimit({ maxSize, onError });
  return (c, next) => {
    if (c.req.method === 'GET' || c.req.method === 'HEAD') return next();
    const declared = c.req.header('Content-Length');
    if (declared === undefined || c.req.header('Transfer-Encoding') !== undefined) return counted(c, next);
    return Number(declared) > maxSize ? onError() : next();
  };
}

/** What SQLite or the system says of the disk, from whichever file of the data folder. */
function ofDisk(error: unknown): NusecError | undefined {
  const { code } = error as { code?: unknown };
  const isOfDisk = typeof code === 'string' && /^(SQLITE_(FULL|IOERR|READONLY|CORRUPT|NOTADB)|ENOSPC|EDQUOT|EROFS)/.test(code);
  return isOfDisk ? storeError(error, 'the request was not done') : undefined;
}

/** Hono reports a body that is not JSON as an HTTPException 400 or a SyntaxError, another media type as 415. */
function badBody(error: unknown): NusecError | undefined {
  const status = (error as { status?: unknown }).status;
  if (status === 415) return new NusecError('MEDIA_TYPE', 'the body is to be application/json');
  if (error instanceof SyntaxError || status === 400) return new NusecError('BAD_REQUEST', 'the body is not valid JSON');
  return undefined;
}
