import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { sha256Hex } from '../../src/digest.ts';
import { addOperator } from '../../src/services/administration/operators.ts';
import { covers } from '../support/covers.ts';
import { askAs, exchange } from '../support/http.ts';
import { startTestServer, type TestServer } from '../support/server.ts';

/** Named tokens, service accounts, and what neither of them can do. */

let server: TestServer;
let [paula, mes, scraper] = ['', '', ''];
beforeAll(async () => {
  server = await startTestServer(async ctx => {
    paula = await addOperator(ctx, 'paula', ['productionPlanner', 'auditor'], 'operator:alice');
    mes = await addOperator(ctx, 'mes', ['service', 'productionPlanner'], 'operator:alice');
    scraper = await addOperator(ctx, 'prometheus', ['service'], 'operator:alice');
  });
});
afterAll(() => server?.close());

const call = (token: string, method: string, path: string, body?: object) => askAs(server, token, method, path, body);
const addToken = async (token: string, body: object) => (await call(token, 'POST', '/v1/operators/me/tokens', body)).json;
const listed = async (token: string, who = 'me') =>
  (await call(token, 'GET', `/v1/operators/${who}/credentials`)).json.credentials as { id: string; label: string; lastUsedAt?: string }[];

describe('a named token', () => {
  it('does less than its person, says when it was used, and ends alone', async () => {
    const { id, token } = await addToken(paula, { label: 'report', days: 30, roles: ['auditor'], scope: { lines: ['meter'] } });
    const narrow = String(token);
    expect((await call(narrow, 'GET', '/v1/operators/me')).json).toEqual({
      name: 'paula',
      roles: ['auditor'],
      scope: { lines: ['meter'] },
    });
    expect((await call(narrow, 'POST', '/v1/jobs', { line: 'meter', plannedCount: 1 })).json.code).toBe('FORBIDDEN');
    const [main, report] = await listed(paula);
    expect([main?.id, report]).toMatchObject(['main', { id, label: 'report', lastUsedAt: expect.any(String) }]);
    expect((await call(paula, 'DELETE', `/v1/operators/me/credentials/${id}`)).status).toBe(204);
    expect((await call(narrow, 'GET', '/v1/operators/me')).json.code).toBe('UNAUTHENTICATED');
    expect((await call(paula, 'GET', '/v1/operators/me')).status).toBe(200);
    expect((await call(paula, 'POST', '/v1/operators/me/tokens', { label: 'again', tokenSha256: sha256Hex(narrow) })).json.code).toBe(
      'CONFLICT',
    );
  });

  it('looks after no tokens: a thief makes none and ends none', async () => {
    const { id, token } = await addToken(paula, { label: 'stolen' });
    const stolen = String(token);
    for (const [method, path, body] of [
      ['POST', '/v1/operators/me/tokens', { label: 'more' }],
      ['POST', '/v1/operators/me/token', {}],
      ['DELETE', `/v1/operators/me/credentials/${id}`],
    ] as const)
      expect((await call(stolen, method, path, body)).json.code, path).toBe('FORBIDDEN');
    expect((await call(paula, 'DELETE', '/v1/operators/me/credentials/main')).json.code).toBe('CONFLICT');
    expect((await call(paula, 'DELETE', `/v1/operators/me/credentials/${'0'.repeat(32)}`)).json.code).toBe('NOT_FOUND');
  });

  it('of an administrator changes no people: whoever has stolen it makes no token by way of somebody new', async () => {
    covers('T17');
    const { token } = await addToken(server.alice, { label: 'stolen', roles: ['administrator'] });
    await call(server.alice, 'POST', '/v1/operators', { name: 'aldo', roles: ['auditor'] });
    for (const [method, path, body] of [
      ['POST', '/v1/operators', { name: 'zed', roles: ['auditor'] }],
      ['POST', '/v1/operators/aldo/token', {}],
      ['PUT', '/v1/operators/aldo/roles', { roles: ['lineOperator'] }],
      ['DELETE', '/v1/operators/aldo', undefined],
    ] as const)
      expect((await call(String(token), method, path, body)).json.code, path).toBe('FORBIDDEN');
    expect((await call(String(token), 'GET', '/v1/operators')).status).toBe(200);
  });

  it('has no role that its person has not, and only 20 at a time', async () => {
    expect((await call(paula, 'POST', '/v1/operators/me/tokens', { label: 'up', roles: ['administrator'] })).json.code).toBe('FORBIDDEN');
    expect((await call(paula, 'POST', '/v1/operators/me/tokens', { label: 'long', days: 366 })).status).toBe(400);
    let status = 201;
    for (let n = 0; status === 201 && n < 30; n++) status = (await call(mes, 'POST', '/v1/operators/me/tokens', { label: `n${n}` })).status;
    expect(status).toBe(429);
    expect(await listed(server.alice, 'mes')).toHaveLength(21);
  });

  it('ends by one administrator, and all of them end with a token that two administrators give', async () => {
    const first = await addToken(paula, { label: 'one' });
    await addToken(paula, { label: 'two' });
    expect((await call(server.alice, 'DELETE', `/v1/operators/paula/credentials/${first.id}`)).status).toBe(204);
    expect((await call(String(first.token), 'GET', '/v1/operators/me')).status).toBe(401);
    const reset = await call(server.alice, 'POST', '/v1/operators/paula/token', { tokenSha256: sha256Hex('next') });
    const { id } = reset.json.proposal as { id: string };
    expect((await listed(server.alice, 'paula')).length).toBeGreaterThan(1);
    expect((await call(server.bob, 'POST', `/v1/operator-changes/${id}/approve`, {})).status).toBe(200);
    expect((await listed(server.alice, 'paula')).map(each => each.id)).toEqual(['main']);
    expect((await call('next', 'GET', '/v1/operators/me')).status).toBe(200);
  });
});

describe('a service account', () => {
  it('begins what its roles begin, approves nothing and has no console (I16)', async () => {
    covers('I16');
    await call(server.alice, 'POST', '/v1/lines', { line: 'meter' });
    const { jobId } = (await call(server.alice, 'POST', '/v1/jobs', { line: 'meter', plannedCount: 1 })).json;
    expect((await call(mes, 'POST', '/v1/jobs', { line: 'meter', plannedCount: 1 })).status).toBe(201);
    const release = await call(mes, 'POST', `/v1/jobs/${jobId}/release`, {});
    expect([release.json.code, release.json.detail]).toEqual(['FORBIDDEN', expect.stringContaining('approves nothing')]);
    const signIn = await exchange(`${server.url}/console/sign-in`, {
      ca: server.rootPem,
      method: 'POST',
      headers: { 'Content-Type': 'application/x-www-form-urlencoded' },
      body: `token=${mes}`,
    });
    expect([signIn.status, signIn.headers['set-cookie']]).toEqual([403, undefined]);
  });

  it('that is nothing else reads the figures alone', async () => {
    expect((await call(scraper, 'GET', '/metrics')).status).toBe(200);
    expect((await call(scraper, 'GET', '/v1/devices')).json.code).toBe('FORBIDDEN');
    expect((await call(mes, 'GET', '/v1/operators')).json.code).toBe('FORBIDDEN');
  });

  it('comes by two administrators when it begins what others approve, and stays a service account', async () => {
    const more = { tokenSha256: sha256Hex('erp') };
    const planner = await call(server.alice, 'POST', '/v1/operators', { name: 'erp', roles: ['service', 'securityOfficer'], ...more });
    expect(planner.status).toBe(202);
    expect((await call(server.alice, 'POST', '/v1/operators', { name: 'siem', roles: ['service', 'auditor'] })).status).toBe(201);
    const root = await call(server.alice, 'POST', '/v1/operators', { name: 'root', roles: ['service', 'administrator'] });
    expect(root.json.code).toBe('BAD_REQUEST');
    expect((await call(server.alice, 'PUT', '/v1/operators/siem/roles', { roles: ['auditor'] })).json.code).toBe('CONFLICT');
  });
});
