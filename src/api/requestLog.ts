import type { MiddlewareHandler } from 'hono';
import { type ErrorCode, NusecError } from '../errors.ts';
import type { Log } from '../services/base/context.ts';
import { minuteMs } from '../times.ts';
import type { ApiEnv } from './auth.ts';

/** One line of the log for each request (level `info`), and for each refused sign-in (level `warn`, so by default): who, from where, what, and how it
 *  ended. Neither the query nor a header is in it. */

const refusals: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'UNAUTHENTICATED',
  'TOKEN_EXPIRED',
  'CLIENT_CERTIFICATE_REFUSED',
  'CHAIN_REFUSED',
  'CERTIFICATE_EXPIRED',
  'CERTIFICATE_REVOKED',
]);
/** Refused sign-ins of a minute that have a line each; the line after them counts the others. */
const maxRefusals = 100;

/** @param now milliseconds since 1970 */
export function requestLog(log: Log, now: () => number): MiddlewareHandler<ApiEnv> {
  let minute = { since: Number.NEGATIVE_INFINITY, lines: 0, left: 0 };
  const refused = (line: object): void => {
    if (now() - minute.since >= minuteMs) {
      if (minute.left > 0) log.warn({ count: minute.left }, 'more sign-ins were refused');
      minute = { since: now(), lines: 0, left: 0 };
    }
    if (minute.lines >= maxRefusals) minute.left++;
    else {
      minute.lines++;
      log.warn(line, 'sign-in refused');
    }
  };
  return async (c, next) => {
    // A page of ours asks the API: the request of the browser has its line.
    if (c.env.console !== undefined) return next();
    const startMs = performance.now();
    await next();
    const { person, machine, trace } = c.var as Partial<ApiEnv['Variables']>;
    const code = c.error instanceof NusecError ? c.error.code : undefined;
    const line = {
      method: c.req.method,
      path: c.req.path,
      status: c.res.status,
      ms: Math.round(performance.now() - startMs),
      address: c.env.incoming?.socket?.remoteAddress,
      ...(person !== undefined && { person: person.name }),
      ...(machine !== undefined && { machine: `${machine.kind}:${machine.id}` }),
      ...(code !== undefined && { code }),
      ...trace,
    };
    log.info(line, 'request');
    // Who brings nothing is not refused: a browser asks like that before the sign-in.
    const hasTried = code !== 'UNAUTHENTICATED' || c.req.header('Authorization') !== undefined;
    if (code !== undefined && refusals.has(code) && hasTried) refused(line);
  };
}
