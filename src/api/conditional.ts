import type { MiddlewareHandler } from 'hono';
import { toHex } from '../bytes.ts';
import { sha256 } from '../digest.ts';
import { NusecError } from '../errors.ts';
import type { ApiEnv } from './auth.ts';

/** Conditional requests (RFC 9110 §13): `If-None-Match` saves sending what the caller has, `If-Match` refuses a change of what has changed since it
 *  was looked at. The tag of a thing is `"{revision}-{hash of the answer}"`; If-Match compares the revision alone. */

const hashBytes = 8;

/** Tags every JSON answer to a GET, and answers 304 to those who have it. */
export const tagged: MiddlewareHandler<ApiEnv> = async (c, next) => {
  await next();
  const isTagged = c.req.method === 'GET' && c.res.status === 200 && /json/.test(c.res.headers.get('Content-Type') ?? '');
  if (!isTagged || c.res.headers.has('ETag')) return;
  const hash = toHex(sha256(new Uint8Array(await c.res.clone().arrayBuffer())).slice(0, hashBytes));
  const revision = (c.var as Partial<ApiEnv['Variables']>).revision;
  const tag = revision === undefined ? `"${hash}"` : `"${revision}-${hash}"`;
  const known = (c.req.header('If-None-Match') ?? '').split(',').map(one => one.trim().replace(/^W\//, ''));
  c.header('ETag', tag);
  if (!known.includes(tag) && !known.includes('*')) return;
  const headers = new Headers(c.res.headers);
  for (const ofBody of ['Content-Type', 'Content-Length']) headers.delete(ofBody);
  c.res = undefined;
  c.res = new Response(null, { status: 304, headers });
};

/** Revisions that the caller has seen; undefined when any will do. @throws NusecError BAD_REQUEST (not one of our tags) */
export function revisionsIn(header: string | undefined): readonly number[] | undefined {
  if (header === undefined || header.trim() === '*') return undefined;
  const tags = header.split(',').map(one => /^(?:W\/)?"(\d{1,9})(?:-[0-9a-f]+)?"$/.exec(one.trim())?.[1]);
  if (tags.includes(undefined)) throw new NusecError('BAD_REQUEST', 'If-Match takes the ETag of the thing');
  return tags.map(Number);
}
