import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { covers } from '../../support/covers.ts';
import { askAs, exchange } from '../../support/http.ts';
import { startProvider } from '../../support/openIdProvider.ts';
import { startTestServer, type TestServer } from '../../support/server.ts';
import { newPage, openBrowser, signedIn } from './browser.ts';

/** Sign-in by an OpenID provider, in a browser, against a real one; and `nusec login`. */

const groups = new Map<string, readonly string[]>([
  ['aldo-1', ['auditors']],
  ['rita-1', ['managers', 'auditors']],
  ['eve-1', ['sales']],
]);
let server: TestServer;
let browser: Browser;
let provider: Awaited<ReturnType<typeof startProvider>>;

beforeAll(async () => {
  provider = await startProvider(groups, () => `${server.url}/console/sign-in/callback`);
  const openId = {
    issuer: provider.issuer,
    clientId: 'nusec',
    scope: 'openid profile groups',
    groupsClaim: 'groups',
    groups: { auditors: ['auditor' as const], managers: ['releaseManager' as const], admins: ['administrator' as const] },
  };
  server = await startTestServer(undefined, undefined, { openId });
  provider.open();
  browser = await openBrowser();
});
afterAll(async () => {
  await browser?.close();
  await provider?.close();
  await server?.close();
});

const call = (token: string, method: string, path: string, body?: object) => askAs(server, token, method, path, body);

const fleetAs = (cookie: string) =>
  exchange(`${server.url}/console/fleet`, { ca: server.rootPem, headers: { Cookie: `__Host-nusec=${cookie}` } });

/** At the provider's own pages. */
async function throughProvider(page: Page, sub: string): Promise<void> {
  await page.fill('input[name=login]', sub);
  await page.fill('input[name=password]', 'any');
  await page.click('button[type=submit]');
  await page.click('button[type=submit]');
}

async function arrive(sub: string): Promise<Page> {
  const page = await newPage(browser);
  await page.goto(`${server.url}/console/sign-in`);
  await page.getByRole('button', { name: 'Sign in with your organization' }).click();
  await throughProvider(page, sub);
  return page;
}
const atHome = (page: Page) => page.getByRole('heading', { name: 'Home', level: 1 }).waitFor();
const refusal = (page: Page) => page.getByRole('alert').textContent();

describe('a person of the provider', () => {
  it('who approves nothing comes by signing in, is the same one the next time, and goes for good', async () => {
    const page = await arrive('aldo-1');
    await atHome(page);
    await page.goto(`${server.url}/console/people/me`);
    expect(await page.locator('h1').textContent()).toBe('aldo');
    const again = await arrive('aldo-1');
    await atHome(again);
    const { operators } = (await call(server.alice, 'GET', '/v1/operators')).json as { operators: { name: string; roles: string[] }[] };
    expect(operators.filter(({ name }) => name.startsWith('aldo'))).toMatchObject([{ name: 'aldo', roles: ['auditor'] }]);
    const cookie = (await again.context().cookies()).find(({ name }) => name === '__Host-nusec')?.value ?? '';
    expect((await fleetAs(cookie)).status).toBe(200);
    expect((await call(server.alice, 'DELETE', '/v1/operators/aldo')).status).toBe(204);
    // The page hears of the change by itself, and may be there before this.
    await again.goto(`${server.url}/console/fleet`).catch(() => undefined);
    await again.waitForURL('**/console/sign-in');
    expect((await fleetAs(cookie)).headers.location).toContain('/console/sign-in');
    expect(await refusal(await arrive('aldo-1'))).toContain('removed');
  });

  it('with none of our groups stays outside', async () => {
    expect(await refusal(await arrive('eve-1'))).toContain('none of your groups');
  });

  it('who may approve is added by two administrators first, and groups only take away (I16)', async () => {
    covers('I16');
    expect(await refusal(await arrive('rita-1'))).toContain('two administrators add you first');
    const added = await call(server.alice, 'POST', '/v1/operators', { name: 'rita', roles: ['releaseManager'], subject: 'rita-1' });
    const { id } = added.json.proposal as { id: string };
    expect((await call(server.alice, 'POST', `/v1/operator-changes/${id}/approve`, {})).json.code).toBe('FOUR_EYES_REQUIRED');
    expect((await call(server.bob, 'POST', `/v1/operator-changes/${id}/approve`, {})).status).toBe(200);
    const page = await arrive('rita-1');
    await atHome(page);
    groups.set('rita-1', ['auditors']);
    expect((await call(server.alice, 'GET', '/v1/operators')).text).toContain('releaseManager');
    const less = await arrive('rita-1');
    await atHome(less);
    await less.goto(`${server.url}/console/releases`);
    expect(await less.locator('main').textContent()).toContain('rita needs the role');
  });

  it('cannot be put upon somebody: a callback without its own beginning is refused', async () => {
    for (const cookie of ['', '__Host-nusec-sign-in=x.y']) {
      const answer = await exchange(`${server.url}/console/sign-in/callback?code=a&state=b`, {
        ca: server.rootPem,
        headers: { Cookie: cookie },
      });
      expect([answer.status, answer.headers['set-cookie']?.join()]).toEqual([401, expect.not.stringContaining('__Host-nusec=')]);
    }
  });
});

it('nusec login gets a session that its person has allowed in the browser, and no other page gets it', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'nusec-login-'));
  const ca = join(folder, 'root.pem');
  writeFileSync(ca, server.rootPem);
  const env = { ...process.env, NUSEC_PROFILES: join(folder, 'profiles.json'), NUSEC_CA: ca, NUSEC_SERVER: server.url };
  const main = new URL('../../../src/cli/main.ts', import.meta.url).pathname;
  const run = (...args: string[]) => spawn(process.execPath, [main, ...args], { env });
  const child = run('login', '--no-browser', '--json');
  let [out, err] = ['', ''];
  child.stdout.on('data', chunk => (out += chunk));
  const ended = new Promise<number | null>(resolve => child.on('close', resolve));
  const address = await new Promise<string>(resolve =>
    child.stderr.on('data', chunk => {
      err += chunk;
      const found = /https:\S+/.exec(err)?.[0];
      if (found !== undefined) resolve(found);
    }),
  );
  const port = /port=(\d+)/.exec(address)?.[1];
  expect((await fetch(`http://127.0.0.1:${port}/?code=abc&state=guess`)).status).toBe(404);
  const page = await signedIn(browser, server, server.alice);
  await page.goto(address);
  await page.getByRole('button', { name: 'Allow' }).click();
  await page.getByText('You may close this page').waitFor();
  expect(await ended).toBe(0);
  const { name, tokenFile } = JSON.parse(out);
  expect([name, statSync(tokenFile).mode & 0o777]).toEqual(['alice', 0o600]);
  const session = readFileSync(tokenFile, 'utf8');
  expect((await call(session, 'GET', '/v1/operators/me')).json).toMatchObject({ name: 'alice' });
  expect((await call(`${session.slice(0, -2)}AA`, 'GET', '/v1/operators/me')).status).toBe(401);
  // The session of a command is no cookie, and a cookie is no session of a command.
  const asCookie = await exchange(`${server.url}/console/fleet`, { ca: server.rootPem, headers: { Cookie: `__Host-nusec=${session}` } });
  expect(asCookie.status).toBe(302);
  const cookie = (await page.context().cookies()).find(one => one.name === '__Host-nusec')?.value ?? '';
  expect((await call(cookie, 'GET', '/v1/operators/me')).status).toBe(401);
  rmSync(folder, { recursive: true });
});
