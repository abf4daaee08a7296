import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { request } from 'node:https';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { commandCode } from '../../src/api/signIn.ts';
import { toBase64url, utf8 } from '../../src/bytes.ts';
import { sha256, sha256Hex } from '../../src/digest.ts';
import { addOperator } from '../../src/services/administration/operators.ts';
import type { Context } from '../../src/services/base/context.ts';
import { openContext } from '../../src/services/dataFolder/open.ts';
import { askAs, exchange } from '../support/http.ts';
import { startTestServer, type TestServer, testSettings } from '../support/server.ts';

/** Where people are signed in, and that nothing goes on after its end. */

let server: TestServer;
/** Another process at the same data folder. */
let other: { readonly ctx: Context; close(): Promise<void> };
let [paula, ada] = ['', ''];
beforeAll(async () => {
  server = await startTestServer(async own => {
    paula = await addOperator(own, 'paula', ['productionPlanner', 'auditor'], 'operator:alice');
    ada = await addOperator(own, 'ada', ['auditor'], 'operator:alice');
  });
  other = await openContext(testSettings(server.dataDir), { https: 0, crl: 0 });
});
afterAll(async () => {
  await other?.close();
  await server?.close();
});

const call = (token: string, method: string, path: string, body?: object) => askAs(server, token, method, path, body);
const signIn = async (token: string, agent: string, cookie = ''): Promise<string> => {
  const answer = await exchange(`${server.url}/console/sign-in`, {
    ca: server.rootPem,
    headers: { 'Content-Type': 'application/x-www-form-urlencoded', 'User-Agent': agent, Cookie: `__Host-nusec=${cookie}` },
    body: `token=${token}`,
  });
  return /__Host-nusec=([^;]+)/.exec(answer.headers['set-cookie']?.[0] ?? '')?.[1] ?? '';
};
const withCookie = (path: string, cookie: string, method = 'GET') =>
  exchange(`${server.url}${path}`, { ca: server.rootPem, method, headers: { Cookie: `__Host-nusec=${cookie}` } });
type Listed = {
  id: string;
  use: string;
  way: string;
  agent?: string;
  address?: string;
  until: string;
  lastUsedAt?: string;
  isThis: boolean;
};
const listed = async (token: string, who = 'me') => (await call(token, 'GET', `/v1/operators/${who}/sessions`)).json.sessions as Listed[];
const idOf = async (token: string, agent: string) => (await listed(token)).find(each => each.agent === agent)?.id ?? '';

describe('sessions', () => {
  it('are listed with where they are and their last use, and end one by one', async () => {
    const [first, second] = [await signIn(paula, 'browser one'), await signIn(paula, 'browser two')];
    await withCookie('/console', first);
    const list = await listed(paula);
    expect(list.map(({ agent }) => agent)).toEqual(['browser two', 'browser one']);
    expect(list[1]).toMatchObject({ use: 'console', way: 'token', isThis: false, address: expect.stringMatching(/127\.0\.0\.1|::1/) });
    expect(list[1]?.lastUsedAt).toBeDefined();
    expect((await call(paula, 'DELETE', `/v1/operators/me/sessions/${list[1]?.id}`)).status).toBe(204);
    expect((await withCookie('/console', first)).status).toBe(302);
    expect((await withCookie('/console', second)).status).toBe(200);
    expect((await listed(paula)).map(({ agent }) => agent)).toEqual(['browser two']);
  });

  it('of a browser that signs in again take the place of the one it had', async () => {
    const before = await signIn(ada, 'ada');
    await signIn(ada, 'ada', before);
    expect(await listed(ada)).toHaveLength(1);
    expect((await withCookie('/console', before)).status).toBe(302);
  });

  it('of others are seen by auditors and ended by one administrator, who is told of (T17)', async () => {
    const cookie = await signIn(paula, 'browser three');
    const id = await idOf(paula, 'browser three');
    expect((await listed(ada, 'paula')).map(each => each.id)).toContain(id);
    expect((await call(ada, 'DELETE', `/v1/operators/paula/sessions/${id}`)).json.code).toBe('FORBIDDEN');
    expect((await call(server.alice, 'DELETE', `/v1/operators/ada/sessions/${id}`)).json.code).toBe('NOT_FOUND');
    expect((await call(server.alice, 'DELETE', `/v1/operators/paula/sessions/${id}`)).status).toBe(204);
    expect((await withCookie('/console', cookie)).status).toBe(302);
    const { alarms } = (await call(server.alice, 'GET', '/v1/alarms')).json as { alarms: { detail: string }[] };
    expect(alarms).toContainEqual(expect.objectContaining({ code: 'PEOPLE_CHANGED', detail: expect.stringContaining(id) }));
  });

  it('are not ended by a thief of a named token', async () => {
    await signIn(paula, 'browser four');
    const id = await idOf(paula, 'browser four');
    const { token } = (await call(paula, 'POST', '/v1/operators/me/tokens', { label: 'stolen' })).json;
    expect((await call(String(token), 'DELETE', `/v1/operators/me/sessions/${id}`)).json.code).toBe('FORBIDDEN');
    expect((await call(paula, 'DELETE', '/v1/operators/me/sessions/current')).json.code).toBe('CONFLICT');
  });

  it('of `nusec login` are listed too, and end themselves', async () => {
    const [verifier, of] = ['v'.repeat(43), { name: 'ada', tokenSha256: sha256Hex(ada) }];
    const code = await commandCode(other.ctx, of, toBase64url(sha256(utf8(verifier))));
    const { session } = (await call('', 'POST', '/v1/sign-in/command', { code, verifier })).json as { session: string };
    expect(await listed(session)).toContainEqual(expect.objectContaining({ use: 'command', isThis: true, lastUsedAt: expect.any(String) }));
    expect((await call(session, 'DELETE', '/v1/operators/me/sessions/current')).status).toBe(204);
    expect((await call(session, 'GET', '/v1/operators/me')).json.code).toBe('UNAUTHENTICATED');
  });
});

/** Follows a stream to its end. @returns what came */
async function follow(path: string, headers: Record<string, string>, begun: () => Promise<unknown>): Promise<string> {
  const outgoing = request(`${server.url}${path}`, { ca: server.rootPem, agent: false, headers });
  outgoing.end();
  const [response] = (await once(outgoing, 'response')) as [IncomingMessage];
  expect(response.headers['content-type']).toContain('text/event-stream');
  let text = '';
  for await (const chunk of response.setEncoding('utf8')) {
    if (text === '') await begun();
    text += chunk;
  }
  return text;
}
const register = (id: string) => call(server.bob, 'POST', '/v1/gateways', { id });

describe('a stream ends with what it was opened by, and tells nothing from then on (T17)', () => {
  it('the one of the console when its person signs out', async () => {
    const cookie = await signIn(server.alice, 'live');
    const text = await follow('/console/live', { Cookie: `__Host-nusec=${cookie}` }, async () => {
      expect((await withCookie('/console/sign-out', cookie, 'POST')).status).toBe(303);
      await register('after-sign-out');
    });
    expect(text).not.toContain('changed');
  });

  it.each(['/console/live', '/v1/events/stream'])('%s when an administrator ends the session', async path => {
    const cookie = await signIn(paula, 'followed');
    const [verifier, of] = ['w'.repeat(43), { name: 'paula', tokenSha256: sha256Hex(paula) }];
    const code = await commandCode(other.ctx, of, toBase64url(sha256(utf8(verifier))));
    const { session } = (await call('', 'POST', '/v1/sign-in/command', { code, verifier })).json;
    const headers = path.startsWith('/v1') ? { Authorization: `Bearer ${session}` } : { Cookie: `__Host-nusec=${cookie}` };
    const text = await follow(path, headers as Record<string, string>, async () => {
      for (const { id } of await listed(paula)) await call(server.alice, 'DELETE', `/v1/operators/paula/sessions/${id}`);
      await register(`after-${path.split('/')[1]}`);
    });
    expect(text).not.toMatch(/changed|after-/);
  });

  it('the one of a program when its token ends, and when its person has other roles', async () => {
    const { id, token } = (await call(paula, 'POST', '/v1/operators/me/tokens', { label: 'siem', roles: ['auditor'] })).json;
    const ended = await follow('/v1/events/stream', { Authorization: `Bearer ${token}` }, async () => {
      await call(paula, 'DELETE', `/v1/operators/me/credentials/${id}`);
      await register('after-token');
    });
    expect(ended).not.toContain('after-token');
    const changed = await follow('/v1/events/stream', { Authorization: `Bearer ${ada}` }, async () => {
      expect((await call(server.alice, 'PUT', '/v1/operators/ada/roles', { roles: ['lineOperator'] })).status).toBe(200);
      await register('after-roles');
    });
    expect(changed).not.toContain('after-roles');
  });
});
