import type { MiddlewareHandler } from 'hono';
import { toHex } from '../bytes.ts';
import { sha256 } from '../digest.ts';
import { NusecError } from '../errors.ts';
import type { ApiEnv } from './auth.ts';
import { routedMethod } from './methods.ts';

/** Conditional requests (RFC 9110 §13): `If-None-Match` saves sending what the caller has, `If-Match` refuses a change of what has changed since it
 *  was looked at. The tag of a thing is `"{revision}-{hash of the answer}"`; If-Match compares the revision alone. */

const hashBytes = 8;

/** Tags every JSON answer to a GET, unless it has a tag already, and answers 304 to those who have it. */
export const tagged: MiddlewareHandler<ApiEnv> = async (c, next) => {
  await next();
  // Nobody keeps what a page of ours asks for.
  if (c.env.console !== undefined) return;
  const isTagged = routedMethod(c) === 'GET' && c.res.status === 200 && /json/.test(c.res.headers.get('Content-Type') ?? '');
  if (!isTagged) return;
  const { revision } = c.var as Partial<ApiEnv['Variables']>;
  const tag = c.res.headers.get('ETag') ?? tagOf(new Uint8Array(await c.res.clone().arrayBuffer()), revision);
  const known = (c.req.header('If-None-Match') ?? '').split(',').map(one => one.trim().replace(/^W\//, ''));
  c.header('ETag', tag);
  if (!known.includes(tag) && !known.includes('*')) return;
  const headers = new Headers(c.res.headers);
  for (const ofBody of ['Content-Type', 'Content-Length']) headers.delete(ofBody);
  c.res = undefined;
  c.res = new Response(null, { status: 304, headers });
};

export function tagOf(body: Uint8Array, revision?: number): string {
  const hash = toHex(sha256(body).slice(0, hashBytes));
  return revision === undefined ? `"${hash}"` : `"${revision}-${hash}"`;
}

/** Revisions that the caller has seen; undefined when any will do. @throws NusecError BAD_REQUEST (not one of our tags) */
export function revisionsIn(header: string | undefined): readonly number[] | undefined {
  if (header === undefined || header.trim() === '*') return undefined;
  const tags = header.split(',').map(one => /^(?:W\/)?"(\d{1,9})(?:-[0-9a-f]+)?"$/.exec(one.trim())?.[1]);
  if (tags.includes(undefined)) throw new NusecError('BAD_REQUEST', 'If-Match takes the ETag of the thing');
  return tags.map(Number);
}
