import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { sha256Hex } from '../../src/digest.ts';
import { covers } from '../support/covers.ts';
import { exchange } from '../support/http.ts';
import { startTestServer, type TestServer } from '../support/server.ts';

/** One administrator who wants two pairs of eyes: makes people, takes over names, changes tokens and roles. */

let server: TestServer;
beforeAll(async () => {
  server = await startTestServer();
});
afterAll(() => server?.close());

const ask = (token: string, method: string, path: string, body?: unknown) =>
  exchange(`${server.url}${path}`, {
    method,
    ca: server.rootPem,
    headers: { Authorization: `Bearer ${token}`, 'Content-Type': 'application/json' },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  });
const newToken = () => {
  const token = randomBytes(32).toString('base64url');
  return { token, tokenSha256: sha256Hex(token) };
};
const ceremonies = '/v1/authority/ceremonies';
const propose = async (token: string): Promise<string> =>
  (await ask(token, 'POST', ceremonies, { type: 'establishPackageKey' })).json.id as string;
const approve = async (token: string, id: string) => (await ask(token, 'POST', `${ceremonies}/${id}/approve`, {})).json;
const withdraw = (id: string) => ask(server.alice, 'POST', `${ceremonies}/${id}/withdraw`);
const alarms = async () => {
  const { json } = await ask(server.bob, 'GET', '/v1/alarms?limit=500');
  return (json.alarms as { code: string; subject: string; detail: string }[]).filter(({ code }) => code === 'PEOPLE_CHANGED');
};
type Proposal = { id: string; status: string; contentSha256: string; change: { scope?: object } };
const proposal = async (token: string, method: string, path: string, body?: unknown): Promise<Proposal> => {
  const { status, json } = await ask(token, method, path, body);
  expect(status).toBe(202);
  expect(json.token).toBeUndefined();
  return json.proposal as Proposal;
};

describe('one administrator (T17, I16)', () => {
  it.each(['administrator', 'securityOfficer', 'productionPlanner', 'releaseManager'])('makes no second %s alone', async role => {
    covers('I16', 'T17');
    const { token, tokenSha256 } = newToken();
    const { id } = await proposal(server.alice, 'POST', '/v1/operators', {
      name: `sock-${role.toLowerCase()}`,
      roles: [role],
      tokenSha256,
    });
    expect((await ask(token, 'GET', '/v1/operators/me')).json.code).toBe('UNAUTHENTICATED');
    expect((await ask(server.alice, 'POST', `/v1/operator-changes/${id}/approve`, {})).json.code).toBe('FOUR_EYES_REQUIRED');
    expect((await alarms()).at(-1)?.detail).toContain(`operator:alice proposes to add sock-${role.toLowerCase()}`);
  });

  it('neither removes the other, nor takes the name over, nor changes the other’s token or roles', async () => {
    covers('I16');
    expect((await ask(server.alice, 'DELETE', '/v1/operators/bob')).json.code).toBe('STATE');
    const { tokenSha256 } = newToken();
    expect((await ask(server.alice, 'POST', '/v1/operators', { name: 'bob', roles: ['administrator'], tokenSha256 })).json.code).toBe(
      'CONFLICT',
    );
    const { id } = await proposal(server.alice, 'POST', '/v1/operators/bob/token', { tokenSha256 });
    expect((await ask(server.alice, 'POST', `/v1/operator-changes/${id}/approve`, {})).json.code).toBe('FOUR_EYES_REQUIRED');
    await ask(server.bob, 'POST', `/v1/operator-changes/${id}/withdraw`);
    expect((await ask(server.alice, 'PUT', '/v1/operators/bob/roles', { roles: ['auditor'] })).json.code).toBe('STATE');
    expect((await ask(server.bob, 'GET', '/v1/operators/me')).status).toBe(200);
  });

  it('lets no auditor become an approver by a change of roles', async () => {
    const { json } = await ask(server.alice, 'POST', '/v1/operators', { name: 'aldo', roles: ['auditor'] });
    expect(json.token).toEqual(expect.any(String));
    const { id } = await proposal(server.alice, 'PUT', '/v1/operators/aldo/roles', { roles: ['administrator'] });
    expect((await ask(String(json.token), 'GET', '/v1/operators/me')).json.roles).toEqual(['auditor']);
    await ask(server.alice, 'POST', `/v1/operator-changes/${id}/withdraw`);
  });

  it('widens nobody’s scope by the way: other roles keep it, and what drops it says so to the others', async () => {
    covers('I16');
    const scope = { lines: ['meter'], sites: ['Example CM'] };
    const scopeNow = async () => {
      const { operators } = (await ask(server.bob, 'GET', '/v1/operators')).json as { operators: { name: string; scope?: object }[] };
      return operators.find(({ name }) => name === 'sven')?.scope;
    };
    await ask(server.alice, 'POST', '/v1/operators', { name: 'sven', roles: ['auditor'], scope });
    expect((await ask(server.alice, 'PUT', '/v1/operators/sven/roles', { roles: ['auditor', 'lineOperator'] })).status).toBe(200);
    expect(await scopeNow()).toEqual(scope);
    expect((await alarms()).at(-1)?.detail).toContain('make sven auditor, lineOperator, limited to lines meter; 1 site');
    const proposed = await proposal(server.alice, 'PUT', '/v1/operators/sven/roles', { roles: ['releaseManager'] });
    expect(proposed.change.scope).toEqual(scope);
    await ask(server.alice, 'POST', `/v1/operator-changes/${proposed.id}/withdraw`);
    const everywhere = await proposal(server.alice, 'PUT', '/v1/operators/sven/roles', { roles: ['releaseManager'], scope: null });
    expect(everywhere.contentSha256).not.toBe(proposed.contentSha256);
    await ask(server.alice, 'POST', `/v1/operator-changes/${everywhere.id}/withdraw`);
    expect((await ask(server.alice, 'PUT', '/v1/operators/sven/roles', { roles: ['auditor'], scope: null })).status).toBe(200);
    expect(await scopeNow()).toBeUndefined();
    expect((await alarms()).at(-1)?.detail).toContain('make sven auditor, everywhere');
  });

  it('gets no approval from somebody who came after the proposal', async () => {
    covers('I16');
    const before = await propose(server.alice);
    const { token, tokenSha256 } = newToken();
    const { id } = await proposal(server.alice, 'POST', '/v1/operators', { name: 'cleo', roles: ['administrator'], tokenSha256 });
    expect((await ask(server.bob, 'POST', `/v1/operator-changes/${id}/approve`, { tokenSha256 })).json.status).toBe('DONE');
    expect((await ask(token, 'GET', '/v1/operators/me')).json).toEqual({ name: 'cleo', roles: ['administrator'] });
    expect((await approve(token, before)).code).toBe('FOUR_EYES_REQUIRED');
    await withdraw(before);
    const after = await propose(server.alice);
    expect((await approve(token, after)).status).toBe('DONE');
  });

  it('never uses a name again, whoever it was', async () => {
    await ask(server.alice, 'POST', '/v1/operators', { name: 'temp', roles: ['lineOperator'] });
    expect((await ask(server.alice, 'DELETE', '/v1/operators/temp')).status).toBe(204);
    expect((await ask(server.alice, 'POST', '/v1/operators', { name: 'temp', roles: ['lineOperator'] })).json.code).toBe('CONFLICT');
  });

  it('changes the own token alone, and the old one ends', async () => {
    const before = server.alice;
    const { json } = await ask(before, 'POST', '/v1/operators/me/token', {});
    const after = String(json.token);
    expect((await ask(before, 'GET', '/v1/operators/me')).json.code).toBe('UNAUTHENTICATED');
    expect((await ask(after, 'GET', '/v1/operators/me')).json.name).toBe('alice');
    const { tokenSha256, token } = newToken();
    expect((await ask(after, 'POST', '/v1/operators/me/token', { tokenSha256 })).json).toEqual({ name: 'alice' });
    expect((await ask(token, 'GET', '/v1/operators/me')).json.name).toBe('alice');
    Object.assign(server, { alice: token });
  });

  it('does none of it unseen: every change and every proposal is an alarm', async () => {
    const details = (await alarms()).map(({ detail }) => detail);
    for (const text of [
      'proposes to add cleo',
      'operator:alice and operator:bob: add cleo',
      'operator:alice alone: add aldo',
      'operator:alice alone: remove temp',
      'operator:alice has changed the own token',
      'operator:bob withdraws',
    ]) {
      expect(details.filter(detail => detail.includes(text)).length, text).toBeGreaterThan(0);
    }
  });
});
