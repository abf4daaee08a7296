import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { request } from 'node:https';
import { afterAll, beforeAll, describe, expect, it, onTestFinished, vi } from 'vitest';
import { describeApi } from '../../src/api/openapi/describe.ts';
import { openSession } from '../../src/api/sessions.ts';
import { maxWrongTokens } from '../../src/api/wrongTokens.ts';
import { operators, operatorsStream } from '../../src/domain/operators.ts';
import { addOperator, authenticateOperator } from '../../src/services/administration/operators.ts';
import { type Context, execute } from '../../src/services/base/context.ts';
import { openContext } from '../../src/services/dataFolder/open.ts';
import { covers } from '../support/covers.ts';
import { exchange } from '../support/http.ts';
import { startTestServer, type TestServer, testSettings } from '../support/server.ts';

/** Somebody with a browser and no right to be here, or no right any more. */

vi.mock('../../src/api/openapi/describe.ts', { spy: true });

let server: TestServer;
/** Another process at the same data folder. */
let other: { readonly ctx: Context; close(): Promise<void> };
beforeAll(async () => {
  server = await startTestServer();
  other = await openContext(testSettings(server.dataDir), { https: 0, crl: 0 });
});
afterAll(async () => {
  await other?.close();
  await server?.close();
});

const get = (path: string, cookie: string) =>
  exchange(`${server.url}${path}`, { ca: server.rootPem, headers: { Cookie: `__Host-nusec=${cookie}` } });
const signIn = (token: string, headers: Record<string, string> = {}) =>
  exchange(`${server.url}/console/sign-in`, {
    ca: server.rootPem,
    headers: { 'Content-Type': 'application/x-www-form-urlencoded', ...headers },
    body: `token=${token}`,
  });
const cookieOf = async (token: string): Promise<string> => {
  const [cookie = ''] = (await signIn(token)).headers['set-cookie'] ?? [];
  expect(cookie).toMatch(/HttpOnly; Secure; SameSite=Strict/);
  return /__Host-nusec=([^;]+)/.exec(cookie)?.[1] ?? '';
};
let added = 0;
const person = (role: 'auditor' | 'lineOperator' = 'auditor') => {
  const name = `p${++added}`;
  return addOperator(other.ctx, name, [role], 'operator:alice').then(token => ({ name, token }));
};

describe('a console session (T17)', () => {
  it('ends with its person, everywhere and at once', async () => {
    covers('T17');
    const { name, token } = await person();
    const cookie = await cookieOf(token);
    expect((await get('/console/fleet', cookie)).status).toBe(200);
    await execute(other.ctx, operators, operatorsStream, { type: 'RemoveOperator', name }, 'operator:alice');
    expect((await get('/console/fleet', cookie)).status).toBe(302);
    expect((await get('/console', cookie)).text).not.toContain(name);
  });

  it('ends with the token it was opened by', async () => {
    const { name, token } = await person();
    const cookie = await cookieOf(token);
    const next = { type: 'RotateOperatorToken', name, tokenSha256: 'ab'.repeat(32), expiresAt: '2099-01-01T00:00:00.000Z' } as const;
    await execute(other.ctx, operators, operatorsStream, next, `operator:${name}`);
    expect((await get('/console/fleet', cookie)).status).toBe(302);
  });

  it('that one process has opened counts in every other, and nobody makes one without the keystore', async () => {
    const { token } = await person();
    const cookie = await openSession(other.ctx, await authenticateOperator(other.ctx, token), {});
    expect((await get('/console/fleet', cookie)).status).toBe(200);
    const [claim = '', seal = ''] = cookie.split('.');
    const forged = Buffer.from(JSON.stringify({ ...JSON.parse(Buffer.from(claim, 'base64url').toString()), name: 'alice' })).toString(
      'base64url',
    );
    for (const bad of [`${forged}.${seal}`, `${claim}.${seal.replace(/^./, first => (first === 'A' ? 'B' : 'A'))}`, claim, '', 'x.y'])
      expect((await get('/console/fleet', bad)).status).toBe(302);
  });

  it('is not opened by a service account, and the page does not say that its token is wrong', async () => {
    const token = await addOperator(other.ctx, 'mes', ['service', 'auditor'], 'operator:alice');
    const refused = await signIn(token);
    expect([refused.status, refused.text.includes('a service account has no console')]).toEqual([403, true]);
  });

  it('is not opened by another site', async () => {
    const { token } = await person();
    expect((await signIn(token, { 'Sec-Fetch-Site': 'cross-site' })).status).toBe(403);
    expect((await signIn(token, { Origin: 'https://evil.example' })).status).toBe(403);
    expect((await signIn(token, { Origin: server.url, 'Sec-Fetch-Site': 'same-origin' })).status).toBe(303);
  });
});

it.each(['/healthz', '/v1/devices', '/console/sign-in', '/v1/nothing'])(
  '%s is not kept by anybody, nor read as something else (T16)',
  async path => {
    covers('T16');
    const { headers } = await exchange(`${server.url}${path}`, { ca: server.rootPem });
    expect(headers).toMatchObject({ 'cache-control': 'no-store', 'x-content-type-options': 'nosniff' });
  },
);

it.each(['/v1/events/stream', '/console/live'])('%s, which never ends, is not kept by anybody either (T16)', async path => {
  covers('T16');
  const cookie = await cookieOf(server.alice);
  const headers = { Authorization: `Bearer ${server.alice}`, Cookie: `__Host-nusec=${cookie}` };
  const outgoing = request(`${server.url}${path}`, { ca: server.rootPem, agent: false, headers });
  onTestFinished(() => void outgoing.destroy());
  outgoing.end();
  const [response] = (await once(outgoing, 'response')) as [IncomingMessage];
  expect(response.headers).toMatchObject({ 'cache-control': 'no-store', 'x-content-type-options': 'nosniff' });
});

it('every answer of the console keeps scripts and frames of others out, refusals too (T17)', async () => {
  covers('T17');
  const [ca, cookie] = [server.rootPem, await cookieOf(server.alice)];
  const form = { 'Content-Type': 'application/x-www-form-urlencoded', Origin: 'https://evil.example' };
  const answers = [
    await get('/console/nothing', cookie),
    await get('/console/fleet/nothing', cookie),
    await exchange(`${server.url}/console/fleet`, { ca, method: 'DELETE' }),
    await exchange(`${server.url}/console/sign-in`, { ca, headers: form, body: 'token=x' }),
  ];
  expect(answers.map(({ status }) => status)).toEqual([404, 400, 405, 403]);
  for (const { headers, status } of answers)
    expect(headers, String(status)).toMatchObject({
      'content-security-policy': expect.stringContaining("default-src 'self'"),
      'x-frame-options': 'DENY',
      'cache-control': 'no-store',
    });
});

it('wrong tokens are counted by address, slowed and an alarm; a right one is never held back (T17)', async () => {
  covers('T17');
  const ask = (token: string) =>
    exchange(`${server.url}/v1/operators/me`, { ca: server.rootPem, headers: { Authorization: `Bearer ${token}` } });
  const codes = new Set<unknown>();
  for (let count = 0; count < maxWrongTokens; count++) codes.add((await ask(`wrong${count}`)).json.code);
  expect([...codes]).toEqual(['UNAUTHENTICATED']);
  expect((await ask('wrong')).json.code).toBe('RATE_LIMITED');
  const signed = await signIn('wrong');
  expect([signed.status, signed.text.includes('too many wrong tokens')]).toEqual([429, true]);
  expect((await ask(server.alice)).status).toBe(200);
  const { json } = await exchange(`${server.url}/v1/alarms`, { ca: server.rootPem, headers: { Authorization: `Bearer ${server.alice}` } });
  expect(json.alarms).toContainEqual(expect.objectContaining({ code: 'WRONG_TOKENS', subject: expect.stringContaining('127.0.0.1') }));
});

describe('the description of the API, which anybody may ask for', () => {
  /** Texts made of values as large as it is. */
  const large = 100_000;

  it('is made once, whoever asks for it how often, as text and as page (T24)', async () => {
    covers('T24');
    const stringify = vi.spyOn(JSON, 'stringify');
    const ask = (path: string) => exchange(`${server.url}${path}`, { ca: server.rootPem });
    const answers = new Map<string, Set<string>>();
    for (const path of Array.from({ length: 10 }, () => ['/openapi.json', '/docs']).flat()) {
      const { status, text } = await ask(path);
      expect(status).toBe(200);
      answers.set(path, (answers.get(path) ?? new Set()).add(text));
    }
    const texts = stringify.mock.results.filter(({ value }) => typeof value === 'string' && value.length > large);
    stringify.mockRestore();
    expect([...answers.values()].map(({ size }) => size)).toEqual([1, 1]);
    expect([...(answers.get('/openapi.json') ?? [])][0]?.length).toBeGreaterThan(large);
    expect({ described: vi.mocked(describeApi).mock.calls.length, texts: texts.length }).toEqual({ described: 1, texts: 1 });
  });
});
