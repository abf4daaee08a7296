import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from 'node:http';
import { NusecError } from '../errors.ts';
import type { Context } from '../services/base/context.ts';
import { currentCrl } from '../services/revocation/crl.ts';
import { isTaken } from './methods.ts';

/** `GET /crl/{icaId}.crl` and `/delta/{icaId}.crl`, `/crl/{icaId}/{n}.crl` from the second partition on (RFC 5280 §4.2.1.13, RFC 2585 §3: application/pkix-crl). */

const path = /^\/(crl|delta)\/([a-z0-9][a-z0-9._-]{0,127}(?:\/[1-9][0-9]{0,5})?)\.crl$/;
/** A new list is there seconds after a revocation; caches may be this much behind. */
const cacheSeconds = 30;

/** @returns whether the path is one of these */
export function serveCrl(ctx: Context, request: IncomingMessage, response: ServerResponse): boolean {
  const [, list, listId] = path.exec(request.url ?? '') ?? [];
  if (list === undefined || listId === undefined) return false;
  if (!isTaken(request, response, 'GET')) return true;
  currentCrl(ctx, listId).then(
    crl => {
      const der = list === 'crl' ? crl.full : crl.deltaList;
      const tag = `"${list}-${crl.number}"`;
      const headers = { ETag: tag, 'Cache-Control': `max-age=${cacheSeconds}`, 'Last-Modified': new Date(crl.thisUpdate).toUTCString() };
      if (isKnown(request.headers, tag, crl.thisUpdate)) return response.writeHead(304, headers).end();
      response.writeHead(200, { ...headers, 'Content-Type': 'application/pkix-crl', 'Content-Length': der.length });
      return response.end(der);
    },
    error => response.writeHead(error instanceof NusecError && error.code === 'NOT_FOUND' ? 404 : 503).end(),
  );
  return true;
}

/** Whether the caller has this list: one of its tags, compared weakly, or without tags its date (RFC 9110 §13.1.2, §13.1.3). */
function isKnown({ 'if-none-match': tags, 'if-modified-since': since }: IncomingHttpHeaders, tag: string, thisUpdate: string): boolean {
  if (tags !== undefined) return tags.split(',').some(each => each.trim() === '*' || each.trim().replace(/^W\//, '') === tag);
  const wholeSeconds = Math.floor(Date.parse(thisUpdate) / 1000) * 1000;
  return since !== undefined && wholeSeconds <= Date.parse(since);
}
