import { hash } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { isBase64 } from '../bytes.ts';
import { maxOcspRequestBytes } from '../pki/ocspRequest.ts';
import type { Ocsp, OcspReply } from '../services/revocation/ocsp.ts';
import { isTaken } from './methods.ts';

/** OCSP over HTTP (RFC 6960 appendix A): `POST /ocsp` with the request as body, `GET /ocsp/{base64 of the request, URL-encoded}`.
 *  Refusals are OCSP responses too, so the status is 200 but for a body that is too large. */

/** @returns whether the path is one of these */
export function serveOcsp(ocsp: Ocsp, request: IncomingMessage, response: ServerResponse): boolean {
  const url = request.url ?? '';
  if (url !== '/ocsp' && !url.startsWith('/ocsp/')) return false;
  if (!isTaken(request, response, 'GET', 'POST')) return true;
  if (request.method === 'POST') void readBody(request).then(body => (body ? answer(ocsp, body, response, false) : tooLarge(response)));
  else void answer(ocsp, requestInPath(url), response, true, request.headers['if-none-match']);
  return true;
}

async function answer(ocsp: Ocsp, request: Uint8Array, response: ServerResponse, isGet: boolean, known?: string): Promise<void> {
  const reply = await ocsp.respond(request);
  const caching = isGet && reply.maxAgeSeconds > 0 ? cachingOf(reply) : { 'Cache-Control': 'no-store' };
  if ('ETag' in caching && isKnown(known, caching.ETag)) return void response.writeHead(304, caching).end();
  response.writeHead(200, { 'Content-Type': 'application/ocsp-response', 'Content-Length': reply.der.length, ...caching });
  response.end(reply.der);
}

/** If-None-Match (RFC 9110 §13.1.2): a list of tags, or any. */
const isKnown = (known: string | undefined, tag: string): boolean =>
  known?.split(',').some(one => one.trim().replace(/^W\//, '') === tag || one.trim() === '*') ?? false;

/** What lets caches keep an answer (RFC 5019 §6.2). */
function cachingOf({ der, thisUpdate, maxAgeSeconds }: OcspReply) {
  return {
    'Cache-Control': `max-age=${maxAgeSeconds}, public, no-transform, must-revalidate`,
    Expires: new Date(Date.now() + maxAgeSeconds * 1000).toUTCString(),
    'Last-Modified': new Date(thisUpdate).toUTCString(),
    ETag: `"${hash('sha1', der)}"`,
  };
}

/** What does not decode is an empty request, which is answered as malformed. */
function requestInPath(url: string): Uint8Array {
  const encoded = url.slice('/ocsp/'.length);
  if (encoded.length > maxOcspRequestBytes * 2) return new Uint8Array();
  try {
    const base64 = decodeURIComponent(encoded);
    return isBase64(base64) ? new Uint8Array(Buffer.from(base64, 'base64')) : new Uint8Array();
  } catch {
    return new Uint8Array();
  }
}

/** @returns undefined for a body over the limit or one that breaks off */
async function readBody(request: IncomingMessage): Promise<Uint8Array | undefined> {
  const parts: Buffer[] = [];
  let bytes = 0;
  try {
    for await (const part of request as AsyncIterable<Buffer>) {
      bytes += part.length;
      if (bytes > maxOcspRequestBytes) return undefined;
      parts.push(part);
    }
  } catch {
    return undefined;
  }
  return new Uint8Array(Buffer.concat(parts));
}

function tooLarge(response: ServerResponse): void {
  response.writeHead(413, { Connection: 'close' }).end();
}
