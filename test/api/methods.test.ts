import { request } from 'node:http';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type Answer, exchange } from '../support/http.ts';
import { startTestServer, type TestServer } from '../support/server.ts';

/** What a method gets that an address does not take, and what HEAD and OPTIONS get, at every port. */

const uid = '00112233445566778899aabbccddeeff';
let server: TestServer;
const ask = (method: string, path: string, token = server.alice): Promise<Answer> =>
  exchange(`${server.url}${path}`, { method, ca: server.rootPem, headers: { Authorization: `Bearer ${token}` } });
const plain = (method: string, path: string) =>
  new Promise<{ status?: number | undefined; allow?: string | undefined; length?: string | undefined }>((resolve, reject) => {
    request({ method, path, port: server.crlPort, host: 'localhost', agent: false }, answer => {
      answer.resume();
      const { allow, 'content-length': length } = answer.headers;
      resolve({ status: answer.statusCode, allow, length });
    })
      .on('error', reject)
      .end();
  });

beforeAll(async () => {
  server = await startTestServer();
});
afterAll(() => server?.close());

const takes = {
  '/v1/devices': 'GET, HEAD, OPTIONS',
  '/v1/jobs': 'GET, HEAD, POST, OPTIONS',
  [`/v1/devices/${uid}/revoke`]: 'POST, OPTIONS',
  '/v1/operators/carol': 'DELETE, OPTIONS',
  '/v1/operators/carol/roles': 'PUT, OPTIONS',
  '/metrics': 'GET, HEAD, OPTIONS',
  '/openapi.json': 'GET, HEAD, OPTIONS',
  '/docs': 'GET, HEAD, OPTIONS',
  '/healthz': 'GET, HEAD, OPTIONS',
  '/readyz': 'GET, HEAD, OPTIONS',
  '/console': 'GET, HEAD, OPTIONS',
  '/console/fleet': 'GET, HEAD, OPTIONS',
  '/console/sign-in': 'GET, HEAD, POST, OPTIONS',
  '/console/sign-out': 'POST, OPTIONS',
  '/.well-known/est/cacerts': 'GET, HEAD, OPTIONS',
  '/.well-known/est/simpleenroll': 'POST, OPTIONS',
  '/.well-known/est/gateway/simplereenroll': 'POST, OPTIONS',
};

it.each(Object.entries(takes))('%s takes %s', async (path, allow) => {
  for (const method of ['GET', 'POST', 'PUT', 'DELETE', 'PATCH', 'TRACE']) {
    if (allow.split(', ').includes(method)) continue;
    const { status, headers, text, json } = await ask(method, path);
    expect([method, status, headers.allow]).toEqual([method, 405, allow]);
    if (path.startsWith('/console')) expect(text).toContain('does not take this method');
    else expect(json).toMatchObject({ code: 'METHOD_NOT_ALLOWED', detail: `${path} takes ${allow}, not ${method}` });
  }
  expect(await ask('OPTIONS', path)).toMatchObject({ status: 204, text: '', headers: { allow } });
});

it('what is not there is not found, whatever the method', async () => {
  for (const method of ['GET', 'POST', 'PATCH', 'OPTIONS'])
    expect(await ask(method, '/v1/nothing')).toMatchObject({ status: 404, json: { code: 'NOT_FOUND' } });
  expect((await ask('HEAD', '/v1/nothing')).status).toBe(404);
  expect((await ask('POST', '/console/nothing')).status).toBe(404);
});

it('HEAD gets what GET gets, but for the body', async () => {
  for (const path of ['/v1/devices', '/v1/operators/me', '/openapi.json', '/healthz', `/v1/devices/${uid}`]) {
    const [head, get] = [await ask('HEAD', path), await ask('GET', path)];
    expect([path, head.status, head.contentType, head.headers.etag, head.text]).toEqual([
      path,
      get.status,
      get.contentType,
      get.headers.etag,
      '',
    ]);
  }
  expect((await ask('HEAD', '/v1/devices', 'nobody')).status).toBe(401);
});

it('HEAD of a stream ends it', async () => {
  // One process has room for a hundred.
  for (let count = 0; count < 101; count++) expect((await ask('HEAD', '/v1/events/stream')).status).toBe(200);
});

it.each([
  ['/healthz', 'GET, HEAD, OPTIONS'],
  ['/crl/ica.crl', 'GET, HEAD, OPTIONS'],
  ['/ocsp', 'GET, HEAD, POST, OPTIONS'],
  ['/ocsp/MA==', 'GET, HEAD, POST, OPTIONS'],
])('the plain port takes %s with %s', async (path, allow) => {
  expect(await plain('DELETE', path)).toMatchObject({ status: 405, allow });
  expect(await plain('OPTIONS', path)).toMatchObject({ status: 204, allow });
  const [head, get] = [await plain('HEAD', path), await plain('GET', path)];
  expect(head).toEqual(get);
});
