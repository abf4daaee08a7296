import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { sha256Hex } from '../../src/digest.ts';
import { operators, operatorsStream } from '../../src/domain/operators.ts';
import { execute } from '../../src/services/base/context.ts';
import { createTestPki } from '../gateway/certificates.ts';
import { covers } from '../support/covers.ts';
import { exchange } from '../support/http.ts';
import { startTestServer, type TestServer } from '../support/server.ts';

/** What the HTTPS edge does with requests that are not as they should be: a stable code, nothing lost, the process alive. */

let server: TestServer;
const expiredToken = 'expired-token';

beforeAll(async () => {
  server = await startTestServer(async ctx => {
    const tokenSha256 = sha256Hex(expiredToken);
    const old = { name: 'old', roles: ['auditor'] as const, tokenSha256, expiresAt: '2001-01-01T00:00:00.000Z' };
    await execute(ctx, operators, operatorsStream, { type: 'AddOperator', ...old }, 'system:test');
  });
});
afterAll(() => server?.close());

const as = (token: string) => ({ Authorization: `Bearer ${token}` });
const post = (
  path: string,
  body: string | Uint8Array,
  headers: Record<string, string> = { ...as(server.alice), 'Content-Type': 'application/json' },
) => exchange(`${server.url}${path}`, { method: 'POST', ca: server.rootPem, headers, body });

describe('what an address has that is not known', () => {
  it.each([
    ['/v1/lines?status=ACTIVE', 'status: this request takes no such parameter'],
    ['/v1/devices/counts?line=meter', 'line: this request takes no such parameter'],
    ['/v1/devices?stauts=STOCK', 'Unrecognized key: "stauts"'],
    ['/v1/devices?limit=1e2', 'limit: a whole number in plain digits'],
    ['/v1/devices?limit=0x10', 'limit: a whole number in plain digits'],
    ['/v1/devices?limit=%2010', 'limit: a whole number in plain digits'],
    ['/v1/devices?limit=', 'limit: a whole number in plain digits'],
    ['/v1/devices?limit=5&limit=6', 'limit: a whole number in plain digits'],
    ['/v1/jobs?cursor=zzz', 'cursor: an id is 32 lower-case hex digits'],
    ['/v1/devices?cursor=zzz', 'cursor: it is not that of a page in this order'],
    [`/v1/devices?sort=changed&cursor=${'ab'.repeat(16)}`, 'cursor: it is not that of a page in this order'],
    ['/v1/certificates?endsBefore=tomorrow', 'endsBefore: a day or a time, such as 2027-01-31'],
    ['/v1/events/stream?after=999999', 'none at position 999999'],
    ['/v1/events/stream?type=Bogus', 'no event has the type Bogus: types read CertificateRevoked'],
    [
      '/v1/log/entries?type=Unit*&type=UnitComitted',
      'no event has the type UnitComitted: there are UnitCommitted, UnitReserved, UnitVoided',
    ],
    ['/v1/log/export?type=*x', 'no event has the type *x'],
  ])('%s is refused', async (path, detail) => {
    const { status, json } = await exchange(`${server.url}${path}`, { ca: server.rootPem, headers: as(server.alice) });
    expect([status, json]).toEqual([400, expect.objectContaining({ code: 'BAD_REQUEST', detail: expect.stringContaining(detail) })]);
  });

  it('is left to those who ask for health', async () => {
    expect((await exchange(`${server.url}/healthz?at=1`, { ca: server.rootPem })).status).toBe(200);
  });
});

describe('requests of people', () => {
  it.each([
    ['no token', {}, 401, 'UNAUTHENTICATED'],
    ['an unknown token', as('nobody'), 401, 'UNAUTHENTICATED'],
    ['an expired token', as(expiredToken), 401, 'TOKEN_EXPIRED'],
    ['a token with forbidden characters', { Authorization: 'Bearer a b' }, 401, 'UNAUTHENTICATED'],
  ])('refuses %s', async (_what, headers, status, code) => {
    const answer = await exchange(`${server.url}/v1/operators`, { ca: server.rootPem, headers });
    expect(answer.status).toBe(status);
    expect(answer.contentType).toBe('application/problem+json');
    expect(answer.json).toMatchObject({ code, type: `urn:nusec:problem:${code}`, status });
    expect(answer.headers['www-authenticate']).toBe('Bearer');
  });

  it('refuses a person without the role', async () => {
    const added = await post('/v1/operators', JSON.stringify({ name: 'carol', roles: ['auditor'] }));
    expect(added.status).toBe(201);
    const carol = { ca: server.rootPem, headers: as(String(added.json.token)) };
    const answer = await exchange(`${server.url}/v1/operators`, { ...carol, body: JSON.stringify({ name: 'dave', roles: ['auditor'] }) });
    expect(answer.json).toMatchObject({ code: 'FORBIDDEN', status: 403 });
  });

  it.each([
    ['not JSON', '{"name":'],
    ['an array instead of an object', '[]'],
    ['an unknown field', '{"name":"x","roles":["auditor"],"admin":true}'],
    ['a name with control characters', '{"name":"a\\u0000b","roles":["auditor"]}'],
    ['an unknown role', '{"name":"dave","roles":["root"]}'],
    ['no body', ''],
  ])('refuses %s with BAD_REQUEST', async (_what, body) => {
    expect((await post('/v1/operators', body)).json).toMatchObject({ code: 'BAD_REQUEST', status: 400 });
  });

  it.each(['text/plain', 'application/x-www-form-urlencoded', 'application/octet-stream', ''])(
    'refuses JSON that says it is "%s"',
    async type => {
      const answer = await post('/v1/operators', '{"name":"fay","roles":["auditor"]}', { ...as(server.alice), 'Content-Type': type });
      expect(answer.json).toMatchObject({ code: 'MEDIA_TYPE', status: 415 });
    },
  );

  it('refuses a body over the limit and stays alive', async () => {
    const answer = await post('/v1/operators', Buffer.alloc(300 * 1024, 0x20));
    expect(answer.json).toMatchObject({ code: 'BODY_TOO_LARGE', status: 413 });
    expect((await exchange(`${server.url}/readyz`, { ca: server.rootPem })).text).toBe('ready');
  });

  it('says NOT_FOUND for an unknown path and tells nothing else', async () => {
    const answer = await exchange(`${server.url}/v1/nothing`, { ca: server.rootPem, headers: as(server.alice) });
    expect(answer.json).toMatchObject({ code: 'NOT_FOUND', status: 404 });
  });

  it('shows a token once and never again, in no answer and no event', async () => {
    const added = await post('/v1/operators', JSON.stringify({ name: 'erin', roles: ['auditor'] }));
    const token = String(added.json.token);
    const list = await exchange(`${server.url}/v1/operators`, { ca: server.rootPem, headers: as(server.alice) });
    expect(list.text).toContain('erin');
    expect(list.text).not.toContain(token);
    expect(list.text).not.toContain('Sha256');
  });
});

describe('requests of machines', () => {
  const path = '/v1/programmers/00112233445566778899aabbccddeeff/check-in';

  it('refuses a machine endpoint without a client certificate', async () => {
    covers('RULE-9');
    expect((await post(path, '{}', { 'Content-Type': 'application/json' })).json).toMatchObject({ code: 'CLIENT_CERTIFICATE_REQUIRED' });
  });

  it('refuses a certificate of a foreign authority', async () => {
    const foreign = createTestPki();
    const { cert, key } = foreign.device('00112233445566778899aabbccddeeff');
    const answer = await exchange(`${server.url}${path}`, {
      method: 'POST',
      ca: server.rootPem,
      cert,
      key,
      headers: { 'Content-Type': 'application/json' },
      body: '{}',
    });
    expect(answer.status).toBe(403);
    expect(['CHAIN_REFUSED', 'CLIENT_CERTIFICATE_REFUSED']).toContain(answer.json.code);
  });

  it('does not take a bearer token where a machine is asked for', async () => {
    covers('RULE-9');
    expect((await post(path, '{}')).json).toMatchObject({ code: 'CLIENT_CERTIFICATE_REQUIRED' });
  });
});

it('serves TLS 1.3 only and a chain that ends in the root', async () => {
  await expect(exchange(`${server.url}/healthz`, { ca: server.rootPem, maxVersion: 'TLSv1.2' })).rejects.toThrow();
  await expect(exchange(`${server.url}/healthz`, {})).rejects.toThrow(/certificate|issuer/i);
  expect((await exchange(`${server.url}/healthz`, { ca: server.rootPem })).text).toBe('ok');
});

it('documents every route under /openapi.json', async () => {
  const { json } = await exchange(`${server.url}/openapi.json`, { ca: server.rootPem });
  expect(json.openapi).toBe('3.1.0');
  expect(Object.keys(json.paths as object)).toEqual(expect.arrayContaining(['/healthz', '/v1/operators', '/v1/trust-bundle']));
});

it('keeps its figures for those with a token', async () => {
  expect((await exchange(`${server.url}/metrics`, { ca: server.rootPem })).json).toMatchObject({ code: 'UNAUTHENTICATED' });
  const { text } = await exchange(`${server.url}/metrics`, { ca: server.rootPem, headers: as(server.alice) });
  expect(text).toMatch(/^nusec_events_total \d+$/m);
});
